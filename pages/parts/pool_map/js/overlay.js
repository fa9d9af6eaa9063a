// What lies over the points: the line being drawn, the rings round single pairs, and the counts as a table.

function drawOverlay(canvas, { ratio, line, accent, rings, halo }) {
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, canvas.width / ratio, canvas.height / ratio);
  if (line) drawLine(pen, line, accent);
  for (const [left, top, radius, ink] of rings) {
    for (const [width, colour] of [[4, halo], [2, ink]]) {
      pen.beginPath();
      pen.arc(left, top, radius, 0, 2 * Math.PI);
      pen.lineWidth = width;
      pen.strokeStyle = colour;
      pen.stroke();
    }
  }
}

function drawLine(pen, line, accent) {
  pen.beginPath();
  for (const [left, top] of line) pen.lineTo(left, top);
  pen.closePath();
  pen.fillStyle = accent;
  pen.globalAlpha = 0.1;
  pen.fill();
  pen.globalAlpha = 1;
  pen.lineWidth = 1.5;
  pen.strokeStyle = accent;
  pen.setLineDash([5, 4]);
  pen.stroke();
  pen.setLineDash([]);
}

// The legend's counts for those who do not see the map; of a histogram, thirds.
function fillTable(table, legend) {
  table.querySelector("caption").textContent = `Pairs by ${legend.title}`;
  const body = table.querySelector("tbody");
  body.replaceChildren();
  const bars = legend.bars.length;
  const value = (bar) => short(legend.low + (bar / bars) * (legend.high - legend.low));
  const groups = legend.kind === "categorical" ? legend.categories.map((entry) => [entry.name, entry.count]) : [];
  for (let bar = 0; bar < bars; bar += 17) groups.push([`${value(bar)} to ${value(bar + 17)}`, legend.bars.slice(bar, bar + 17).reduce((a, b) => a + b, 0)]);
  if (legend.missing) groups.push(["no value", legend.missing]);
  for (const [name, count] of groups) {
    const line = make("tr", body);
    make("th", line, name).scope = "row";
    make("td", line, many(count));
  }
}

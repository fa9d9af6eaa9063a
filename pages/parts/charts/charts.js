// Bars and histograms in plain HTML and SVG. Every text is set as text, never as HTML: names come from outside.
const WIDE = 240, HIGH = 64;

export default function (component) {
  const { parentElement, data } = component;
  let root = parentElement.querySelector(".charts");
  if (!root) {
    root = document.createElement("div");
    parentElement.appendChild(root);
  }
  root.className = "charts " + data.kind;
  root.setAttribute("role", "list");
  root.setAttribute("aria-label", data.label);
  root.replaceChildren(...(data.bars ? data.bars.map(bar) : data.shapes.map(shape)));
  return () => {};
}

function bar(entry) {
  const line = element("div", "line" + (entry.quiet ? " quiet" : ""));
  line.setAttribute("role", "listitem");
  const name = element("div", "name", entry.name);
  name.title = entry.name;
  if (entry.hint) name.appendChild(element("span", "hint", entry.hint));
  const track = element("div", "track");
  const fill = element("div", "fill");
  fill.style.width = `${Math.max(entry.share * 100, entry.share > 0 ? 0.6 : 0)}%`;
  track.appendChild(fill);
  line.append(name, track, element("div", "value", entry.value), element("div", "note", entry.note));
  return line;
}

function shape(entry) {
  const box = element("div", "shape");
  box.setAttribute("role", "listitem");
  const head = element("div", "head");
  head.append(element("span", "title", entry.title), element("span", "towards", entry.towards));
  const foot = element("div", "foot");
  foot.append(element("span", "", "≤ " + entry.low), element("span", "", "median " + entry.median), element("span", "", "≥ " + entry.high));
  box.append(head, histogram(entry), foot);
  box.title = entry.meaning;
  return box;
}

function histogram(entry) {
  const picture = vector("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img" });
  picture.setAttribute("aria-label", entry.words);
  const most = Math.max(...entry.counts, 1), step = WIDE / entry.counts.length;
  entry.counts.forEach((count, at) => {
    const tall = count ? Math.max((count / most) * (HIGH - 2), 1) : 0;
    const middle = (at + 0.5) / entry.counts.length;
    const side = entry.zero === null ? "" : (middle < entry.zero) === entry.low_first ? " look" : " calm"; // as on the map
    const column = vector("rect", { x: at * step + 0.4, y: HIGH - tall, width: step - 0.8, height: tall, class: "bar" + side });
    const tip = vector("title", {});
    tip.textContent = `${entry.edges[at]} to ${entry.edges[at + 1]}: ${count.toLocaleString("en")} pairs`;
    column.appendChild(tip);
    picture.appendChild(column);
  });
  picture.appendChild(vector("line", { x1: 0, x2: WIDE, y1: HIGH, y2: HIGH, class: "ground" }));
  const x = Math.min(Math.max(entry.middle, 0), 1) * WIDE;
  picture.appendChild(vector("line", { x1: x, x2: x, y1: 0, y2: HIGH, class: "median" }));
  return picture;
}

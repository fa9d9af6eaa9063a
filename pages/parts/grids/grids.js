// Tables with bars and tints, distributions laid over each other, small maps. Every text is set as text, never as HTML.
const WIDE = 280, HIGH = 84, INKS = 8, MAPS_IN_A_ROW = 4;
const DEEPEST = 57; // percent of the ink in a tint: text stays readable on it in both themes
const DRAW = { grid, curves, maps };

export default function (component) {
  const { parentElement, data } = component;
  let root = parentElement.querySelector(".root");
  if (!root) {
    root = document.createElement("div");
    parentElement.appendChild(root);
  }
  root.className = "root " + (isDark(root) ? "dark" : "light");
  root.setAttribute("aria-label", data.label);
  root.replaceChildren(DRAW[data.kind](data));
  return () => {};
}

function isDark(root) {
  const ground = getComputedStyle(root).getPropertyValue("--st-background-color").trim();
  const hex = ground.match(/^#([0-9a-f]{6})/i);
  if (!hex) return matchMedia("(prefers-color-scheme: dark)").matches;
  const bands = [0, 2, 4].map((at) => parseInt(hex[1].slice(at, at + 2), 16));
  return bands[0] * 0.3 + bands[1] * 0.59 + bands[2] * 0.11 < 128;
}

function grid(data) {
  const table = element("table", data.look);
  table.setAttribute("aria-label", data.label);
  const top = element("tr", "");
  data.signed = data.lines.some((line) => line.cells.some((found) => found.share < 0));
  data.head.forEach((title, at) => {
    const cell = element("th", data.words.includes(at - 1) ? "words" : "");
    cell.scope = "col";
    if (at && inkOf(data, at - 1) !== null) cell.appendChild(swatch(data.inks[at - 1]));
    cell.appendChild(element("span", "", title));
    top.appendChild(cell);
  });
  const head = element("thead", ""), body = element("tbody", "");
  head.appendChild(top);
  body.append(...data.lines.map((line) => gridLine(line, data)));
  table.append(head, body);
  const frame = element("div", "frame");
  frame.appendChild(table);
  return frame;
}

function inkOf(data, at) {
  return data.inks[at] ?? null;
}

function gridLine(line, data) {
  const row = element("tr", ""), name = element("th", "name");
  name.scope = "row";
  if (line.ink !== null) name.appendChild(swatch(line.ink));
  name.appendChild(element("span", "", line.name));
  if (line.hint) name.appendChild(element("span", "hint", line.hint));
  name.title = line.name;
  row.appendChild(name);
  line.cells.forEach((found, at) => {
    const cell = gridCell(found, data, inkOf(data, at) ?? line.ink);
    if (data.words.includes(at)) cell.classList.add("words");
    row.appendChild(cell);
  });
  return row;
}

function gridCell(found, { look, signed }, ink) {
  const cell = element("td", "");
  if (found.share !== null && look === "tint") {
    cell.className = !signed ? "some" : found.share < 0 ? "look" : "calm"; // as on the map and in the histograms
    cell.style.setProperty("--deep", `${Math.round(Math.min(Math.abs(found.share), 1) * DEEPEST)}%`);
  }
  if (found.share !== null && look === "bars") {
    cell.className = "barred";
    const track = element("div", "track"), fill = element("div", "fill");
    if (ink !== null) fill.classList.add(`ink${ink % INKS}`);
    fill.style.width = `${Math.max(Math.min(found.share, 1) * 100, found.share > 0 ? 0.6 : 0)}%`;
    track.appendChild(fill);
    cell.appendChild(track);
  }
  cell.appendChild(element("span", "text", found.text));
  return cell;
}

function swatch(ink) {
  return element("i", `swatch ink${ink % INKS}`);
}

function curves(data) {
  const whole = element("div", ""), box = element("div", "tiles wide"), legend = element("div", "legend");
  data.curves[0].series.forEach((one) => {
    const name = element("span", "");
    name.append(swatch(one.ink), element("span", "", one.name));
    legend.appendChild(name);
  });
  box.append(...data.curves.map(curve));
  whole.append(legend, box);
  return whole;
}

function curve(entry) {
  const tile = element("figure", ""), head = element("figcaption", "head");
  head.append(element("span", "title", entry.title), element("span", "hint", entry.hint));
  const most = Math.max(...entry.base, ...entry.series.flatMap((one) => one.shares), 1e-9);
  const picture = vector("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img" });
  picture.setAttribute("aria-label", `${entry.title}, from ${entry.low} to ${entry.high}`);
  picture.appendChild(vector("path", { d: steps(entry.base, most) + `L${WIDE} ${HIGH}L0 ${HIGH}Z`, class: "base" }));
  if (entry.zero !== null) {
    const x = entry.zero * WIDE;
    picture.appendChild(vector("line", { x1: x, x2: x, y1: 0, y2: HIGH, class: "zero" }));
  }
  entry.series.forEach((one) => {
    const line = vector("path", { d: steps(one.shares, most), class: `line stroke${one.ink % INKS}` });
    const tip = vector("title", {});
    tip.textContent = one.name;
    line.appendChild(tip);
    picture.appendChild(line);
  });
  const foot = element("div", "foot");
  foot.append(element("span", "", entry.low), element("span", "", entry.high));
  tile.append(head, picture, foot);
  return tile;
}

function steps(shares, most) {
  const step = WIDE / shares.length;
  const high = (share) => HIGH - (share / most) * (HIGH - 3);
  return shares.map((share, at) => `${at ? "L" : "M"}${at * step} ${high(share)}L${(at + 1) * step} ${high(share)}`).join("");
}

function maps(data) {
  const box = element("div", "tiles");
  box.style.gridTemplateColumns = `repeat(${Math.min(data.maps.length, MAPS_IN_A_ROW)}, minmax(0, 480px))`;
  box.append(...data.maps.map(smallMap));
  return box;
}

function smallMap(entry) {
  const tile = element("figure", ""), head = element("figcaption", "head");
  const title = element("span", "title");
  title.append(swatch(entry.ink), element("span", "", entry.title));
  head.appendChild(title);
  const picture = element("div", "map");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `${entry.title}: ${entry.words}`);
  [["all", entry.every], [`chosen ink${entry.ink % INKS}`, entry.chosen]].forEach(([name, image]) => {
    const layer = element("div", "layer " + name);
    layer.style.maskImage = `url(data:image/png;base64,${image})`;
    picture.appendChild(layer);
  });
  tile.append(head, picture, element("div", "foot", entry.words));
  return tile;
}

// The legend: a histogram that is also a filter, or the named colours that are also switches. Text goes in by textContent only.

const make = (tag, parent, text) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
};
const many = (n) => n.toLocaleString("en");
const short = (value) => { // as number() of views/numbers.py
  const size = Math.abs(value);
  let text = value.toPrecision(3);
  if (size && (size < 1e-3 || size >= 1e5)) text = value.toExponential(1).replace("e+", "e");
  else if (size >= 99.95 || !size) text = many(Math.round(value) || 0); // never minus nought
  return text.replaceAll("-", "\u2212");
};

class Legend {
  constructor(root, send) {
    this.root = root;
    this.send = send;
    this.drag = null;
    this.text = "";
  }

  // `legend` is Python's; `inks` the 256 colours on this ground.
  show(legend, inks) {
    const text = JSON.stringify(legend) + inks[0] + "," + inks[384];
    if (text === this.text) return;
    this.text = text;
    this.legend = legend;
    this.inks = inks;
    this.root.replaceChildren();
    if (!legend) return;
    const header = make("header", this.root);
    make("strong", header, legend.title);
    if (legend.kind === "categorical") this.#names(legend);
    else this.#scale(legend, header);
  }

  ink(code) { return `rgb(${this.inks[code * 3]} ${this.inks[code * 3 + 1]} ${this.inks[code * 3 + 2]})`; }

  #names(legend) {
    const box = make("div", this.root);
    box.className = "names";
    const off = new Set(legend.off);
    const entries = legend.categories.map((entry) => [entry.name, entry.code, entry.count]);
    if (legend.missing) entries.push(["no value", 255, legend.missing]);
    for (const [name, code, count] of entries) {
      const button = make("button", box);
      button.type = "button";
      button.setAttribute("aria-pressed", String(!off.has(code)));
      button.title = off.has(code) ? "Bring these back" : "Grey these out";
      make("i", button).style.background = this.ink(code);
      make("em", button, name);
      make("small", button, many(count));
      button.onclick = () => {
        if (!off.delete(code)) off.add(code);
        this.send("category", { codes: [...off] });
      };
    }
  }

  #scale(legend, header) {
    this.note = make("span", header);
    this.box = make("div", this.root);
    this.box.className = "scale";
    this.canvas = make("canvas", this.box);
    this.canvas.setAttribute("role", "img");
    const ends = make("div", this.root);
    ends.className = "ends";
    const same = legend.low === legend.high;
    const most = Math.max(0, ...legend.bars);
    make("span", ends, same ? (most ? `all ${short(legend.low)}` : "no values") : `≤ ${short(legend.low)}`);
    if (legend.kind === "diverging") make("span", ends, "0");
    make("span", ends, same ? "" : `≥ ${short(legend.high)}`);
    this.range = legend.range;
    if (!same) this.#listen();
    this.paint();
  }

  #share(value) { return (value - this.legend.low) / (this.legend.high - this.legend.low); }

  #listen() {
    const at = (event) => {
      const box = this.box.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    };
    this.canvas.onpointerdown = (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.drag = [at(event), at(event)];
      this.paint();
    };
    this.canvas.onpointermove = (event) => {
      if (!this.drag) return;
      this.drag[1] = at(event);
      this.paint();
    };
    this.canvas.onpointercancel = () => { this.drag = null; this.paint(); };
    this.canvas.onpointerup = () => {
      if (!this.drag) return;
      const [from, to] = this.drag.slice().sort((a, b) => a - b);
      this.drag = null;
      this.#brush(from, to);
    };
  }

  #brush(from, to) {
    const { low, high } = this.legend;
    const value = (share) => low + share * (high - low);
    if (to - from < 0.004) this.range = null; // a click takes the brush away
    else this.range = [from <= 0.001 ? null : value(from), to >= 0.999 ? null : value(to)];
    this.paint();
    this.send("range", { range: this.range });
  }

  #say() {
    this.note.replaceChildren();
    if (this.range) {
      const [from, to] = this.range;
      const words = from === null ? `up to ${short(to)}` : to === null ? `from ${short(from)}` : `${short(from)} to ${short(to)}`;
      this.note.append(words, " · ");
      const button = make("button", this.note, "show all");
      button.type = "button";
      button.onclick = () => this.#brush(0, 0);
      return;
    }
    const missing = this.legend.missing ? [`${many(this.legend.missing)} without a value`] : [];
    const drag = this.legend.low === this.legend.high ? [] : ["drag to filter"];
    this.note.append([...missing, ...drag].join(" · "));
  }

  paint() {
    if (!this.legend || this.legend.kind === "categorical" || !this.canvas?.isConnected) return;
    if (!this.drag) this.#say();
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const wide = Math.max(1, Math.round(this.box.clientWidth * ratio));
    const tall = Math.round(46 * ratio);
    this.canvas.width = wide;
    this.canvas.height = tall;
    const pen = this.canvas.getContext("2d");
    const bars = this.legend.bars;
    const most = Math.max(1, ...bars);
    const strip = 8 * ratio;
    let ends = this.range && [this.range[0] === null ? 0 : this.#share(this.range[0]), this.range[1] === null ? 1 : this.#share(this.range[1])];
    if (this.drag) ends = this.drag.slice().sort((a, b) => a - b);
    bars.forEach((count, bar) => {
      const left = (bar / bars.length) * wide;
      const right = ((bar + 1) / bars.length) * wide;
      const height = count ? Math.max(ratio, (tall - strip - 3 * ratio) * Math.sqrt(count / most)) : 0;
      const middle = (bar + 0.5) / bars.length;
      pen.fillStyle = this.ink(Math.round(middle * 254));
      pen.globalAlpha = ends && (middle < ends[0] || middle > ends[1]) ? 0.18 : 0.85;
      pen.fillRect(left, tall - strip - 2 * ratio - height, right - left - Math.max(1, ratio * 0.5), height);
    });
    const steps = 128;
    for (let step = 0; step < steps; step++) {
      const share = (step + 0.5) / steps;
      pen.fillStyle = this.ink(Math.round(share * 254));
      pen.globalAlpha = ends && (share < ends[0] || share > ends[1]) ? 0.18 : 1;
      pen.fillRect((step / steps) * wide, tall - strip, wide / steps + 1, strip);
    }
    this.canvas.setAttribute("aria-label", `Histogram of ${this.legend.title}, from ${short(this.legend.low)} to ${short(this.legend.high)}`);
  }
}

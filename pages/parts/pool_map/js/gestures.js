// Turns pointer and keys into intentions: move, zoom, draw a region, pick, rest on a pair.

const REST = 140; // milliseconds that the pointer must rest before a pair is asked about
const CLICK = 5; // pixels within which a press is a click

class Gestures {
  constructor(surface, stage, act) {
    this.surface = surface;
    this.stage = stage;
    this.act = act;
    this.fingers = new Map();
    this.line = null;
    this.resting = 0;
    const on = (node, name, handler, options) => node.addEventListener(name, handler, options);
    on(surface, "pointerdown", (event) => this.#down(event));
    on(surface, "pointermove", (event) => this.#move(event));
    on(surface, "pointerup", (event) => this.#up(event, true));
    on(surface, "pointercancel", (event) => this.#up(event, false));
    on(surface, "pointerleave", () => this.#leave());
    on(surface, "wheel", (event) => this.#wheel(event), { passive: false });
    on(surface, "dblclick", (event) => act.zoom(event.shiftKey ? 0.5 : 2, ...this.#at(event)));
    on(stage, "keydown", (event) => this.#key(event));
  }

  close() { clearTimeout(this.resting); }

  #at(event) {
    const box = this.surface.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #down(event) {
    if (event.button !== 0) return;
    clearTimeout(this.resting);
    this.act.rest(null);
    this.stage.focus({ preventScroll: true });
    this.surface.setPointerCapture(event.pointerId);
    const spot = this.#at(event);
    this.fingers.set(event.pointerId, spot);
    this.start = spot;
    this.dragged = false;
    if (this.fingers.size > 1) { this.line = null; this.act.sketch(null); return; }
    const tool = event.shiftKey ? "box" : this.act.tool();
    this.line = tool === "pan" ? null : { tool, spots: [spot] };
  }

  #move(event) {
    const spot = this.#at(event);
    const before = this.fingers.get(event.pointerId);
    if (!before) return this.#hover(spot);
    if (this.fingers.size === 2) this.#pinch(event.pointerId, spot);
    else if (this.line) this.#draw(event);
    else if (this.dragged || Math.hypot(spot[0] - this.start[0], spot[1] - this.start[1]) > CLICK) {
      this.dragged = true;
      this.surface.classList.add("moving");
      this.act.move(spot[0] - before[0], spot[1] - before[1]);
    }
    if (this.dragged || this.fingers.size === 2 || this.line) this.fingers.set(event.pointerId, spot);
  }

  #draw(event) {
    const { tool, spots } = this.line;
    for (const part of event.getCoalescedEvents?.() ?? [event]) {
      const spot = this.#at(part);
      const last = spots[spots.length - 1];
      if (tool === "box") spots[1] = spot;
      else if (Math.hypot(spot[0] - last[0], spot[1] - last[1]) > 3) spots.push(spot);
    }
    const end = spots[spots.length - 1];
    this.dragged ||= spots.length > 2 || Math.hypot(end[0] - this.start[0], end[1] - this.start[1]) > CLICK;
    this.act.sketch(this.dragged ? this.#corners() : null);
  }

  #corners() {
    const { tool, spots } = this.line;
    if (tool === "lasso") return spots;
    const [[left, top], [right, bottom]] = [spots[0], spots[1] ?? spots[0]];
    return [[left, top], [right, top], [right, bottom], [left, bottom]];
  }

  #pinch(id, spot) {
    const other = [...this.fingers].find(([key]) => key !== id)[1];
    const before = this.fingers.get(id);
    const length = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
    this.dragged = true;
    this.act.zoom(length(spot, other) / Math.max(1, length(before, other)), (spot[0] + other[0]) / 2, (spot[1] + other[1]) / 2);
    this.act.move((spot[0] - before[0]) / 2, (spot[1] - before[1]) / 2);
  }

  #up(event, finished) {
    if (!this.fingers.delete(event.pointerId)) return;
    this.surface.classList.remove("moving");
    const mode = event.ctrlKey || event.metaKey ? "add" : event.altKey ? "remove" : "replace";
    const line = this.line;
    if (this.fingers.size) return;
    if (finished && line && this.dragged) this.act.region(line.tool, this.#corners(), mode);
    else if (finished && !this.dragged) this.act.pick(...this.#at(event), mode);
    else this.act.sketch(null);
    this.line = null;
  }

  #hover(spot) {
    clearTimeout(this.resting);
    this.act.rest(null, spot);
    this.resting = setTimeout(() => this.act.rest(spot), REST);
  }

  #leave() {
    clearTimeout(this.resting);
    if (!this.fingers.size) this.act.rest(null);
  }

  #wheel(event) {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 30 : 1;
    const pace = event.ctrlKey ? 0.01 : 0.0016; // a pinch on a touchpad arrives as a wheel with ctrl
    this.act.zoom(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * unit)) * pace), ...this.#at(event));
  }

  #key(event) {
    if (event.target !== this.stage || ((event.ctrlKey || event.metaKey) && event.key !== "Escape")) return;
    const step = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const key = event.key.toLowerCase();
    if (step && event.shiftKey) this.act.walk(-step[0], -step[1]);
    else if (step) this.act.move(step[0] * 60, step[1] * 60);
    else if (key === "+" || key === "=") this.act.zoom(1.3);
    else if (key === "-" || key === "_") this.act.zoom(1 / 1.3);
    else if (key === "0" || key === "home") this.act.home();
    else if (key === "l") this.act.choose(this.act.tool() === "lasso" ? "pan" : "lasso");
    else if (key === "b") this.act.choose(this.act.tool() === "box" ? "pan" : "box");
    else if (key === "?") this.act.keys();
    else if (key === "enter") this.act.enter();
    else if (key === "escape") this.#escape();
    else if (/^[1-9]$/.test(key)) this.act.colour(Number(key));
    else return;
    event.preventDefault();
    event.stopPropagation(); // Streamlit has keys of its own
  }

  #escape() {
    if (!this.line) return this.act.clear();
    this.line = null;
    this.fingers.clear();
    this.act.sketch(null);
  }
}

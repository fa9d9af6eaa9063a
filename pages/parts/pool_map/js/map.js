// The pool map: joins the painter, the camera, the gestures and the legend, and talks to Python.
//
// Python mounts five elements. Four are silent channels that only leave bytes in `store`: points, colours, masks, and
// words (what else there is to know, and which bytes belong together). This one never changes, so that Streamlit sends
// this program once; it draws when all bytes that the words name are there. No caption comes here but the tip's.

const FRAME = 45; // milliseconds: a slower full picture is thinned while the map moves
const store = (window.chipsPoolMap ??= new Map());
const slotOf = (key) => store.get(key) ?? store.set(key, { channels: {} }).get(key);
const clampLine = (line) => (line.length <= 600 ? line : line.filter((_, at) => at % Math.ceil(line.length / 600) === 0));

class PoolMap {
  constructor(root, key) {
    this.find = (name) => root.querySelector(name);
    this.slot = slotOf(key);
    this.slot.map = this;
    this.stage = this.find(".stage");
    this.overlay = this.find(".overlay");
    this.canvas = this.find(".points");
    this.camera = new Camera(this.slot.camera);
    this.tool = this.slot.tool ?? "pan";
    this.shown = {};
    this.full = 0; // milliseconds of the last full picture
    this.tips = new Map();
    this.legend = new Legend(this.find(".legend"), (kind, more) => this.send(kind, more));
    this.gestures = new Gestures(this.overlay, this.stage, this.#acts());
    this.#buttons();
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.stage);
    this.canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); this.#lost(); });
    this.canvas.addEventListener("webglcontextrestored", () => this.#paintAnew());
    this.#paintAnew();
  }

  #paintAnew() {
    clearTimeout(this.losing);
    try {
      this.painter = new Painter(this.canvas);
      this.shown = {};
      this.message("");
      if (this.data) { this.take(); this.resize(); }
    } catch (error) { this.#failed(); }
  }

  #lost() {
    this.painter = null;
    this.message("The graphics context was lost. Trying to get it back…");
    this.losing = setTimeout(() => this.#failed(), 2500);
  }

  #failed() {
    this.painter = null;
    this.message("This browser cannot draw the map with WebGL2. Switching to the simple map…");
    if (this.setState) this.send("no-webgl");
    else this.owing = true;
  }

  // Called when Streamlit mounts the element or changes the theme.
  mount(setState) {
    this.setState = setState;
    if (this.owing) { this.owing = false; this.send("no-webgl"); }
    this.#theme();
    this.hear();
  }

  // Called by a channel that has something new.
  hear() {
    const words = this.slot.channels.words;
    if (words && words.fingerprint !== this.heard) {
      this.heard = words.fingerprint;
      this.#update(JSON.parse(new TextDecoder().decode(words.body)));
    }
    this.take();
  }

  #update(data) {
    this.data = data;
    this.stage.style.height = `max(${data.height}px, var(--map-height, 0px))`; // a page may let it grow with the window
    this.stage.setAttribute("aria-label", data.label);
    if (data.tip) this.tips.set(data.tip.row, data.tip);
    this.#words();
    this.#tip();
  }

  // Takes what the channels have left, once all that Python names is there.
  take() {
    const { channels } = this.slot;
    const names = ["points", "colours", "masks"];
    if (!this.painter || !this.data) return;
    if (!names.every((name) => channels[name]?.fingerprint === this.data.fingerprints[name])) return;
    const fresh = (name) => this.shown[name] !== channels[name].fingerprint;
    if (fresh("points")) this.#points(channels.points.body);
    if (fresh("colours")) this.#colours(channels.colours.body);
    if (fresh("masks")) this.#masks(channels.masks.body);
    for (const name of names) this.shown[name] = channels[name].fingerprint;
    this.legend.show(this.data.legend, this.inks);
    this.sketch = null;
    this.#follow();
    this.draw();
  }

  // Rings the pair that the page looks at, and brings it on screen when it is not there.
  #follow() {
    const { looked } = this.data;
    if (looked === this.looked) return;
    this.looked = looked;
    this.picked = looked;
    if (looked === null || looked * 2 >= this.places.length) return;
    const [left, top] = this.#spot(looked);
    if (left < 0 || top < 0 || left > this.camera.wide || top > this.camera.tall) this.camera.centre(this.places[looked * 2] / 65535, this.places[looked * 2 + 1] / 65535);
  }

  #points(body) {
    this.places = new Uint16Array(body.buffer, body.byteOffset, body.byteLength / 2);
    this.painter.points(this.places);
    if (this.slot.layout !== undefined && this.slot.layout !== this.data.fingerprints.points) { this.camera.home(); this.picked = null; this.looked = undefined; }
    this.slot.layout = this.data.fingerprints.points;
    this.tips.clear();
  }

  #colours(body) {
    this.palettes = [body.subarray(0, 768), body.subarray(768, 1536)];
    this.painter.codes(body.subarray(1536));
    this.#ink();
  }

  #masks(body) {
    const pairs = this.places.length / 2;
    const half = body.length / 2;
    let any = 0;
    for (let at = 0; at < body.length && !any; at++) any |= body[at];
    this.hidden = body.subarray(0, half);
    if (!any) return this.painter.flags(null);
    const flags = new Uint8Array(pairs);
    let choosing = 0;
    let filtering = 0;
    for (let at = 0; at < pairs; at++) {
      const chosen = (body[half + (at >> 3)] >> (at & 7)) & 1;
      const hidden = (body[at >> 3] >> (at & 7)) & 1;
      choosing |= chosen;
      filtering |= hidden;
      flags[at] = hidden | (chosen << 1);
    }
    this.painter.flags(flags, { choosing: choosing === 1, filtering: filtering === 1 });
  }

  // The ground decides which of the two palettes is read.
  #theme() {
    const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    probe.fillStyle = getComputedStyle(this.stage).getPropertyValue("--st-background-color") || "#fff";
    probe.fillRect(0, 0, 1, 1);
    const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
    this.ground = [red / 255, green / 255, blue / 255];
    this.dark = 0.3 * red + 0.6 * green + 0.1 * blue < 110;
    if (!this.palettes || !this.painter) return;
    this.#ink();
    this.legend.show(this.data.legend, this.inks);
    this.draw();
  }

  #ink() {
    this.inks = this.palettes[this.dark ? 1 : 0];
    this.painter.inks(this.inks);
  }

  resize() {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const { clientWidth: wide, clientHeight: tall } = this.stage;
    if (!wide || !tall) return;
    for (const canvas of [this.canvas, this.overlay]) {
      canvas.width = Math.round(wide * ratio);
      canvas.height = Math.round(tall * ratio);
    }
    Object.assign(this.camera, { wide, tall });
    this.ratio = ratio;
    this.legend.paint();
    if (this.painter && this.inks) this.#paint(1);
    this.#overlay();
  }

  // Draws at the next frame; while the map moves, thinned when a full picture takes too long, and whole at rest.
  draw(moving = false) {
    this.moving = moving;
    clearTimeout(this.settling);
    if (moving) this.settling = setTimeout(() => this.draw(), 160);
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      if (this.painter && this.inks) this.#paint(this.moving ? Math.max(1, Math.ceil(this.full / FRAME)) : 1);
      this.#overlay();
    });
  }

  #paint(stride) {
    const pairs = Math.max(1, this.places.length / 2);
    const closer = this.camera.zoom ** 0.38;
    const size = Math.min(13, Math.max(1.2, (27 / pairs ** 0.22) * closer)) * this.ratio;
    const opacity = Math.min(0.92, Math.max(0.3, 0.95 * Math.min(1, (4000 / pairs) ** 0.17) * closer ** 0.7));
    const grey = this.dark ? [0.55, 0.58, 0.62] : [0.55, 0.58, 0.62];
    const start = performance.now();
    this.painter.draw({ ...this.camera.clip(), size, opacity, ground: this.ground, grey, stride });
    if (stride === 1 && pairs > 50_000) this.painter.whenDone(() => { this.full = performance.now() - start; });
    this.slot.camera = this.camera.memory();
    this.stage.dataset.drawn = this.shown.points ? `${pairs}` : "";
  }

  #overlay() {
    const accent = getComputedStyle(this.stage).getPropertyValue("--st-primary-color") || "#0b6e99";
    const known = (row) => row !== null && row !== undefined && this.places && row * 2 < this.places.length;
    const rings = [];
    if (known(this.hovered)) rings.push([...this.#spot(this.hovered), 7, this.dark ? "#fff" : "#222"]);
    if (known(this.picked)) rings.push([...this.#spot(this.picked), 9, accent]);
    drawOverlay(this.overlay, { ratio: this.ratio, line: this.sketch, accent, rings, halo: this.dark ? "rgb(0 0 0 / 0.6)" : "rgb(255 255 255 / 0.9)" });
  }

  #spot(row) { return this.camera.toScreen(this.places[row * 2] / 65535, this.places[row * 2 + 1] / 65535); }

  // The pair nearest to a spot, within `reach` pixels; what is filtered out is not there for the pointer.
  nearest(left, top, reach, allowed = () => true) {
    if (!this.places) return null;
    const [x, y] = this.camera.toSquare(left, top);
    const [x0, y0] = [x * 65535, y * 65535];
    let best = ((reach / this.camera.scale) * 65535) ** 2;
    let row = null;
    for (let at = 0, end = this.places.length; at < end; at += 2) {
      const across = this.places[at] - x0;
      const square = across * across;
      if (square > best) continue;
      const up = this.places[at + 1] - y0;
      const far = square + up * up;
      const pair = at >> 1;
      if (far <= best && !((this.hidden[pair >> 3] >> (pair & 7)) & 1) && allowed(across, up)) { best = far; row = pair; }
    }
    return row;
  }

  #acts() {
    return {
      tool: () => this.tool,
      choose: (tool) => this.choose(tool),
      move: (right, down) => { this.camera.move(right, down); this.#moved(); },
      zoom: (factor, left, top) => { this.camera.zoomAt(factor, left, top); this.#moved(); },
      home: () => { this.camera.home(); this.#moved(); },
      sketch: (line) => { this.sketch = line; this.#overlay(); },
      region: (kind, line, mode) => this.#region(kind, line, mode),
      pick: (left, top, mode) => this.#pick(this.nearest(left, top, 14), mode),
      rest: (spot, at) => this.#rest(spot, at),
      clear: () => { this.picked = null; this.#overlay(); this.send("clear"); },
      colour: (number) => this.send("colour", { number }),
      walk: (right, down) => this.#walk(right, down),
      enter: () => this.#pick(this.picked ?? this.nearest(this.camera.wide / 2, this.camera.tall / 2, 1e6), "replace"),
      keys: () => this.find('[data-act="keys"]').click(),
    };
  }

  #moved() {
    this.hovered = null;
    this.find(".tip").hidden = true;
    this.draw(true);
  }

  #region(kind, line, mode) {
    const polygon = clampLine(line).map(([left, top]) => this.camera.toSquare(left, top).map((value) => Number(value.toFixed(6))));
    this.sketch = line; // stays until the answer is here
    this.#overlay();
    this.status("counting…");
    this.send(kind, { polygon, mode });
  }

  #pick(row, mode) {
    if (row === null) return;
    this.picked = row;
    this.#overlay();
    this.send("pick", { row, mode });
  }

  // From the picked pair to the nearest one in a direction.
  #walk(right, down) {
    if (this.picked === null || this.picked === undefined) return this.#acts().enter();
    const [left, top] = this.#spot(this.picked);
    const toward = (across, up) => across * right - up * down > 1.2 * Math.abs(across * down + up * right) && (across || up);
    this.#pick(this.nearest(left, top, 1e6, toward), "replace");
  }

  #rest(spot, at) {
    if (!spot) {
      if (this.hovered === null || this.hovered === undefined) return;
      if (at && this.nearest(...at, 10) === this.hovered) return; // still on it
      this.hovered = null;
    } else {
      this.hovered = this.nearest(...spot, 10);
      if (this.hovered !== null && this.data?.hover && !this.tips.has(this.hovered)) this.setState("hover", this.hovered);
    }
    this.overlay.classList.toggle("over", this.hovered !== null);
    this.#overlay();
    this.#tip();
  }

  #tip() {
    const box = this.find(".tip");
    const tip = this.tips.get(this.hovered);
    box.hidden = !tip;
    if (!tip) return;
    const image = box.querySelector("img");
    image.hidden = !tip.image;
    if (tip.image && image.src !== tip.image) image.src = tip.image;
    image.alt = tip.image ? "thumbnail" : "";
    box.querySelector("strong").textContent = tip.title;
    box.querySelector("span").textContent = tip.text;
    const [left, top] = this.#spot(tip.row);
    const { offsetWidth: wide, offsetHeight: tall } = box;
    const across = left + 16 + wide > this.camera.wide ? left - 16 - wide : left + 16;
    const down = Math.min(Math.max(8, top - tall / 2), this.camera.tall - tall - 8);
    box.style.transform = `translate(${Math.round(Math.max(4, across))}px, ${Math.round(down)}px)`;
  }

  choose(tool) {
    this.tool = this.slot.tool = tool;
    this.overlay.dataset.tool = tool;
    for (const button of this.stage.querySelectorAll("[data-tool]:not(canvas)")) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    this.find(".live").textContent = { pan: "Move tool", lasso: "Lasso tool", box: "Box tool" }[tool];
  }

  #buttons() {
    const acts = this.#acts();
    const keys = this.find(".keys");
    const doing = {
      in: () => acts.zoom(1.4),
      out: () => acts.zoom(1 / 1.4),
      home: acts.home,
      clear: acts.clear,
      keys: (button) => { keys.hidden = !keys.hidden; button.setAttribute("aria-expanded", String(!keys.hidden)); },
    };
    for (const button of this.stage.querySelectorAll("button")) {
      button.addEventListener("click", () => (button.dataset.tool ? this.choose(button.dataset.tool) : doing[button.dataset.act](button)));
    }
    this.choose(this.tool);
  }

  status(strong, quiet = "", clear = false) {
    this.find(".status b").textContent = strong;
    this.find(".status span").textContent = quiet;
    this.find(".status button").hidden = !clear;
  }

  #words() {
    const { pairs, selected, hidden, legend } = this.data;
    const greyed = hidden ? ` · ${many(hidden)} greyed out` : "";
    this.status(selected ? `${many(selected)} selected` : `${many(pairs)} ${pairs === 1 ? "pair" : "pairs"}`, selected ? `of ${many(pairs)}${greyed}` : greyed.slice(3), selected > 0);
    const words = `${many(selected)} of ${many(pairs)} pairs selected, ${many(hidden)} greyed out.`;
    if (this.find(".live").textContent !== words) this.find(".live").textContent = words;
    if (legend) fillTable(this.find("table"), legend);
  }

  message(text) {
    const box = this.find(".message");
    box.hidden = !text;
    box.textContent = text;
  }

  // An event is state with a name of its own, so that Python takes each exactly once.
  send(kind, more = {}) {
    this.setState("event", { id: `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`, kind, ...more });
  }

  close() {
    this.sizes.disconnect();
    this.gestures.close();
    clearTimeout(this.losing);
    clearTimeout(this.settling);
    if (this.slot.map === this) this.slot.map = null;
    this.painter?.close();
    this.painter = null;
  }
}

const mounted = new WeakMap();

export default function ({ parentElement, data, setStateValue }) {
  const found = mounted.get(parentElement);
  const fresh = found?.stage.isConnected ? found : new PoolMap(parentElement, data.key);
  if (found && found !== fresh) found.close();
  mounted.set(parentElement, fresh);
  fresh.mount(setStateValue);
  return () => { mounted.get(parentElement)?.close(); mounted.delete(parentElement); };
}

// One pair at a time, by keyboard. Every text is set as text, never as HTML: captions come from outside.

const UNSEEN = 250; // milliseconds after a pair came on screen in which a key is a slip, not a verdict
const SILENCE = 8000; // milliseconds until a missing answer is told
const NOTE_REST = 350; // a note left by clicking on a verdict goes with that verdict
const TYPING = 'textarea, select, [contenteditable="true"], [role="slider"], [role="combobox"], [role="listbox"], [role="radiogroup"], [role="dialog"], [role="textbox"], [role="grid"], canvas';
const slot = (window.chipsReview ??= {});

function make(tag, name = "", text = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== "") element.textContent = text;
  return element;
}

function link(address, ...inside) {
  const element = make("a");
  element.href = address;
  element.target = "_blank";
  element.append(...inside);
  return element;
}

function picture(url, alt) {
  const image = make("img");
  image.alt = alt;
  image.decoding = "async";
  image.src = url;
  return image;
}

class Reviewer {
  constructor(root) {
    this.root = root;
    root.tabIndex = -1;
    root.setAttribute("role", "region");
    root.setAttribute("aria-label", "Reviewer");
    for (const name of ["top", "pane", "words", "keys", "near"]) root.append((this[name] = make("div", name)));
    this.live = root.appendChild(make("div", "live"));
    this.live.setAttribute("aria-live", "polite");
    this.count = 0;
    this.preloaded = [];
    this.#pane();
    this.#keys();
    this.words.onscroll = () => this.#more();
    new ResizeObserver(() => this.#more()).observe(this.words);
  }

  // --- what is shown -----------------------------------------------------------------------------------------------

  show(data) {
    const before = this.data;
    this.data = data;
    if (this.pending && data.reply >= this.pending) this.#settle();
    const moved = before?.pair?.id !== data.pair?.id || before?.list !== data.list;
    this.top.hidden = data.stays;
    if (!data.stays) this.#top(data);
    this.root.classList.toggle("stays", data.stays);
    this.root.classList.toggle("empty", !data.pair);
    if (data.pair) this.#pair(data, moved);
    else this.#finished(data);
    this.#told(data.told);
    this.preloaded = data.preload.map((url) => { const image = new Image(); image.src = url; return image; });
    if (before?.list !== data.list && !document.activeElement?.closest('[role="dialog"], [data-testid="stPopoverBody"]')) {
      this.root.focus({ preventScroll: true });
    }
  }

  #top({ progress, precision }) {
    const bar = make("div", "bar");
    bar.append(make("span"));
    bar.firstChild.style.width = `${100 * progress.share}%`;
    const line = make("div", "line");
    line.append(make("strong", "", progress.place), make("span", "dim", progress.text));
    const found = make("span", "found");
    for (const { depth, text, help } of precision) {
      const one = make("span");
      one.append(make("span", "dim", `${depth} `), make("b", "", text));
      one.title = help;
      found.append(one);
    }
    line.append(found);
    this.top.replaceChildren(line, bar);
  }

  #pane() {
    this.image = this.pane.appendChild(make("img"));
    this.gone = this.pane.appendChild(make("div", "gone", "This image cannot be shown."));
    this.image.onload = () => this.#seen(true);
    this.image.onerror = () => this.#seen(false);
    this.pane.title = "Click to zoom";
    this.pane.onclick = (event) => { this.pane.classList.toggle("zoomed"); this.#pan(event); };
    this.pane.onmousemove = (event) => this.#pan(event);
  }

  #pan(event) {
    const box = this.pane.getBoundingClientRect();
    const x = (100 * (event.clientX - box.left)) / box.width, y = (100 * (event.clientY - box.top)) / box.height;
    this.image.style.transformOrigin = `${x}% ${y}%`;
  }

  #seen(shown) {
    this.pane.classList.toggle("missing", !shown);
    this.image.style.visibility = shown ? "visible" : "hidden";
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => { this.root.dataset.ready = this.data.pair?.id ?? ""; }, UNSEEN);
  }

  #pair(data, moved) {
    const { pair } = data;
    if (moved) {
      delete this.root.dataset.ready;
      this.pane.classList.remove("zoomed");
      this.image.style.visibility = "hidden"; // never the last pair's image beside this caption
      this.image.alt = `Image of pair ${pair.id}`;
      this.image.src = pair.url;
      this.note.value = data.note;
      this.words.scrollTop = 0;
      this.root.scrollIntoView({ block: "nearest" });
    }
    this.saved = data.note;
    for (const [key, button] of this.buttons) {
      button.setAttribute("aria-pressed", String(data.verdict?.key === key));
      button.classList.toggle("given", data.verdict?.key === key);
    }
    this.#words(data);
    this.#near(data.near, data.pair);
  }

  #words({ pair, verdict, why, better }) {
    const caption = make("p", "caption", pair.caption);
    if (pair.more) caption.append(" ", link(pair.open, "… the whole caption"));
    const facts = make("dl");
    for (const [name, value] of pair.facts) {
      const one = make("div");
      const words = make("dd", "", name === "pair" ? "" : value);
      if (name === "pair") words.append(link(pair.open, value));
      words.title = value;
      one.append(make("dt", "", name), words);
      facts.append(one);
    }
    const held = make("p", "held", verdict ? verdict.words : "");
    this.words.replaceChildren(caption, facts, ...(verdict ? [held] : []), this.#why(why));
    if (better) this.words.append(this.#better(better));
    this.#more();
  }

  // What goes on below the edge fades there, so that it is seen to go on.
  #more() {
    const { scrollTop, clientHeight, scrollHeight } = this.words;
    this.words.classList.toggle("more", scrollTop + clientHeight < scrollHeight - 1);
  }

  #why(why) {
    const box = make("section", "why");
    const head = make("h3", "", why.title);
    if (why.parts.length) head.append(make("span", "dim", " · bars: share of the pool that is less suspect"));
    box.append(head);
    if (why.sentences.length) {
      const list = make("ul");
      list.append(...why.sentences.map((sentence) => make("li", "", sentence)));
      box.append(list);
    }
    for (const part of why.parts) {
      const line = make("div", "part" + (part.loud ? " loud" : ""));
      const bar = make("span", "bar");
      bar.append(make("span"));
      bar.firstChild.style.width = `${100 * part.share}%`;
      line.append(make("span", "name", part.title), bar, make("span", "number", part.text));
      line.title = part.help;
      box.append(line);
    }
    return box;
  }

  #better(better) {
    const box = make("section", "better");
    box.append(make("h3", "", better.title));
    const list = make("ol");
    for (const item of better.items) {
      const line = make("li");
      line.append(make("span", "text", item.text), make("span", "dim", item.count));
      list.append(line);
    }
    if (better.items.length) box.append(list);
    return box;
  }

  #near(near, pair) {
    this.near.replaceChildren(make("h3", "", near.title));
    const grid = make("div", "grid");
    for (const item of near.items) {
      const frame = make("span", "frame");
      frame.append(picture(item.url, `Image of pair ${item.id}`));
      if (item.badge) frame.append(make("span", "badge", item.badge));
      const text = make("span", "text", item.text);
      const label = make("span", "dim", item.label);
      label.title = item.label;
      const card = link(item.open, frame, text, label);
      if (item.same) card.classList.add("same");
      card.title = item.text;
      grid.append(card);
    }
    this.near.append(grid);
    this.near.hidden = !near.items.length;
  }

  #finished({ done }) {
    delete this.root.dataset.ready;
    const list = make("dl");
    for (const [name, value] of done.counts) {
      const one = make("div");
      one.append(make("dt", "", name), make("dd", "", value));
      list.append(one);
    }
    this.words.replaceChildren(make("p", "caption", done.title), make("p", "", done.text), list);
    this.near.replaceChildren();
  }

  // --- what the person does ----------------------------------------------------------------------------------------

  #keys() {
    this.buttons = new Map();
    this.row = this.keys.appendChild(make("div", "row"));
    const rest = this.keys.appendChild(make("div", "row rest"));
    for (const [key, word, act, hint] of [["←", "back", "back", "ArrowLeft"], ["→", "skip", "next", "ArrowRight"], ["Z", "undo", "undo", "z"]]) {
      rest.append(this.#button(key, word, hint, () => this.act({ do: act })));
    }
    this.note = rest.appendChild(make("textarea"));
    this.note.rows = 1;
    this.note.placeholder = "Note: goes with the verdict (T to write, Esc to leave)";
    this.note.setAttribute("aria-label", "Note");
    this.note.onchange = () => { this.resting = setTimeout(() => this.#noteChanged() && this.act({ do: "note" }), NOTE_REST); };
    this.status = rest.appendChild(make("span", "status"));
    this.status.setAttribute("role", "status");
  }

  #button(key, word, hint, act) {
    const button = make("button");
    button.type = "button";
    button.setAttribute("aria-keyshortcuts", hint);
    button.append(make("kbd", "", key), make("span", "", word));
    button.onclick = act;
    return button;
  }

  choices(choices) {
    if (this.buttons.size) return;
    for (const { key, word, whole } of choices) {
      const button = this.#button(key.toUpperCase(), word, key, () => this.act({ do: "verdict", key }));
      button.title = whole;
      this.buttons.set(key, this.row.appendChild(button));
    }
  }

  #noteChanged() { return this.note.value !== (this.saved ?? ""); }

  act(message) {
    const { pair, verdict } = this.data;
    if (this.pending) return;
    if (message.do === "verdict" && (!pair || this.root.dataset.ready !== pair.id)) return;
    clearTimeout(this.resting);
    const note = pair && this.#noteChanged() ? this.note.value : null;
    this.pending = this.count = Math.max(this.count, this.data.reply) + 1;
    this.started = performance.now();
    if (message.key) this.buttons.get(message.key)?.classList.add("pressed");
    this.root.setAttribute("aria-busy", "true");
    this.late = setTimeout(() => {
      this.#settle();
      this.#told({ text: "No answer from the app yet: this may not be saved. Is it still running? Reload the page to see what is saved.", ok: false });
    }, SILENCE);
    slot.send({ ...message, pair: pair?.id ?? null, seen: this.data.seen, note, n: this.pending });
  }

  #settle() {
    clearTimeout(this.late);
    this.pending = 0;
    this.root.removeAttribute("aria-busy");
    this.root.dataset.took = Math.round(performance.now() - this.started);
    for (const button of this.buttons.values()) button.classList.remove("pressed");
  }

  #told(told) {
    this.status.textContent = told?.text ?? "";
    this.status.classList.toggle("bad", told?.ok === false);
    const spoken = this.data.pair ? `${this.data.progress.place}. ${told?.text ?? ""}` : (told?.text ?? "");
    if (this.live.textContent !== spoken) this.live.textContent = spoken;
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    const target = event.composedPath()[0];
    if (target === this.note) return this.#inNote(event);
    const typing = target.closest?.(TYPING) || (target.tagName === "INPUT" && !["checkbox", "radio", "button"].includes(target.type));
    if (typing || document.querySelector('[data-testid="stDialog"]')) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const acts = { ArrowLeft: "back", ArrowRight: "next", j: "next", z: "undo" };
    if (key === "t" && this.data?.pair) this.note.focus();
    else if (event.repeat) return;
    else if (acts[key]) this.act({ do: acts[key] });
    else if (this.buttons.has(key)) this.act({ do: "verdict", key });
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #inNote(event) {
    event.stopPropagation();
    if (event.key !== "Escape" && !(event.key === "Enter" && !event.shiftKey)) return;
    event.preventDefault();
    this.root.focus({ preventScroll: true });
  }
}

export default function ({ parentElement, data }) {
  let root = parentElement.querySelector(".review");
  if (!root) {
    root = make("div", "review");
    parentElement.append(root);
    slot.reviewer = new Reviewer(root);
  }
  const reviewer = slot.reviewer;
  reviewer.choices(data.choices);
  slot.hear = () => reviewer.show(slot.data);
  if (slot.listener) window.removeEventListener("keydown", slot.listener, true);
  slot.listener = (event) => { if (root.isConnected) reviewer.key(event); };
  window.addEventListener("keydown", slot.listener, true);
  if (slot.data) slot.hear();
  return () => {
    if (root.isConnected) return;
    window.removeEventListener("keydown", slot.listener, true);
    slot.hear = slot.data = undefined;
  };
}

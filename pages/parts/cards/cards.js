// A grid of pairs. Every text is set as text, never as HTML: captions come from outside.
export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  let grid = parentElement.querySelector(".cards");
  if (!grid) {
    grid = document.createElement("div");
    parentElement.appendChild(grid);
  }
  grid.className = data.few ? "cards few" : "cards";
  grid.style.setProperty("--card", `${data.width}px`);
  grid.style.setProperty("--lines", String(data.lines));
  grid.setAttribute("role", "list");
  grid.setAttribute("aria-label", data.label);
  grid.pick = (row) => setTriggerValue("picked", row);
  const held = new Map([...grid.children].map((element) => [element.told, element]));
  const wanted = data.cards.map((card) => {
    const told = JSON.stringify([card, data.clickable]);
    return held.get(told) ?? Object.assign(cardElement(card, data, grid), { told }); // as it was: it may have the focus
  });
  if (!wanted.length) wanted.push(textElement("div", "empty", data.empty));
  show(grid, wanted);
  grid.onkeydown = (event) => moveFocus(grid, event);
  return () => {};
}

// Puts these elements into the grid; one that is there already is not taken out, for it would lose the focus.
function show(grid, wanted) {
  const row = grid.getRootNode().activeElement?.row;
  const stays = new Set(wanted);
  [...grid.children].filter((element) => !stays.has(element)).forEach((element) => element.remove());
  wanted.forEach((element, at) => {
    if (grid.children[at] !== element) grid.insertBefore(element, grid.children[at] ?? null);
  });
  if (row !== undefined) wanted.find((element) => element.row === row)?.focus({ preventScroll: true });
}

function cardElement(card, data, grid) {
  const element = document.createElement(data.clickable ? "button" : "div");
  element.className = "card" + (data.clickable ? "" : " still") + (card.chosen ? " chosen" : "");
  if (data.clickable) {
    element.type = "button";
    element.row = card.row;
    element.onclick = () => grid.pick(card.row);
  }
  element.setAttribute("aria-label", `${card.title}. ${card.text}`);
  const frame = document.createElement("div");
  frame.className = "frame";
  const image = document.createElement("img");
  image.src = card.url;
  image.alt = `Image of pair ${card.title}`;
  image.loading = "lazy";
  image.decoding = "async";
  frame.appendChild(image);
  if (card.badge) frame.appendChild(badgeElement(card));
  const text = textElement("div", "text", card.text);
  text.title = card.text;
  element.append(frame, textElement("div", "title", card.title), text);
  if (card.note) {
    const note = textElement("div", "note", card.note);
    note.title = card.note;
    element.append(note);
  }
  return element;
}

function badgeElement(card) {
  const badge = textElement("span", "badge" + (card.warn ? " warn" : ""), card.badge);
  badge.title = card.badge; // the whole of what may be cut
  return badge;
}

function textElement(tag, name, text) {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}

function moveFocus(grid, event) {
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  const cards = [...grid.querySelectorAll("button.card")];
  const at = cards.indexOf(event.target.closest("button.card"));
  if (at < 0 || !(event.key in steps)) return;
  event.preventDefault();
  cards[Math.min(Math.max(at + steps[event.key], 0), cards.length - 1)].focus();
}

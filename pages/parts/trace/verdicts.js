// One button and one key a verdict on the ticked pairs; Z takes the last one back. Every text is set as text.
const TYPING = "input, textarea, select, [contenteditable]";

export default function ({ parentElement, data, setTriggerValue }) {
  let root = parentElement.querySelector(".verdicts");
  if (!root) {
    root = document.createElement("div");
    root.className = "verdicts";
    parentElement.append(root);
  }
  const act = (key) => setTriggerValue("act", key);
  const head = element("div", "head", data.count ? `Verdict on the ${data.count} ticked` : "Verdict: tick pairs first");
  const grid = element("div", "grid", "");
  for (const choice of data.choices) {
    const button = element("button", "choice", "");
    button.type = "button";
    button.disabled = !data.count;
    button.title = choice.whole;
    button.append(element("kbd", "", choice.key.toUpperCase()), element("span", "", choice.word));
    button.onclick = () => act(choice.key);
    grid.append(button);
  }
  const undo = element("button", "choice", "");
  undo.type = "button";
  undo.append(element("kbd", "", "Z"), element("span", "", "take back"));
  undo.onclick = () => act("z");
  grid.append(undo);
  const told = element("div", data.ok ? "told" : "told bad", data.told);
  told.setAttribute("role", "status");
  const at = [...root.querySelectorAll("button")].indexOf(root.getRootNode().activeElement);
  root.replaceChildren(head, grid, told);
  root.querySelectorAll("button")[at]?.focus({ preventScroll: true }); // the buttons are the same ones, made anew
  const keys = new Set(["z", ...(data.count ? data.choices.map((choice) => choice.key) : [])]);
  const slot = (window.chipsTrace ??= {});
  if (slot.listener) window.removeEventListener("keydown", slot.listener, true);
  slot.listener = (event) => {
    if (!root.isConnected || event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    const target = event.composedPath()[0];
    if (target.closest?.(TYPING) || document.querySelector('[data-testid="stDialog"]')) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : "";
    if (!keys.has(key)) return;
    event.preventDefault();
    event.stopPropagation();
    act(key);
  };
  window.addEventListener("keydown", slot.listener, true);
  return () => {
    if (!root.isConnected) window.removeEventListener("keydown", slot.listener, true);
  };
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

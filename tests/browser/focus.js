// Puts `keyboardWalk` on the window: what can have the focus, what has it, and whether that can be seen.
() => {
  const LOOKS = ["outlineStyle", "outlineWidth", "boxShadow", "borderColor", "backgroundColor"];
  const name = (element) => {
    const words = element.getAttribute("aria-label") || element.innerText || element.placeholder || element.title || element.id;
    return `${element.tagName} ${(words || "").replace(/\s+/g, " ").trim().slice(0, 40)}`;
  };
  const above = (element) => element.parentElement ?? element.getRootNode().host;
  // How the focus may show: on the element, or on the box that it stands in.
  const look = (element) => {
    const found = [];
    for (let at = element, step = 0; at && step < 4; at = above(at), step += 1) {
      const style = getComputedStyle(at);
      found.push(LOOKS.map((key) => style[key]).join(" "));
    }
    return found.join("\n");
  };
  const deepest = () => {
    let at = document.activeElement;
    while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
    return at && at !== document.body && at !== document.documentElement ? at : null;
  };
  const walk = { before: null, seen: new Set(), names: new Set(), unseen: [] };
  // Says what has the focus now, "" when the page has been left; notes whether the element before looked otherwise.
  walk.step = () => {
    const { before } = walk;
    if (before && before.element.isConnected && before.look === look(before.element)) walk.unseen.push(before.name);
    const element = deepest();
    walk.before = element?.matches("main, section") ? null : element && { element, name: name(element), look: look(element) };
    if (!element || walk.seen.has(element)) return "";
    walk.seen.add(element);
    walk.names.add(name(element)); // what has the name was reached, even where the page has drawn it anew since
    return name(element);
  };
  // Within a group of choices Tab reaches one, and the arrows the others.
  const reached = (element) => {
    const group = element.closest("[role='radiogroup']");
    return walk.names.has(name(element)) || (group !== null && [...walk.seen].some((seen) => group.contains(seen)));
  };
  // Returns the controls that Tab should reach and did not.
  walk.missed = () => {
    const found = [];
    const look = (root) => {
      for (const element of root.querySelectorAll("*")) {
        if (element.shadowRoot) look(element.shadowRoot);
        const control = element.matches("button, a[href], input, textarea, select, [tabindex='0']");
        const usable = element.tabIndex >= 0 && !element.disabled && element.getClientRects().length && element.checkVisibility();
        if (control && usable && !reached(element)) found.push(name(element));
      }
    };
    look(document);
    return found;
  };
  window.keyboardWalk = walk;
}

// Returns the texts on the page that reach less than 4.5 to 1 against what lies behind them (WCAG 2.2, 1.4.3), however
// deep in shadow roots; symbols, text in large type, what cannot be used now, and a slider's value, which stands above it
// and not on it, are exempt.
() => {
  const light = (rgb) => {
    const [red, green, blue] = rgb.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const parsed = (text) => {
    const [red, green, blue, alpha = 1] = text.match(/[\d.]+/g).map(Number);
    return text.startsWith("color(srgb") ? [red * 255, green * 255, blue * 255, alpha] : [red, green, blue, alpha];
  };
  const over = (upper, lower) => [0, 1, 2].map((band) => upper[band] * upper[3] + lower[band] * (1 - upper[3]));
  const poor = [];
  const look = (element, text) => {
    const style = getComputedStyle(element);
    const layers = [];
    let opacity = 1;
    for (let at = element; at; at = at.parentElement ?? at.getRootNode().host) {
      const own = getComputedStyle(at);
      opacity *= Number(own.opacity);
      const ground = parsed(own.backgroundColor);
      if (ground[3] > 0) layers.push(ground);
      if (ground[3] === 1) break;
    }
    if (opacity === 0) return; // not to be seen, such as the ends of a slider until it is touched
    const ground = layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
    const ink = parsed(style.color);
    const [bright, dim] = [light(over([...ink.slice(0, 3), ink[3] * opacity], ground)), light(ground)].sort((a, b) => b - a);
    const ratio = (bright + 0.05) / (dim + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)}: ${text.slice(0, 40)}`);
  };
  const walk = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) walk(element.shadowRoot);
      const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.textContent).join("").trim();
      const style = getComputedStyle(element);
      const seen = element.getClientRects().length && style.visibility !== "hidden" && !element.closest(".unseen, .live");
      const exempt = element.closest(":disabled, [aria-disabled='true'], [data-testid='stIconMaterial'], [data-testid='stPagination'], [role='slider']");
      if (/[A-Za-z0-9]/.test(text) && seen && !exempt && parseFloat(style.fontSize) < 24) look(element, text);
    }
  };
  walk(document);
  return poor;
}

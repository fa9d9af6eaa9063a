// A silent element: hands the pair to the reviewer on the page, and the reviewer's acts to Python. The program itself
// (review.js) stands outside the fragment, so that a verdict sends no program, only the next pair.
export default function ({ parentElement, data, setTriggerValue }) {
  const place = (parentElement.host ?? parentElement).closest('[data-testid="stElementContainer"]');
  if (place) place.style.display = "none";
  const slot = (window.chipsReview ??= {});
  slot.send = (message) => setTriggerValue("act", message);
  slot.data = data;
  slot.hear?.();
}

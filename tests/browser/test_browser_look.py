"""What everybody must be able to read and reach: contrast of every text in both themes, and pictures with words."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "views"))
from map_pools import mapped_pool

pytestmark = pytest.mark.browser

SECONDS = 60_000
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
PAGES = {
    "/": ".card img",
    "/map": ".stage[data-drawn]",
    "/misaligned": ".review .keys button",
    "/pair?pair=p2": ".charts",
    "/mispredictions": "[data-testid='stAlert']",
    "/runs": "[data-testid='stDataFrame']",
}
NAMELESS = """() => {
  const found = [];
  const walk = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) walk(element.shadowRoot);
      const ours = root === document ? "img" : "img, canvas"; // Streamlit's tables name their canvas by a table
      if (element.matches(ours) && !["alt", "aria-label", "aria-hidden"].some((name) => element.hasAttribute(name))) {
        found.push(element.outerHTML.slice(0, 80));
      }
    }
  };
  walk(document);
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages__every_text_is_readable_and_every_picture_has_words(serve, chromium, tmp_path, scheme):
    address = serve(mapped_pool(tmp_path / "pool").path)
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    for path, drawn in PAGES.items():
        page.goto(address + path)
        page.locator(drawn).first.wait_for(timeout=SECONDS)
        page.locator("[data-testid='stSkeleton']").first.wait_for(state="detached", timeout=SECONDS)
        page.wait_for_timeout(600)  # what fades in has done so
        assert page.evaluate(CONTRAST) == [], path
        assert page.evaluate(NAMELESS) == [], path

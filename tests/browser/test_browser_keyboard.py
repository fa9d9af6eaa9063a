"""Without a mouse: every control of the map and of the review page is reached, shows it, and lets go again."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "views"))
from map_pools import mapped_pool

pytestmark = pytest.mark.browser

PATIENCE = 60_000  # ms: other tests may run beside this one
MOST_STOPS = 120
FOCUS = (Path(__file__).parent / "focus.js").read_text(encoding="utf-8")
AT_ONCE = "*, *::before, *::after { transition: none !important; animation: none !important; }"
PAGES = {
    "/map": (
        ".card img",
        {"A Skip to main content", "BUTTON Lasso", "BUTTON Zoom in", "BUTTON Keys", "INPUT Colour", "INPUT Search"},
    ),
    "/misaligned": (
        ".review .pane img",
        {"BUTTON K correct", "BUTTON M wrong pair", "BUTTON S unsure", "TEXTAREA Note", "INPUT Order", "INPUT Show"},
    ),
}


@pytest.fixture
def page(chromium, serve, tmp_path):
    """Yields a function that opens a page of the app and waits until it is drawn."""
    address = serve(mapped_pool(tmp_path / "pool").path)
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)

    def start(path):
        page.goto(address + path)
        page.locator(PAGES[path][0]).first.wait_for()
        page.locator("[data-testid='stApp'][data-test-script-state='notRunning']").wait_for()
        return page

    return start


def walked(page):
    """Presses Tab from the beginning of the page until it is left; returns the names of the stops."""
    page.add_style_tag(content=AT_ONCE)
    page.evaluate("document.activeElement.blur()")
    page.evaluate(FOCUS)
    page.locator("[data-testid='stSkipToContent']").focus()
    stops = []
    for _ in range(MOST_STOPS):
        name = page.evaluate("keyboardWalk.step()")
        if not name:
            return stops
        stops.append(name)
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never leaves the page: {stops}")


@pytest.mark.parametrize("path", PAGES)
def test_keyboard__tab_reaches_every_control_and_shows_where_it_is(page, path):
    opened = page(path)
    stops = walked(opened)
    assert PAGES[path][1] - set(stops) == set(), stops
    assert opened.evaluate("keyboardWalk.missed()") == []
    assert opened.evaluate("keyboardWalk.unseen") == []


def test_keyboard__a_pair_is_found_selected_and_let_go_on_the_map(page):
    opened = page("/map")
    stage = opened.locator(".stage[data-drawn]:not([data-drawn=''])")
    stage.focus()
    opened.keyboard.press("l")
    opened.locator(".overlay[data-tool='lasso']").wait_for()
    opened.keyboard.press("l")
    opened.locator(".overlay[data-tool='pan']").wait_for()
    opened.keyboard.press("2")
    opened.locator(".legend strong", has_text="ECIF").wait_for()
    opened.keyboard.press("1")
    opened.locator(".legend strong", has_text="Misalignment queue").wait_for()
    stage.focus()
    opened.keyboard.press("Enter")
    add = opened.get_by_role("button", name="Add to selection")
    add.wait_for()
    add.focus()
    opened.keyboard.press("Enter")
    opened.locator(".status b", has_text="1 selected").wait_for()
    stage.focus()
    opened.keyboard.press("Escape")
    opened.get_by_text("Selected 0").wait_for()


def test_keyboard__the_queue_goes_on_and_back_and_a_note_keeps_its_letters(page):
    opened = page("/misaligned")
    reader = opened.locator(".review[data-ready]:not([data-ready=''])")
    reader.wait_for()
    first = reader.get_attribute("data-ready")
    other = f".review[data-ready]:not([data-ready='']):not([data-ready='{first}'])"
    opened.keyboard.press("ArrowRight")
    opened.locator(other).wait_for()
    opened.keyboard.press("ArrowLeft")
    opened.locator(f".review[data-ready='{first}']").wait_for()
    opened.keyboard.press("t")
    note = opened.get_by_role("textbox", name="Note")
    opened.keyboard.type("mk")
    assert note.input_value() == "mk"
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.shadowRoot?.activeElement?.tagName ?? ''") != "TEXTAREA"
    note.focus()
    opened.keyboard.press("Escape")
    opened.keyboard.press("ArrowRight")
    opened.locator(other).wait_for()


def test_keyboard__a_card_keeps_the_focus_where_the_cards_are_drawn_anew(page):
    opened = page("/map")
    first, card = opened.locator(".card").first, opened.locator(".card").nth(1)
    words = first.get_attribute("aria-label")
    card.focus()
    focused = "document.activeElement.shadowRoot?.activeElement?.getAttribute('aria-label')"
    held = opened.evaluate(focused)
    opened.get_by_role("radio", name="Low first").evaluate("radio => radio.click()")  # leaves the focus where it is
    opened.wait_for_function(
        "words => document.activeElement.shadowRoot?.querySelector('.card')?.getAttribute('aria-label') !== words",
        arg=words,
    )
    assert held == opened.evaluate(focused) != words

"""The reviewer in a real browser: verdicts by keyboard, a reload, undo, and captions that want to be more than text."""

import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from chips_core.store.review import Review

sys.path.insert(0, str(Path(__file__).parents[1] / "views"))
from review_pools import scored_pool

pytestmark = pytest.mark.browser

HOSTILE = (
    "<script>window.harm=1</script><img src=x onerror=window.harm=2>",
    "![](http://example.com/x.png)",
    "$a$ and $$b$$",
    ":red[x] :material/bug_report:",
    "[x](javascript:window.harm=3)",
    "</div><style>*{display:none}</style>",
)
SECONDS = 30_000
READY = "(b) => { const r = window.chipsReview?.reviewer?.root; return r && (r.dataset.ready ?? '') === b }"


class Reader:
    """A person at a page: presses keys and says what is on screen."""

    def __init__(self, page, address, path="/misaligned"):
        self.page, self.asked, self.received = page, [], []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: socket.on("framereceived", lambda data: self.received.append(len(data))))
        page.goto(address + path)
        page.wait_for_selector(".review", timeout=SECONDS)

    def sees(self, pair_id):
        """Waits until a pair is on screen and may be judged."""
        self.page.wait_for_function(READY, arg=pair_id, timeout=SECONDS)

    def text(self, part):
        return self.page.locator(part).first.inner_text()

    def press(self, key):
        self.page.keyboard.press(key)

    def told(self, words):
        self.page.locator(".status", has_text=words).wait_for(timeout=SECONDS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return scored_pool(tmp_path_factory.mktemp("review") / "pool").path


@pytest.fixture
def pool(plain, tmp_path):
    import shutil

    shutil.copytree(plain, tmp_path / "pool")
    shutil.copytree(plain.parent / "pool-images", tmp_path / "pool-images")
    return tmp_path / "pool"


def verdicts(pool):
    with Review.open(pool) as review:
        table = review.current_verdicts()
    return dict(zip(table["pair_id"], table["verdict"], strict=True))


def test_review__verdicts_by_keyboard_survive_a_reload_and_are_taken_back(pool, serve, chromium):
    address = serve(pool)
    reader = Reader(chromium.new_page(), address)
    reader.sees("p2")
    reader.press("m")
    reader.sees("p4")
    assert verdicts(pool) == {"p2": "wrong pair"}
    reader.received.clear()
    reader.press("k")
    reader.sees("p3")
    reader.told("Saved: correct.")
    assert sum(reader.received) < 20_000
    reader.press("ArrowRight")
    reader.sees("p1")
    reader.press("ArrowLeft")
    reader.sees("p3")

    again = Reader(chromium.new_page(), address)  # a reload is a new session
    again.sees("p3")
    assert "2 judged" in again.text(".top")
    assert "all: 1 of 2 wrong" in again.text(".top")
    again.press("z")
    again.sees("p4")
    again.told("Taken back: the verdict on p4.")
    again.press("z")
    again.sees("p2")
    again.press("z")
    again.told("nothing of")
    assert verdicts(pool) == {}


def test_review__what_goes_on_below_the_edge_fades_and_the_next_pair_begins_at_its_top(pool, serve, chromium):
    reader = Reader(chromium.new_page(), serve(pool))
    reader.sees("p2")
    words = reader.page.locator(".words")
    words.evaluate("(box) => { box.style.maxHeight = '60px'; }")
    reader.page.wait_for_selector(".words.more", timeout=SECONDS)
    words.evaluate("(box) => { box.scrollTop = box.scrollHeight; }")
    reader.page.wait_for_selector(".words:not(.more)", timeout=SECONDS)
    reader.press("ArrowRight")
    reader.sees("p4")
    reader.page.wait_for_selector(".words.more", timeout=SECONDS)
    assert words.evaluate("(box) => box.scrollTop") == 0


def test_review__a_slip_a_double_press_and_typing_judge_nothing(pool, serve, chromium):
    reader = Reader(chromium.new_page(), serve(pool))
    reader.sees("p2")
    reader.page.keyboard.press("k")
    reader.page.keyboard.press("k")  # before the next pair is there
    reader.sees("p4")
    assert verdicts(pool) == {"p2": "correct"}
    reader.press("t")
    reader.page.keyboard.type("m k z")
    reader.press("Escape")
    reader.press("u")
    reader.sees("p3")
    assert verdicts(pool) == {"p2": "correct", "p4": "uninformative"}
    with Review.open(pool) as review:
        assert review.history("p4")["note"].tolist() == ["m k z"]
    reader.page.evaluate(
        "() => { const r = window.chipsReview; r.send({do: 'verdict', key: 'm', pair: 'p0', seen: 0, n: 99}) }"
    )
    reader.told("Not saved: another pair was on screen")
    assert "p0" not in verdicts(pool)


def test_g3__what_another_window_did_is_told(pool, serve, chromium):
    address = serve(pool)
    one, two = Reader(chromium.new_page(), address), Reader(chromium.new_page(), address)
    one.sees("p2")
    two.sees("p2")
    one.press("l")
    one.sees("p4")
    two.press("k")
    two.told("gave it 'laterality' in another window")
    assert verdicts(pool) == {"p2": "laterality"}
    two.press("k")
    two.told("Saved: correct.")
    assert verdicts(pool) == {"p2": "correct"}


def test_review__one_verdict_on_all_that_match_and_one_undo(pool, serve, chromium):
    with Review.open(pool) as review:
        review.add_verdict(pair_id="p2", verdict="correct", reviewer="somebody else")
    reader = Reader(chromium.new_page(), serve(pool))
    page = reader.page
    reader.sees("p4")
    page.get_by_role("radio", name="List").click()
    page.get_by_role("button", name="One verdict on all 5…").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("5 pairs match.").wait_for(timeout=SECONDS)
    dialog.locator(".card").nth(4).wait_for(timeout=SECONDS)
    assert dialog.locator(".card").count() == 5
    dialog.get_by_role("combobox").click()
    page.keyboard.type("uninf")
    page.keyboard.press("Enter")
    assert dialog.get_by_role("button", name="Save").is_disabled()  # not without the word that all are meant
    dialog.get_by_text("Yes, all 5 pairs").click()
    dialog.get_by_role("button", name="Save").click(timeout=SECONDS)
    dialog.wait_for(state="detached", timeout=SECONDS)
    assert sorted(verdicts(pool).values()) == ["correct", *["uninformative"] * 5]
    page.get_by_role("radio", name="One by one").click()
    page.get_by_text("Every pair of this list has a verdict").wait_for(timeout=SECONDS)
    reader.told("Saved: uninformative on 5 pairs")
    reader.press("z")
    reader.told("Taken back: the verdict on 5 pairs")
    assert verdicts(pool) == {"p2": "correct"}


def test_review__an_app_that_is_gone_is_told_and_nothing_moves_on(pool, serve, chromium):
    reader = Reader(chromium.new_page(), serve(pool))
    reader.sees("p2")
    reader.page.evaluate("() => { window.chipsReview.send = () => {} }")
    reader.press("m")
    reader.told("may not be saved")
    assert reader.page.evaluate("window.chipsReview.reviewer.root.dataset.ready") == "p2"


def test_k3__hostile_captions_are_text_and_nothing_leaves_this_machine(tmp_path, serve, chromium):
    pool = scored_pool(tmp_path / "pool", captions=HOSTILE).path
    address = serve(pool)
    reader = Reader(chromium.new_page(), address)
    for pair, row in (("p2", 2), ("p4", 4), ("p3", 3), ("p1", 1), ("p0", 0), ("p5", 5)):
        reader.sees(pair)
        assert reader.text(".caption") == HOSTILE[row]
        reader.press("j")
    own = Reader(chromium.new_page(), address, "/pair?pair=p0")
    own.sees("p0")
    assert own.text(".caption") == HOSTILE[0]
    own.page.wait_for_timeout(1500)
    for page in (reader, own):
        assert page.page.evaluate("window.harm") is None
        assert {urlsplit(url).hostname for url in page.asked if url.startswith("http")} == {"127.0.0.1"}

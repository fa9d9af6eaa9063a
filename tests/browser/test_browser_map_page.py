"""The Map page in a real browser: colour, lasso, gallery, save, reload; the simple map; captions stay text."""

import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from waiting import still

sys.path.insert(0, str(Path(__file__).parents[1] / "views"))
from review_pools import pairs_batch

from chips_core.store import Pool
from chips_core.store.review import Review

pytestmark = pytest.mark.browser

PAIRS = 60
HARM = "delta_loss_if_removed"
MILLISECONDS = 40_000
HOSTILE = (
    "<script>window.harm=1</script><img src=x onerror=window.harm=2>",
    "![](http://example.com/x.png)",
    "$a$ and $$b$$",
    ":red[x] :material/bug_report:",
    "[x](javascript:window.harm=3)",
)
WITHOUT_WEBGL = """
const get = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind.includes("webgl") ? null : get.call(this, kind, ...rest);
};
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes a pool of two clusters: the left half of the pairs near (0, 0), the right half near (10, 0)."""
    folder = tmp_path_factory.mktemp("map-page") / "pool"
    images = folder.parent / "pool-images"
    images.mkdir()
    for number in range(PAIRS):
        Image.new("L", (32, 32), 4 * number).save(images / f"p{number}.png")
    captions = [HOSTILE[number % len(HOSTILE)] for number in range(PAIRS)]
    labels = ["left" if number < PAIRS // 2 else "right" for number in range(PAIRS)]
    batch = pairs_batch(PAIRS, caption=captions, label=labels)
    pool = Pool.create(folder, batches=[batch], record={"source_root": "../pool-images"})
    draw = np.random.default_rng(0)
    with pool.writing("encode"):
        record = {"encoder": "by hand"}
        writer = pool.feature_writer(fingerprint="f1", count=PAIRS, image_dim=2, text_dim=2, record=record)
        rows = np.arange(PAIRS)
        parts = {name: draw.normal(size=(PAIRS, 2)).astype(np.float32) for name in ("image", "text")}
        writer.write(rows, **parts, status=np.ones(PAIRS, np.uint8))
        writer.commit(image_head=np.eye(2), text_head=np.eye(2), logit_scale=1.0)
    ids = [f"p{number}" for number in range(PAIRS)]
    right = (rows >= PAIRS // 2) * 10.0
    xy = draw.normal(size=(PAIRS, 2)) + np.stack([right, 0 * right], axis=1)
    plane = pd.DataFrame({"pair_id": ids, "row": rows, "x": xy[:, 0], "y": xy[:, 1]})
    pool.write_table("maps", "image-1", plane, record={"space": "image"}, fingerprint="m1")
    columns = [
        {"column": "queue", "method": "queue", "meaning": "Look first.", "higher_is": "suspect"},
        {
            "column": HARM,
            "method": "queue",
            "meaning": "Harm.",
            "higher_is": "suspect",
            "signed": True,
        },
    ]
    table = pd.DataFrame({"pair_id": ids, "row": rows, "queue": rows / PAIRS, HARM: rows / PAIRS - 0.5})
    pool.write_table("scores", "run", table, record={"columns": columns}, fingerprint="s1")
    return folder


@pytest.fixture
def pool(made, tmp_path):
    shutil.copytree(made, tmp_path / "pool")
    shutil.copytree(made.parent / "pool-images", tmp_path / "pool-images")
    return tmp_path / "pool"


def opened(chromium, address, *, script=""):
    """Returns the page, and a list that collects what goes wrong on it."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if "example.com" in request.url else None)
    if script:
        page.add_init_script(script)
    page.goto(address)
    return page, wrong


def drawn(page):
    page.wait_for_selector(f".stage[data-drawn='{PAIRS}']", timeout=MILLISECONDS)
    page.locator(".card img").first.wait_for(timeout=MILLISECONDS)


def circle_right(page, box):
    """Draws round the right cluster: the square of the layout is as high as the map, and stands in its middle."""
    x, y = box["x"] + box["width"] / 2 + 0.35 * box["height"], box["y"] + box["height"] / 2
    radius = 0.23 * box["height"]
    page.mouse.move(x + radius, y)
    page.mouse.down()
    for step in range(1, 25):
        turn = 2 * math.pi * step / 24
        page.mouse.move(x + radius * math.cos(turn), y + radius * math.sin(turn))
    page.mouse.up()


def selects_right(page):
    page.locator(".stage").focus()
    page.keyboard.press("l")
    page.wait_for_selector('.overlay[data-tool="lasso"]', timeout=MILLISECONDS)
    circle_right(page, still(page.locator(".overlay")))
    page.get_by_text(f"Selected {PAIRS // 2}").wait_for(timeout=MILLISECONDS)


def test_map_page__colour_lasso_gallery_save_reload(chromium, serve, pool):
    page, wrong = opened(chromium, serve(pool) + "/map")
    drawn(page)
    page.locator(".stage").focus()
    page.keyboard.press("2")
    page.locator(".legend strong", has_text="ECIF").wait_for(timeout=MILLISECONDS)
    page.locator(".stage").evaluate("node => { node.marked = true }")
    selects_right(page)
    page.locator(".card .title", has_text=f"p{PAIRS - 1}").wait_for(timeout=MILLISECONDS)  # the most suspect first
    assert page.locator(".stage").evaluate("node => node.marked === true")  # the map was not made anew
    page.wait_for_url("**selection=unsaved-*", timeout=MILLISECONDS)
    page.get_by_role("button", name="Saved").click()
    page.get_by_role("textbox", name="Name for this selection").fill("right ones")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved as right ones").wait_for(timeout=MILLISECONDS)
    with Review.open(pool) as review:
        assert len(review.selection_pairs("right ones")) == PAIRS // 2
    page.reload()
    drawn(page)
    page.locator(".status b", has_text=f"{PAIRS // 2} selected").wait_for(timeout=MILLISECONDS)
    page.get_by_text("Saved as right ones").wait_for(timeout=MILLISECONDS)
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("link", name="Map").click()
    page.locator(".status b", has_text=f"{PAIRS // 2} selected").wait_for(timeout=MILLISECONDS)
    assert wrong == []


def test_map_page__a_pair_is_shown_on_the_map_and_ringed(chromium, serve, pool):
    page, wrong = opened(chromium, serve(pool) + "/pair?pair=p7")
    page.get_by_role("button", name="Show it on the map").click(timeout=MILLISECONDS)
    page.wait_for_url("**/map*", timeout=MILLISECONDS)
    ringed = "row => window.chipsPoolMap?.get('map')?.map?.picked === row"
    page.wait_for_function(ringed, arg=7, timeout=MILLISECONDS)
    page.get_by_role("button", name="Add to selection").wait_for(timeout=MILLISECONDS)
    page.get_by_text("Matching 60").click()
    page.locator(".card", has_text=f"p{PAIRS - 1}").click(timeout=MILLISECONDS)
    page.wait_for_function(ringed, arg=PAIRS - 1, timeout=MILLISECONDS)
    assert wrong == []


def test_map_page__hostile_captions_stay_text(chromium, serve, pool):
    page, wrong = opened(chromium, serve(pool) + "/map")
    drawn(page)
    shown = " ".join(page.locator(".card .text").all_inner_texts())
    assert all(text in shown for text in HOSTILE[1:])
    page.locator(".card").first.click()
    page.get_by_role("button", name="Similar images").wait_for(timeout=MILLISECONDS)
    page.wait_for_timeout(500)
    assert page.evaluate("window.harm") is None
    assert wrong == []


def test_map_page__without_webgl_the_same_selection(chromium, serve, pool):
    page, wrong = opened(chromium, serve(pool) + "/map", script=WITHOUT_WEBGL)
    page.get_by_text("This is the simple map").wait_for(timeout=MILLISECONDS)
    plot = page.locator(".js-plotly-plot")
    plot.wait_for(timeout=MILLISECONDS)
    page.locator(".js-plotly-plot .draglayer").wait_for(state="attached", timeout=MILLISECONDS)
    circle_right(page, still(plot))
    page.get_by_text(f"Selected {PAIRS // 2}").wait_for(timeout=MILLISECONDS)
    assert wrong == []

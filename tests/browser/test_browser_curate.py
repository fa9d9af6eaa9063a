"""Curation in a real browser: a budget, three methods side by side, one saved, exported, its data card opened."""

import re
from pathlib import Path

import pytest
from tiny import tiny_dataset, tiny_model

from chips_core.curate.export_check import check_export
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.views.curate import lab_of

pytestmark = pytest.mark.browser

SECONDS = 60_000
JOB_SECONDS = 240_000
METHODS = ["Audit, then select", "Random", "CLIPScore"]


@pytest.fixture
def pool(tmp_path):
    """A small pool, scored and mapped, alone in its folder of pools."""
    folder = tmp_path / "pools" / "small"
    source, model = tiny_dataset(tmp_path / "source", count=60), tiny_model(tmp_path / "model")
    run_step("intake", {"source": str(source), "pool": str(folder), "workers": 1}, progress=Silent())
    asked = {"model": str(model), "precision": "fp32", "device": "cpu", "batch": 16, "workers": 1}
    run_step("encode", {"pool": str(folder), **asked}, progress=Silent())
    methods = {"methods": ["clipscore", "negcliploss"], "mode": "paper", "block": 8, "reshuffles": 1}
    run_step("score", {"pool": str(folder), **methods}, progress=Silent())
    run_step("map", {"pool": str(folder), "neighbours": 5}, progress=Silent())
    return folder


def fill(page, label, text):
    """Types into a box and leaves it; waits until the page has taken it."""
    box = page.get_by_role("textbox", name=label, exact=True)
    box.wait_for(timeout=SECONDS)
    box.fill(text)
    box.press("Enter")


def press(page, name):
    """Presses a button once it can be pressed."""
    button = page.get_by_role("button", name=re.compile(name))
    button.wait_for(timeout=SECONDS)
    button.click(timeout=SECONDS)  # waits until it is enabled


def test_curate__from_the_lab_to_a_data_card(serve, chromium, pool):
    page, asked = chromium.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    candidates = lab_of(Pool.open(pool)).count
    pairs = round(0.4 * candidates)
    address = serve(pool)
    page.goto(f"{address}/curate")
    summary = page.get_by_label("The methods side by side").last
    summary.get_by_text(METHODS[2]).wait_for(timeout=SECONDS)
    slider = page.get_by_role("slider", name="Budget")
    for _ in range(10):
        slider.press("ArrowRight")  # from 30 % to 40 %
    page.get_by_text(re.compile(f"^{pairs} of {candidates} candidates")).wait_for(timeout=SECONDS)
    for title in METHODS:
        summary.get_by_text(title, exact=True).wait_for(timeout=SECONDS)
    for title in METHODS:  # each has its place on the map
        page.locator("figure", has_text=title).first.wait_for(timeout=SECONDS)
    fill(page, "Name", "browsed")
    press(page, "Save$")
    page.get_by_text(f"Saved: {pairs} pairs under the name 'browsed'.").wait_for(timeout=SECONDS)
    press(page, "Export …")
    page.get_by_text("What would be written").wait_for(timeout=SECONDS)
    page.get_by_text(re.compile(rf"{pairs} pairs\. {60 - pairs} of 60 pairs stay behind")).wait_for(timeout=SECONDS)
    fill(page, "Name of the export", "out")
    press(page, "Export$")
    link = page.get_by_role("link", name=re.compile("Open the data card"))
    link.wait_for(timeout=JOB_SECONDS)
    assert check_export(pool.parent / "exports" / "out").sound
    with page.context.expect_page() as opened:
        link.click()
    card = opened.value
    card.get_by_role("heading", name="browsed").wait_for(timeout=SECONDS)
    card.get_by_text("Where every row went").wait_for(timeout=SECONDS)
    assert f"{pairs} of 60 usable pairs" in card.locator("body").inner_text()
    assert card.evaluate("document.styleSheets.length") == 1
    assert all(url.startswith((address, "data:", "blob:")) for url in asked)


def test_data_card__only_for_our_own_pages_and_only_exports(serve, chromium, pool):
    page = chromium.new_page()
    address = serve(pool)
    assert page.request.get(f"{address}/data-card/nothing").status == 404
    for name in ("..%2f..%2fsource%2fpairs.csv", "%2e%2e", "a%00b"):
        assert "pair_id" not in page.request.get(f"{address}/data-card/{name}").text()
    asked = {"pool": str(pool), "selection": "all", "to": str(pool.parent / "exports" / "whole")}
    run_step("export", asked, progress=Silent())
    found = page.request.get(f"{address}/data-card/whole")
    assert found.status == 200
    assert "sandbox" in found.headers["content-security-policy"]
    other = page.request.get(f"{address}/data-card/whole", headers={"Sec-Fetch-Site": "cross-site"})
    assert other.status == 403


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curate_and_compare__every_text_is_readable(serve, chromium, pool, scheme):
    contrast = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
    page = chromium.new_page(viewport={"width": 1280, "height": 1600}, color_scheme=scheme)
    address = serve(pool)
    for path, drawn in (
        ("/curate", "table.bars"),
        ("/curate?step=Export", "table.bars"),
        ("/compare?compare=Methods", "table.tint"),
    ):
        page.goto(address + path)
        page.locator(drawn).first.wait_for(timeout=SECONDS)
        page.locator("[data-testid='stSkeleton']").first.wait_for(state="detached", timeout=SECONDS)
        page.wait_for_timeout(600)  # what fades in has done so
        poor = [found for found in page.evaluate(contrast) if not found.startswith("1.00: ")]
        assert poor == [], path  # 1.00: the ends of a slider, which show while it is moved

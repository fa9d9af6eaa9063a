"""From a cell of the matrix to the pairs behind an error, through a real refit, to a verdict that a reload keeps."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_dataset, tiny_model

from chips_core.jobs.steps import run_step
from chips_core.jobs.trace_pool import Prepared, Settings, prepare
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.views.map import PairColumns
from chips_core.views.selections import Shelf
from chips_core.views.trace import confusion
from chips_core.views.verdicts import Ledger

pytestmark = pytest.mark.browser

PATIENCE = 90_000  # ms: other tests may run beside this one


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    source, folder = tiny_dataset(tmp_path / "data", count=72), tmp_path / "pool"
    table = pd.read_csv(source / "pairs.csv", dtype=str)
    table["label"] = table["label"].replace("bar", "<b>*bar*</b> {0}\nof two lines")
    table.to_csv(source / "pairs.csv", index=False)
    run_step("intake", {"source": str(source), "pool": str(folder)}, progress=Silent())
    run_step("encode", {"pool": str(folder), "model": str(tiny_model(tmp_path / "model"))}, progress=Silent())
    run_step("score", {"pool": str(folder), "methods": ["negcliploss"], "mode": "paper"}, progress=Silent())
    return folder


def fullest_wrong_point(ready: Prepared) -> tuple[int, int]:
    """Returns which point of the chart is the cell with the most errors, and how many they are."""
    counts = confusion(ready.test.labels, ready.predicted, classes=len(ready.classes))
    truth, guess = np.nonzero(counts)
    errors = np.where(truth != guess, counts[truth, guess], 0)
    return int(errors.argmax()), int(errors.max())


def click_point(page: Any, point: int, *, until: Any) -> None:
    """Clicks a point of the chart, again while the chart was still being drawn: it hears a click only after a hover."""
    from playwright.sync_api import TimeoutError as TooLate

    for _ in range(8):
        place = page.locator(".scatterlayer .point").nth(point)
        place.wait_for()
        place.scroll_into_view_if_needed()
        box = place.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x - 3, y - 3)
        page.mouse.move(x, y)
        page.locator(".hoverlayer .hovertext").first.wait_for(timeout=10_000)
        page.mouse.click(x, y)
        try:
            until.wait_for(timeout=10_000)
        except TooLate:
            continue
        return
    until.wait_for()


def tick(page: Any, count: int) -> None:
    """Ticks that many of the harmful pairs, and no other."""
    harmful = page.locator("[aria-label='Pairs that are harmful']")
    harmful.locator("button.card").first.wait_for()
    if harmful.locator("button.card.chosen").count():
        page.get_by_role("button", name="Untick all").click()
        harmful.locator("button.card.chosen").first.wait_for(state="detached")
    for number in range(count):
        harmful.locator("button.card:not(.chosen)").first.click()
        harmful.locator("button.card.chosen").nth(number).wait_for()


def ticked(page: Any, count: int) -> set[str]:
    """Returns the ids of the ticked pairs as the page names them, once it names as many."""
    words = page.get_by_text(re.compile(rf"^Ticked: p\d+(, p\d+){{{count - 1}}}$"))
    words.wait_for()
    return set(words.inner_text().removeprefix("Ticked: ").split(", "))


def verdicts(pool: Path) -> dict[str, str]:
    return {pair: str(held.verdict) for pair, held in Ledger(pool).held().items()}


def chosen_ids(pool: Path, page: Any) -> set[str]:
    """Returns the pairs of the selection that the address names, read from the pool's folder."""
    name = parse_qs(urlsplit(page.url).query)["selection"][0]
    columns = PairColumns(Pool.open(pool))
    return set(columns.pair_ids(np.flatnonzero(Shelf(pool, columns).opened(name).mask)))


def test_trace__from_cell_to_error_to_refit_to_a_verdict_that_stays(serve, chromium, pool):
    ready = prepare(Pool.open(pool), Settings(str(pool)), progress=Silent(), measure=False)
    point, errors = fullest_wrong_point(ready)
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.set_default_timeout(PATIENCE)
    page.goto(f"{serve(pool)}/mispredictions")
    page.get_by_text("test images wrong").first.wait_for()
    click_point(page, point, until=page.get_by_text(f": {errors:,} errors, the surest first").first)
    trace_the_cell(page, errors)
    trace_one_and_retrain(page)
    judge_reload_and_take_back(page, pool)
    show_on_the_map_and_send_to_the_queue(page, pool)
    assert not problems


def trace_the_cell(page: Any, errors: int) -> None:
    """The group trace of all errors of the cell, by its own address, and back."""
    page.get_by_role("button", name="Trace all of them").click()
    page.get_by_text(f"{errors:,} images of").first.wait_for()
    page.get_by_text("Pushed towards the error").first.wait_for()
    assert {"truth", "guess"} <= set(parse_qs(urlsplit(page.url).query))
    page.reload()
    page.get_by_text(f"{errors:,} images of").first.wait_for()
    tick(page, 1)
    page.get_by_text("Predicted without 1 pair:").first.wait_for()
    page.get_by_role("button", name="All errors").click()
    page.get_by_text("All errors, the surest first").first.wait_for()


def trace_one_and_retrain(page: Any) -> None:
    page.locator("[aria-label='Wrong predictions'] button.card").first.click()
    page.get_by_text("Pushed towards the error").first.wait_for()
    tick(page, 3)
    page.get_by_role("button", name="Exclude 3 and really retrain").click()
    page.get_by_text("Really retrained without 3 pairs").first.wait_for()
    said = page.get_by_text("Really retrained without 3 pairs").first.inner_text()
    assert all(state in said for state in ("before", "predicted", "retrained"))
    assert "image=" in page.url


def judge_reload_and_take_back(page: Any, pool: Path) -> None:
    """One key is a verdict on all ticked pairs, Z takes it back as a whole; ticks, refit and both survive a reload."""
    harmful, ids = page.locator("[aria-label='Pairs that are harmful']"), ticked(page, 3)
    marked = harmful.get_by_text("wrong pair", exact=True)
    page.keyboard.press("m")
    page.get_by_text("Saved: wrong pair on 3 pairs").first.wait_for()
    marked.nth(2).wait_for()
    address = page.url
    page.reload()
    marked.nth(2).wait_for()
    page.get_by_text("Really retrained without 3 pairs").first.wait_for()
    assert (page.url, ticked(page, 3)) == (address, ids)
    assert verdicts(pool) == dict.fromkeys(ids, "wrong pair")
    page.get_by_text("take back").first.wait_for()
    page.keyboard.press("z")
    page.get_by_text("Taken back").first.wait_for()
    marked.first.wait_for(state="detached")
    assert verdicts(pool) == {}
    page.reload()
    harmful.locator("button.card").first.wait_for()
    marked.first.wait_for(state="detached")


def show_on_the_map_and_send_to_the_queue(page: Any, pool: Path) -> None:
    """The ticked pairs are the selection of the map and all of the queue, also after a reload."""
    trace = page.url
    tick(page, 2)
    ids = ticked(page, 2)
    page.get_by_role("button", name="Show on the map").click()
    page.wait_for_url("**/map?*selection=*")
    for _ in range(2):
        page.get_by_text("Selected 2").first.wait_for()
        assert chosen_ids(pool, page) == ids
        page.reload()
    page.goto(trace)
    tick(page, 3)
    ids = ticked(page, 3)
    page.get_by_role("button", name="Send to the queue").click()
    page.wait_for_url("**/misaligned?*selection=*")
    for _ in range(2):
        page.get_by_role("button", name="Only 3 chosen").wait_for()
        page.get_by_text("1 of 3").first.wait_for()
        assert chosen_ids(pool, page) == ids
        page.reload()

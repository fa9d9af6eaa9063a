"""From a cell of the matrix to the pairs behind an error, through a real refit, to a verdict that a reload keeps."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_dataset, tiny_model

from chips_core.jobs.steps import run_step
from chips_core.jobs.trace_pool import Prepared, Settings, prepare
from chips_core.progress import Silent
from chips_core.store import Pool
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


def test_trace__from_cell_to_error_to_refit_to_a_verdict_that_stays(serve, chromium, pool):
    ready = prepare(Pool.open(pool), Settings(str(pool)), progress=Silent(), measure=False)
    point, errors = fullest_wrong_point(ready)
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.set_default_timeout(PATIENCE)
    page.goto(f"{serve(pool)}/mispredictions")
    page.get_by_text("test images wrong").first.wait_for()
    click_point(page, point, until=page.get_by_text(f"Errors of the chosen cell: {errors:,}").first)
    page.locator("[aria-label='Wrong predictions'] button.card").first.click()
    page.get_by_text("Made the error").first.wait_for()
    harmful = page.locator("[aria-label='Pairs that are harmful']")
    for number in range(3):
        harmful.locator("button.card:not(.chosen)").first.click()
        harmful.locator("button.card.chosen").nth(number).wait_for()
    page.get_by_role("button", name="Exclude 3 and really retrain").click()
    page.get_by_text("Really retrained without 3 pairs").first.wait_for()
    said = page.get_by_text("Really retrained without 3 pairs").first.inner_text()
    assert all(state in said for state in ("before", "predicted", "retrained"))
    page.keyboard.press("m")
    page.get_by_text("Saved: wrong pair on 3 pairs").first.wait_for()
    harmful.get_by_text("wrong pair", exact=True).nth(2).wait_for()
    address = page.url
    page.reload()
    harmful.get_by_text("wrong pair", exact=True).nth(2).wait_for()
    assert page.url == address
    assert "image=" in address
    assert [held.verdict for held in Ledger(pool).held().values()] == ["wrong pair"] * 3
    assert not problems

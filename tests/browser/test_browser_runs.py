"""The way of a data set in a real browser: found on the disk, previewed, brought in, scored, seen; nothing leaves."""

import re
import time
from urllib.parse import urlsplit

import pytest
from tiny import tiny_dataset, tiny_model

from chips_core.store import Pool

pytestmark = pytest.mark.browser

SECONDS = 60_000
JOB_SECONDS = 240


def choose(page, label, text):
    """Types into a select box and takes the first option."""
    box = page.get_by_role("combobox", name=re.compile(label))
    box.click()
    box.fill(text)
    page.keyboard.press("Enter")


def start_job(page, address, source, model):
    page.goto(f"{address}/runs?do=new")
    choose(page, "Path on this machine", str(source))
    page.get_by_text("A dataset folder").wait_for(timeout=SECONDS)
    page.get_by_text("Misalignment queue").first.wait_for(timeout=SECONDS)
    choose(page, "Model", "description")
    page.get_by_role("textbox", name="Description").fill(str(model / "open_clip_config.json"))
    page.keyboard.press("Enter")
    page.get_by_text("Paper", exact=True).click()
    page.get_by_text("The formulas at the model's own heads").wait_for(timeout=SECONDS)
    page.get_by_role("button", name=re.compile("^Start: bring in, encode, score")).click()


@pytest.fixture
def source(tmp_path):
    return tiny_dataset(tmp_path / "pools" / "chest set" / "data", count=36)


def test_d12__a_job_outlives_a_reload_from_a_folder_to_scores(serve, chromium, source, tmp_path):
    model = tiny_model(tmp_path / "pools" / "model")
    address = serve(tmp_path / "pools" / "none")
    page, asked = chromium.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.get_by_text("Bring in your own pairs").wait_for(timeout=SECONDS)
    start_job(page, address, source, model)
    page.get_by_text(re.compile(r"Step \d of \d")).first.wait_for(timeout=SECONDS)
    page.reload()  # D12: the job goes on, and is found again
    page.get_by_text("Scoring runs").wait_for(timeout=JOB_SECONDS * 1000)
    pool = Pool.open(tmp_path / "pools" / "data")
    assert pool.outcomes().kept == 36
    limit = time.monotonic() + JOB_SECONDS
    while not pool.tables("maps") and time.monotonic() < limit:
        time.sleep(0.5)
        pool.refresh()
    assert [len(pool.tables(kind)) for kind in ("scores", "duplicates", "maps")] == [1, 1, 1]
    assert len(list((pool.path / "jobs").glob("*/"))) == 1
    page.goto(f"{address}/?pool=data")
    page.get_by_text("Look at misaligned pairs").wait_for(timeout=SECONDS)
    page.get_by_text("CHIPS utility").wait_for(timeout=SECONDS)
    hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}


def test_pool__stays_chosen_from_page_to_page_and_after_a_reload(serve, chromium, source, tmp_path):
    from chips_core.jobs.steps import run_step
    from chips_core.progress import Silent

    for name in ("a", "b"):
        settings = {"source": str(source), "pool": str(tmp_path / "pools" / name), "workers": 1}
        run_step("intake", settings, progress=Silent())
    address = serve(tmp_path / "pools" / "a")
    page = chromium.new_page()
    page.goto(f"{address}/?pool=b")
    page.get_by_text("Outcomes").wait_for(timeout=SECONDS)
    page.get_by_role("link", name="Runs").click()
    page.get_by_text("Compute", exact=True).wait_for(timeout=SECONDS)
    page.wait_for_function("() => location.search.includes('pool=b')", timeout=SECONDS)
    page.reload()
    page.get_by_text("Compute", exact=True).wait_for(timeout=SECONDS)
    assert "pool=b" in page.url
    assert page.get_by_role("combobox", name=re.compile("Pool")).input_value() == "b"


def test_health__a_count_leads_to_a_pair(serve, chromium, source, tmp_path):
    from chips_core.jobs.steps import run_step
    from chips_core.progress import Silent

    settings = {"source": str(source), "pool": str(tmp_path / "pools" / "a"), "workers": 1}
    run_step("intake", settings, progress=Silent())
    page = chromium.new_page()
    page.goto(serve(tmp_path / "pools" / "a"))
    card = page.locator(".card", has_text="group 1 · ").first  # a patient in several splits
    card.wait_for(timeout=SECONDS)
    name = card.locator(".title").inner_text()
    page.wait_for_load_state("networkidle")
    card.click()
    page.wait_for_url(re.compile(rf"/pair\?.*pair={name}"), timeout=SECONDS)
    page.get_by_text(name).filter(visible=True).first.wait_for(timeout=SECONDS)

"""The pages "Misaligned pairs" and "Pair" in every state of a pool, and what their acts do."""

import shutil
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from chips_core.store import Pool
from chips_core.store.review import Review

sys.path.insert(0, str(Path(__file__).parents[1] / "views"))
from review_pools import encode, plain_pool, pool_of, scored_pool

ROOT = Path(__file__).parents[2]
SECONDS = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return scored_pool(tmp_path_factory.mktemp("pages") / "pool").path


@pytest.fixture
def pool(made, tmp_path):
    """A scored pool of the test's own."""
    shutil.copytree(made, tmp_path / "pool")
    shutil.copytree(made.parent / "pool-images", tmp_path / "pool-images")
    return tmp_path / "pool"


def opened(monkeypatch, folder, page="misaligned.py", **query):
    """Runs a page as the navigation would, without its bar."""
    monkeypatch.setenv("CHIPS_POOL", str(folder))
    monkeypatch.setenv("CHIPS_ROOTS", str(folder.parent))
    monkeypatch.chdir(ROOT)

    def script(path: str) -> None:
        import runpy

        from pages.parts.opened import open_wanted

        open_wanted()
        runpy.run_path(path)

    at = AppTest.from_function(script, args=(str(ROOT / "pages" / page),), default_timeout=SECONDS)
    for name, value in query.items():
        at.query_params[name] = value
    return at.run()


def said(at):
    """Everything the page says in words."""
    kinds = ("title", "subheader", "text", "info", "error", "warning", "code")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


def fed(at):
    """What the reviewer in the browser is told."""
    import json

    from google.protobuf.json_format import MessageToDict

    for element in at.main:
        for found in _components(element):
            message = MessageToDict(found)
            if message.get("componentName") == "chips_lens_review_feed":
                return json.loads(message["json"])
    return None


def _components(node):
    if getattr(node, "proto", None) is not None and node.type == "bidi_component":
        yield node.proto
    for child in getattr(node, "children", {}).values():
        yield from _components(child)


def broken_pool(folder, kind):
    if kind == "none":
        return folder
    if kind in ("0", "1", "10000"):
        return pool_of(folder, int(kind)).path
    if kind == "damaged":
        (folder).mkdir(parents=True)
        (folder / "pool.json").write_text("{")
        return folder
    pool = plain_pool(folder)
    if kind == "newer":
        text = (folder / "pool.json").read_text()
        import re

        (folder / "pool.json").write_text(re.sub(r'"format": *\d+', '"format": 999', text))
    if kind == "encoded":
        encode(pool)
    return folder


@pytest.mark.parametrize("page", ["misaligned.py", "pair.py"])
@pytest.mark.parametrize("kind", ["none", "damaged", "newer", "not encoded", "encoded", "0", "1", "10000"])
def test_pages__every_state_says_what_to_do(monkeypatch, tmp_path, page, kind):
    at = opened(monkeypatch, broken_pool(tmp_path / "pool", kind), page)
    assert not at.exception
    assert len(said(at)) > 30 or fed(at)["pair"]


def test_misaligned__one_pair_is_a_queue(monkeypatch, tmp_path):
    at = opened(monkeypatch, broken_pool(tmp_path / "pool", "1"))
    data = fed(at)
    assert data["pair"]["id"] == "p0"
    assert data["near"]["items"] == []


def test_misaligned__not_scored_says_how(monkeypatch, tmp_path):
    at = opened(monkeypatch, broken_pool(tmp_path / "pool", "encoded"))
    assert "no scores yet" in said(at)
    assert "chips score" in said(at)


def test_misaligned__shows_the_most_suspect_pair_first(monkeypatch, pool):
    at = opened(monkeypatch, pool)
    assert not at.exception
    data = fed(at)
    assert data["pair"]["id"] == "p2"
    assert data["progress"]["place"] == "1 of 6"
    assert data["why"]["sentences"]
    assert [item["id"] for item in data["near"]["items"]] == ["p1", "p0", "p3", "p4", "p5"]


def test_misaligned__scores_hidden_until_the_verdict(monkeypatch, pool):
    at = opened(monkeypatch, pool)
    at.toggle(key="hide_scores").set_value(True).run()
    data = fed(at)
    assert data["why"] == {"title": "Scores are hidden until the verdict", "sentences": [], "parts": []}
    assert (data["better"], data["precision"]) == (None, [])


def test_misaligned__filters_and_finished_queue(monkeypatch, pool):
    with Review.open(pool) as review:
        review.add_verdicts(pair_ids=[f"p{i}" for i in range(6)], verdict="wrong pair", reviewer="ann")
    at = opened(monkeypatch, pool)
    data = fed(at)
    assert data["pair"] is None
    assert data["done"]["title"] == "Every pair of this list has a verdict"
    assert data["done"]["counts"] == [["wrong pair", "6"]]
    at.selectbox(key="show").set_value("all").run()
    assert fed(at)["pair"]["id"] == "p2"


def test_misaligned__list_form(monkeypatch, pool):
    at = opened(monkeypatch, pool)
    at.session_state["review_view"] = "List"
    at.run()
    assert not at.exception
    assert at.dataframe[0].value["pair"].tolist() == ["p2", "p4", "p3", "p1", "p0", "p5"]


def test_misaligned__damaged_verdicts_are_said(monkeypatch, pool):
    (pool / "review.sqlite").write_bytes(b"this is no database, and never was one" * 200)
    at = opened(monkeypatch, pool)
    assert not at.exception
    assert "review.sqlite is damaged" in said(at).replace("\\", "")


@pytest.mark.parametrize("junk", ["nobody", "../../etc/passwd", "<script>alert(1)</script>", "x" * 5000, "\x00"])
def test_pair__junk_in_the_address_is_a_message(monkeypatch, pool, junk):
    at = opened(monkeypatch, pool, "pair.py", pair=junk)
    assert not at.exception
    assert "no pair of that id" in said(at)


def test_pair__everything_about_one(monkeypatch, pool):
    at = opened(monkeypatch, pool, "pair.py", pair="p1")
    assert not at.exception
    data = fed(at)
    assert data["stays"]
    assert data["pair"]["id"] == "p1"
    assert "Nobody has judged this pair yet." in said(at)
    assert "The same image, in other pairs" in said(at)
    assert "Other pairs of this patient" in said(at)
    assert at.dataframe[0].value["score"].tolist()[0] == "Misalignment queue"


def test_pair__not_kept_says_why(monkeypatch, pool):
    at = opened(monkeypatch, pool, "pair.py", pair="b0")
    assert not at.exception
    assert "was not kept" in said(at)
    assert "cut short" in at.dataframe[0].value["value"].tolist()


def test_pair__not_scored_yet(monkeypatch, tmp_path):
    at = opened(monkeypatch, broken_pool(tmp_path / "pool", "not encoded"), "pair.py", pair="p1")
    assert not at.exception
    assert fed(at)["why"]["title"] == "Not scored yet"


def test_pages__first_view_without_torch(pool):
    import os
    import subprocess

    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "import pages.parts.review, pages.parts.pair_view, pages.parts.review.controls\n"
        "from pathlib import Path; from chips_core.store import Pool; from chips_core.views.queue import load_run\n"
        f"from chips_core.views.nearby import nearby_of; p = Pool.open(Path({str(pool)!r}))\n"
        "load_run(p, 'run'); nearby_of(p).of(0); assert 'torch' not in sys.modules"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, env=environment)
    assert Pool.open(pool).id

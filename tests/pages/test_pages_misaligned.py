"""The pages "Misaligned pairs" and "Pair" in every state of a pool, and what their acts do."""

import shutil
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from chips_core.store import Pool
from chips_core.store.review import Review

sys.path.insert(0, str(Path(__file__).parents[1] / "views"))
from map_pools import lay_out
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
    return next(iter(drawn(at, "chips_lens_review_feed")), None)


def drawn(at, name):
    """What each component of a name is told."""
    import json

    from google.protobuf.json_format import MessageToDict

    found = [MessageToDict(proto) for element in at.main for proto in _components(element)]
    return [json.loads(message["json"]) for message in found if message.get("componentName") == name]


def _components(node):
    if getattr(node, "proto", None) is not None and node.type == "bidi_component":
        yield node.proto
    for child in getattr(node, "children", {}).values():
        yield from _components(child)


def partial_pool(folder, kind):
    """Makes a pool that is not scored by a real run; the other states are those of pool_states.py."""
    if kind == "1":
        return pool_of(folder, 1).path
    pool = plain_pool(folder)
    if kind == "encoded":
        encode(pool)
    return folder


@pytest.mark.parametrize("page", ["misaligned.py", "pair.py"])
@pytest.mark.parametrize("kind", ["encoded", "1"])
def test_pages__partial_pools_say_what_to_do(monkeypatch, tmp_path, page, kind):
    at = opened(monkeypatch, partial_pool(tmp_path / "pool", kind), page)
    assert not at.exception
    assert len(said(at)) > 30 or fed(at)["pair"]


def test_misaligned__one_pair_is_a_queue(monkeypatch, tmp_path):
    at = opened(monkeypatch, partial_pool(tmp_path / "pool", "1"))
    data = fed(at)
    assert data["pair"]["id"] == "p0"
    assert data["near"]["items"] == []


def test_misaligned__not_scored_says_how(monkeypatch, tmp_path):
    at = opened(monkeypatch, partial_pool(tmp_path / "pool", "encoded"))
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
    assert at.dataframe[0].value["score"].notna().all()


def test_misaligned__list_form_hides_scores_until_the_verdict(monkeypatch, pool):
    with Review.open(pool) as review:
        review.add_verdict(pair_id="p4", verdict="wrong pair", reviewer="ann")
    at = opened(monkeypatch, pool)
    at.session_state["review_view"] = "List"
    at.toggle(key="hide_scores").set_value(True)
    at.selectbox(key="show").set_value("all").run()
    table = at.dataframe[0].value
    assert table["pair"][table["score"].notna()].tolist() == ["p4"]


def test_misaligned__damaged_verdicts_are_said(monkeypatch, pool):
    (pool / "review.sqlite").write_bytes(b"this is no database, and never was one" * 200)
    at = opened(monkeypatch, pool)
    assert not at.exception
    assert "review.sqlite is damaged" in said(at).replace("\\", "")


@pytest.mark.parametrize("junk", ["nobody", "../../etc/passwd", "<script>alert(1)</script>", "x" * 5000, "\x00"])
def test_k8__junk_in_the_address_of_a_pair_is_a_message(monkeypatch, pool, junk):
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
    names = [bar["name"] for bar in drawn(at, "chips_lens_charts")[0]["bars"]]
    assert names[:2] == ["Misalignment queue", "ECIF: loss if removed"]
    assert "Place on the map" not in said(at)  # no map yet


def test_pair__shows_the_run_that_every_page_shows(monkeypatch, pool):
    made = Pool.open(pool)
    (run,) = made.tables("scores")
    only = made.table("scores", run.name)[["pair_id", "row", "queue"]]
    record = run.record | {"columns": [entry for entry in run.record["columns"] if entry["column"] == "queue"]}
    made.write_table("scores", "newer", only, record=record, fingerprint="newer")
    counts = []
    for name in (run.name, "newer", "no such run"):
        at = opened(monkeypatch, pool, "pair.py", pair="p1", run=name)
        counts.append(len(drawn(at, "chips_lens_charts")[0]["bars"]))
    assert counts == [len(run.record["columns"]), 1, 1]


def test_pair__its_place_on_the_map_leads_there(monkeypatch, pool):
    lay_out(Pool.open(pool))
    at = opened(monkeypatch, pool, "pair.py", pair="p1")
    assert not at.exception
    assert "Place on the map" in said(at)
    assert at.button(key="show_on_map").label == "Show it on the map"
    at = opened(monkeypatch, pool, "pair.py", pair="p4")
    assert "has no place there" in said(at)


def test_pair__not_kept_says_why(monkeypatch, pool):
    at = opened(monkeypatch, pool, "pair.py", pair="b0")
    assert not at.exception
    assert "was not kept" in said(at)
    assert "cut short" in at.dataframe[0].value["value"].tolist()


def test_pair__not_scored_yet(monkeypatch, tmp_path):
    at = opened(monkeypatch, partial_pool(tmp_path / "pool", "not encoded"), "pair.py", pair="p1")
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

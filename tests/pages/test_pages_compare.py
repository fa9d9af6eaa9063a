"""The Compare page: what is missing is said; selections, runs, reviewers and methods against each other."""

import re
import shutil

import pytest
from pool_states import app, not_encoded, words

from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool, Review
from pages.parts.compare import shown


@pytest.fixture(scope="module")
def made(state, tmp_path_factory):
    """A scored pool with two selections and two reviewers."""
    scored = state("scored")
    folder = shutil.copytree(scored.parent, tmp_path_factory.mktemp("made"), dirs_exist_ok=True) / scored.name
    for name, method in (("old", "random"), ("new", "clipscore")):
        run_step("select", {"pool": str(folder), "method": method, "budget": "0.5", "name": name}, progress=Silent())
    asked = {"pool": str(folder), "methods": ["clipscore"], "mode": "paper", "block": 8, "reshuffles": 1, "seed": 1}
    run_step("score", asked, progress=Silent())
    with Review.open(folder) as review:
        for who, verdict in (("ann", "correct"), ("ben <b>", "wrong pair")):
            review.add_verdict(pair_id="p0000", verdict=verdict, reviewer=who)
    return folder


@pytest.fixture
def pool(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / made.name)
    shutil.copytree(made.parent / "source", tmp_path / "source")
    monkeypatch.setenv("CHIPS_POOL", str(tmp_path / made.name))
    monkeypatch.setenv("CHIPS_ROOTS", str(tmp_path))
    return tmp_path / made.name


def compare(kind):
    test = app("compare.py")
    test.segmented_control(key="compare").set_value(kind).run()
    assert not test.exception
    return test


@pytest.mark.parametrize(
    ("kind", "fact"), [("selections", "In both"), ("runs", "Rank correlation"), ("reviewers", "Cohen's kappa")]
)
def test_compare__each_kind(pool, kind, fact):
    assert pool
    assert fact in [metric.label.replace("\\", "") for metric in compare(kind).metric]


def test_compare__reviewers_by_name_and_whose_verdict_below_the_pictures(pool, monkeypatch):
    assert pool
    cards = []
    monkeypatch.setattr(shown, "cards", lambda drawn, **_: cards.extend(drawn))
    test = compare("reviewers")
    assert [test.selectbox(key=key).value for key in ("compare_a", "compare_b")] == ["ann", "ben <b>"]
    assert [(card.badge, card.note) for card in cards[-1:]] == [("", "ann: correct\nben <b>: wrong pair")]


def test_compare__methods_of_the_run_that_every_page_shows(pool):
    runs = [found.name for found in Pool.open(pool).tables("scores")]
    for name in runs:
        test = app("compare.py", query={"run": name})
        test.segmented_control(key="compare").set_value("methods").run()
        assert test.selectbox(key="compare_run").value == name


def test_compare__methods_of_a_run(pool):
    assert pool
    test = compare("methods")
    assert "only one method" in words(test)
    test.selectbox(key="compare_run").select_index(1).run()
    assert "Spearman" in words(test)


def test_compare__the_same_twice_is_said(pool):
    assert pool
    test = compare("selections")
    test.selectbox(key="compare_a").set_value("new").run()
    assert "two different" in words(test)


def test_compare__a_region_drawn_on_the_map_narrows_the_pairs(pool):
    assert pool
    test = compare("selections")
    whole = _differing(test)
    corners = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
    test.session_state["compare_map"] = {"event": {"id": "one", "kind": "box", "polygon": corners}}
    test.run()
    assert "in the region drawn" in words(test)
    left = _differing(test)
    corners = [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]
    test.session_state["compare_map"] = {"event": {"id": "two", "kind": "box", "polygon": corners}}
    assert 0 < left < whole
    assert left + _differing(test.run()) == whole
    test.session_state["compare_map"] = {"event": {"id": "three", "kind": "clear"}}
    assert _differing(test.run()) == whole


def _differing(test):
    return int(re.search(r"(\d+) pairs differ", words(test))[1])


def test_compare__verdicts_that_differ_are_counted(pool):
    assert pool
    assert "1 pair differs" in words(compare("reviewers"))


@pytest.mark.parametrize(
    ("kind", "says"), [("selections", "Save two"), ("runs", "Score the pool"), ("reviewers", "Two people")]
)
def test_compare__what_is_missing_is_said(kind, says, tmp_path, monkeypatch):
    folder = not_encoded(tmp_path)
    monkeypatch.setenv("CHIPS_POOL", str(folder))
    monkeypatch.setenv("CHIPS_ROOTS", str(tmp_path))
    assert says in words(compare(kind))

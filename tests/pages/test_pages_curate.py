"""The Curate page as a person uses it: what to try, what comes of it, saving, the preview, the export."""

import shutil

import pytest
from pool_states import STATES, app, words

from chips_core.jobs import runner
from chips_core.store import Pool, Review


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A scored pool to copy from."""
    return STATES["scored"](tmp_path_factory.mktemp("made"))


@pytest.fixture
def pool(made, tmp_path, monkeypatch):
    for part in made.parent.iterdir():
        shutil.copytree(part, tmp_path / part.name)
    monkeypatch.setenv("CHIPS_POOL", str(tmp_path / made.name))
    monkeypatch.setenv("CHIPS_ROOTS", str(tmp_path))
    return tmp_path / made.name


@pytest.mark.parametrize("state", sorted(STATES))
def test_curate__every_state_of_a_pool(state, tmp_path, monkeypatch):
    folder = STATES[state](tmp_path)
    monkeypatch.setenv("CHIPS_POOL", str(folder))
    monkeypatch.setenv("CHIPS_ROOTS", str(tmp_path))
    test = app("curate.py")
    assert not test.exception
    assert words(test).strip()


def test_curate__budget_changes_the_counts(pool):
    assert pool
    test = app("curate.py")
    assert not test.exception
    before = [metric.value for metric in test.metric if metric.label == "Pairs"]
    test.slider(key="curate_budget").set_value(50).run()
    after = [metric.value for metric in test.metric if metric.label == "Pairs"]
    assert len(before) == len(after) == 2
    assert int(after[1]) > int(before[1])


def test_curate__no_method_is_said(pool):
    assert pool
    test = app("curate.py")
    test.multiselect(key="curate_methods").set_value([]).run()
    assert "Choose a method." in words(test)


def test_curate__save_preview_export(pool, monkeypatch):
    started = []
    monkeypatch.setattr(runner, "start", lambda folder, steps: started.append((folder, steps)))
    test = app("curate.py")
    assert "Nothing is saved yet" in words(test)
    test.text_input(key="curate_name").set_value("best").run()
    test.button(key="curate_save").click().run()
    assert "Saved" in words(test)
    assert [found.name for found in Pool.open(pool).tables("selections")] == ["best"]
    with Review.open(pool) as review:
        assert [found.name for found in review.selections()] == ["best"]
    assert not [button for button in test.button if button.key == "curate_export"]  # the preview comes first
    test.toggle(key="curate_preview").set_value(True)
    test.text_input(key="curate_to").set_value("out").run()
    test.button(key="curate_export").click().run()
    folder, (step,) = started[0]
    assert folder == pool
    assert step.step == "export"
    assert step.settings["to"] == str(pool.parent / "exports" / "out")


def test_curate__a_taken_name_is_told(pool):
    assert pool
    test = app("curate.py")
    for budget in (30, 50):
        test.slider(key="curate_budget").set_value(budget)
        test.text_input(key="curate_name").set_value("best").run()
        test.button(key="curate_save").click().run()
    assert "there already" in words(test)


def test_curate__an_export_elsewhere_is_refused(pool):
    with Review.open(pool) as review:
        review.create_selection(name="[x](http://e)*b*", pair_ids=["p0000"], reviewer="me")
    test = app("curate.py")
    test.toggle(key="curate_preview").set_value(True)
    test.text_input(key="curate_to").set_value("../../etc").run()
    test.button(key="curate_export").click().run()
    assert "cannot be the name" in words(test)
    assert not (pool / "jobs").exists()

"""The Curate page as a person uses it: methods, rules, mixtures, saving, replaying, deleting, preview, export."""

import json
import re
import shutil

import pytest
from pool_states import app, words

from chips_core.jobs import runner
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool, Review
from pages.parts.curate import trainings


@pytest.fixture
def pool(state, tmp_path, monkeypatch):
    made = state("scored")
    for part in made.parent.iterdir():
        shutil.copytree(part, tmp_path / part.name)
    monkeypatch.setenv("CHIPS_POOL", str(tmp_path / made.name))
    monkeypatch.setenv("CHIPS_ROOTS", str(tmp_path))
    return tmp_path / made.name


@pytest.fixture
def started(monkeypatch):
    """What the page asks to be started."""
    asked = []
    monkeypatch.setattr(runner, "start", lambda folder, steps: asked.append((folder, steps)))
    return asked


def save(test, name):
    test.text_input(key="curate_name").set_value(name).run()
    return test.button(key="curate_save").click().run()


def at(test, place):
    """Opens a place of the page."""
    test.session_state["curate_step_wanted"] = place
    return test.run()


def selections(pool):
    with Review.open(pool) as review:
        return {found.name: found for found in review.selections()}


def test_curate__budget_changes_the_counts(pool):
    assert pool
    test = app("curate.py")
    assert not test.exception
    counts = [_count(test)]
    test.slider(key="curate_budget").set_value(50).run()
    counts.append(_count(test))
    assert 0 < counts[0] < counts[1]


def _count(test):
    """Returns how many pairs the budget asks for, as the page says it."""
    return int(re.search(r"([0-9,]+) of [0-9,]+ candidates", words(test))[1].replace(",", ""))


def test_curate__no_method_is_said(pool):
    assert pool
    test = app("curate.py")
    test.multiselect(key="curate_methods").set_value([]).run()
    assert "Choose a method." in words(test)


def test_curate__many_methods_and_every_look(pool):
    assert pool
    test = app("curate.py")
    names = ["audit_then_select", "random", "clipscore", "clipcov", "semdedup", "negcliploss"]
    test.multiselect(key="curate_methods").set_value(names).run()
    for look in ("Scores", "Overlap", "What was kept out", "Coverage"):
        test.segmented_control(key="curate_look").set_value(look).run()
        assert not test.exception
    assert "Choose a method." not in words(test)


def test_curate__rules_reach_the_stored_recipe(pool):
    test = app("curate.py")
    test.number_input(key="curate_least").set_value(1)
    test.number_input(key="curate_most_label").set_value(6)
    test.number_input(key="curate_seed").set_value(7)
    estimate = re.search(r"It drops ([0-9.]+)%, by its estimate", words(test))[1]
    test.toggle(key="curate_fixed").set_value(True).run()
    assert test.number_input(key="curate_drop").value == round(float(estimate))
    test.number_input(key="curate_drop").set_value(10)
    test.checkbox(key="curate_pin").check()
    save(test.run(), "ruled")
    recipe = selections(pool)["ruled"].recipe["recipe"]
    assert recipe == {
        "method": "audit_then_select", "budget": "0.30", "seed": 7, "quotas": ["label=6"], "at_least": 1,
        "pin_confirmed": True, "drop": "0.10", "released": False,
    }  # fmt: skip


def test_curate__a_quota_that_cannot_be_met_is_a_table_and_is_not_saved(pool):
    test = app("curate.py")
    test.number_input(key="curate_most_label").set_value(1).run()
    assert "this is what is missing" in words(test)
    save(test, "short")
    assert "asks for more than there is" in words(test)
    assert "short" not in selections(pool)


def test_curate__a_mixture_is_added_tried_and_saved(pool):
    test = app("curate.py")
    test.multiselect(key="curate_mix").set_value(["clipscore", "random"]).run()
    test.number_input(key="curate_weight_clipscore").set_value(3).run()
    test.button(key="curate_add_mixture").click().run()
    assert not test.exception
    assert "clipscore:3,random:1" in test.multiselect(key="curate_methods").value
    test.selectbox(key="curate_which").set_value("clipscore:3,random:1").run()
    save(test, "mixed")
    assert selections(pool)["mixed"].recipe["recipe"]["method"] == "clipscore:3,random:1"


def test_curate__measure_asks_for_what_was_not_measured(pool, started):
    test = app("curate.py")
    test.button(key="curate_measure").click().run()
    folder, (step,) = started[0]
    assert folder == pool
    assert step.step == "measure"
    assert [recipe["method"] for recipe in step.settings["recipes"]] == ["audit_then_select", "random", "clipscore"]


def test_curate__what_was_measured_is_not_asked_for_again(pool, started):
    assert pool
    test = app("curate.py")
    test.button(key="curate_measure").click().run()
    ((_, (step,)),) = started
    run_step("measure", step.settings, progress=Silent())
    test.run()
    assert "judged on 'val': mean accuracy over the sources; untrained" in words(test)
    assert "curate_measure" not in {button.key for button in test.button}


def test_curate__save_preview_export(pool, started):
    test = save(app("curate.py"), "best")
    assert "Saved" in words(test)
    assert [found.name for found in Pool.open(pool).tables("selections")] == ["best"]
    test.button(key="curate_onward").click().run()
    assert "What would be written" in words(test)
    assert "pairs stay behind" in words(test)
    assert test.selectbox(key="curate_export_of").value == "best"
    test.selectbox(key="curate_form").set_value("huggingface")
    test.text_input(key="curate_to").set_value("out").run()
    test.button(key="curate_export").click().run()
    folder, (step,) = started[0]
    assert folder == pool
    assert step.step == "export"
    assert step.settings["to"] == str(pool.parent / "exports" / "out")
    assert step.settings["format"] == "huggingface"
    assert step.settings["force"] is False


def test_curate__an_export_that_is_there_is_replaced_only_when_ticked(pool, started):
    asked = {"pool": str(pool), "selection": "all", "to": str(pool.parent / "exports" / "out")}
    run_step("export", asked, progress=Silent())
    test = at(app("curate.py"), "export")
    test.text_input(key="curate_to").set_value("out").run()
    assert test.button(key="curate_export").disabled
    test.checkbox(key="curate_force").check().run()
    test.button(key="curate_export").click().run()
    assert started[0][1][0].settings["force"] is True


def test_curate__an_export_elsewhere_is_refused(pool):
    with Review.open(pool) as review:
        review.create_selection(name="[x](http://e)*b*", pair_ids=["p0000"], reviewer="me")
    test = at(app("curate.py"), "export")
    test.text_input(key="curate_to").set_value("../../etc").run()
    test.button(key="curate_export").click().run()
    assert "cannot be the name" in words(test)
    assert not (pool / "jobs").exists()


def test_curate__replay_says_the_same_then_what_changed(pool):
    test = at(save(app("curate.py"), "best"), "saved")
    test.button(key="curate_replay").click().run()
    assert "in the same order" in words(test)
    first = Pool.open(pool).table("selections", "best")["pair_id"].iloc[0]
    with Review.open(pool) as review:
        review.add_verdict(pair_id=first, verdict="wrong pair", reviewer="me")
    test.button(key="curate_replay").click().run()
    assert "Changed since: the verdicts" in words(test).replace("\\", "")


def test_curate__train_starts_a_job_on_the_selection(pool, started):
    test = at(save(app("curate.py"), "best"), "saved")
    test.selectbox(key="curate_part").set_value("heads").run()
    test.button(key="curate_train").click().run()
    folder, (step,) = started[0]
    assert folder == pool
    assert step.step == "pretrain"
    assert step.settings["selection"] == "best"
    assert step.settings["to"] == str(pool.parent / "trainings" / f"{pool.name}-best-heads-5")
    assert step.settings["evaluate"] == "test"


def test_curate__what_training_gave_names_each_training_once(pool, monkeypatch):
    task = {"pool": pool.name, "split": "test", "before": 0.5, "after": 0.75, "recall_before": 0.1, "recall_after": 0.2}
    task["change"] = {"mean": 0.25, "low": 0.1, "high": 0.4}
    told = {"pool": Pool.open(pool).id, "selection": "best", "settings": {"part": "heads"}}
    told["tasks"] = [task, task | {"source": "clinic"}]
    for name in ("first", "second"):
        (pool.parent / "trainings" / name).mkdir(parents=True)
        (pool.parent / "trainings" / name / "report.json").write_text(json.dumps(told))
    drawn = []
    monkeypatch.setattr(trainings, "grid", lambda head, lines, **_: drawn.append((head, lines)))
    test = at(save(app("curate.py"), "best"), "saved")
    assert "What training gave" in words(test)
    head, lines = drawn[-1]
    assert sorted(line.name for line in lines) == ["", "", "first", "second"]
    assert {line.hint for line in lines} == {"", "Heads, on cached features; trained on 'best'"}
    cells = [cell.text for cell in lines[1].cells]
    assert cells == ["test, clinic", "50.0%", "75.0%", "+25.0 (+10.0 to +40.0)", "10.0% → 20.0%"]
    assert len(head) == 1 + len(cells)


def test_curate__delete_and_take_back(pool):
    test = at(save(app("curate.py"), "best"), "saved")
    test.button(key="curate_delete").click().run()
    assert "best" not in selections(pool)
    assert "Nothing is saved yet" in words(test)
    test.button(key="curate_undo").click().run()
    assert "best" in selections(pool)


def test_curate__a_taken_name_is_told(pool):
    assert pool
    test = app("curate.py")
    for budget in (30, 50):
        test.slider(key="curate_budget").set_value(budget)
        test = save(test, "best")
    assert "there already" in words(test)

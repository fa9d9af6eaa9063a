"""Trainings as the page shows them: where they go, what to judge on, what their reports say."""

import json

import pytest
from review_pools import aimed_pool

from chips_core.errors import InputError
from chips_core.views.trainings import splits_to_judge, training_target, trainings_of


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CHIPS_ROOTS", str(tmp_path))
    return tmp_path / "trainings"


def report(home, name, **changes):
    whole = {"pool": "chest", "split": "test", "source": "", "trained_on": True, "before": 0.5, "after": 0.75}
    whole |= {"change": {"mean": 0.25, "low": 0.1, "high": None}, "recall_before": 0.1, "recall_after": 0.2}
    other = whole | {"pool": "other", "trained_on": False, "before": None, "after": None, "change": None}
    (home / name).mkdir(parents=True)
    told = {"pool": "chest-id", "selection": "best", "settings": {"part": "heads"}, "tasks": [whole, other]} | changes
    (home / name / "report.json").write_text(json.dumps(told))


def test_trainings_of__what_the_reports_say(home):
    assert trainings_of("chest-id", frozenset({"best"})) == ()
    report(home, "one")
    report(home, "of-another", selection="another")
    report(home, "elsewhere", pool="other-id")
    report(home, "half", tasks=None)
    (home / "torn").mkdir()
    (home / "torn" / "report.json").write_text("{")
    whole, retained = trainings_of("chest-id", frozenset({"best"}))
    assert (whole.training, whole.part, whole.task) == ("one", "Heads, on cached features", "test")
    assert (whole.before, whole.after, whole.change) == (0.5, 0.75, (0.25, 0.1, None))
    assert (retained.task, retained.before, retained.change) == ("test of other, retained", None, None)
    assert retained.recall == (0.1, 0.2)


def test_training_target__stays_in_its_folder(home):
    home.parent.mkdir(exist_ok=True)
    assert training_target("best-heads-5") == home / "best-heads-5"
    with pytest.raises(InputError):
        training_target("../x")


def test_splits_to_judge__never_the_one_to_train_on(tmp_path):
    pool = aimed_pool(tmp_path / "pool")
    there = set(pool.kept(["split"])["split"])
    assert set(splits_to_judge(pool)) == there - {"", "train"}

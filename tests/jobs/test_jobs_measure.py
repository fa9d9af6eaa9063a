"""The measure step: the heads trained on what recipes choose; the same pairs are measured once, and found again."""

import pytest
from tiny import tiny_dataset, tiny_model

from chips_core.curate.recipe import Recipe
from chips_core.jobs import measure
from chips_core.jobs.proxy import proxy_accuracy
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.views.curate import lab_of


@pytest.fixture
def pool(tmp_path):
    folder = tmp_path / "pool"
    source, model = tiny_dataset(tmp_path / "source", count=36), tiny_model(tmp_path / "model")
    run_step("intake", {"source": str(source), "pool": str(folder), "workers": 1}, progress=Silent())
    asked = {"model": str(model), "precision": "fp32", "device": "cpu", "batch": 16, "workers": 1}
    run_step("encode", {"pool": str(folder), **asked}, progress=Silent())
    return Pool.open(folder)


def test_measure__as_the_proxy_says_kept_and_not_done_again(pool, monkeypatch):
    recipes = [Recipe("random", "8"), Recipe("random", "8", seed=1), Recipe("random", "0")]
    asked = {"pool": str(pool.path), "recipes": [{"method": "random", "budget": "8"}]}
    asked["recipes"] += [{"method": "random", "budget": "8", "seed": 1}, {"method": "random", "budget": "0"}]
    found = run_step("measure", asked, progress=Silent())
    pool.refresh()
    lab = lab_of(pool)
    trials = [lab.attempt(recipe) for recipe in recipes]
    first, second, nothing = lab.measured(pool, trials)
    expected = proxy_accuracy(pool, {"a": trials[0].selected.rows}, target=lab.origin.target)
    assert first.recall_at_1 == pytest.approx(expected[1].recall_at_1)
    assert first.base_recall == pytest.approx(expected[0].recall_at_1)
    assert first.accuracy == expected[1].accuracy
    assert second is not None
    assert nothing is None
    assert found["measured"][2] is None

    def again(*_, **__):
        raise AssertionError("measured twice")

    monkeypatch.setattr(measure, "proxy_accuracy", again)
    assert run_step("measure", asked, progress=Silent()) == found

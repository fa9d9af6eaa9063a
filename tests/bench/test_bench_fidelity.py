"""The fidelity benchmark on a small case: its keys, and a prediction that agrees with retraining."""

import json

import pytest
import torch
from tiny import tiny_dataset, tiny_model

from chips_core.bench import fidelity, pool_fidelity
from chips_core.errors import InputError
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.views.trace import fidelity_in_words


def test_fidelity_of__predicts_what_retraining_finds() -> None:
    pool, target, heads = fidelity.structured_case(pairs=80, targets=64)
    found = fidelity.fidelity_of(pool, target, heads=heads, random_sets=6)
    json.dumps(found, allow_nan=False)
    assert {"spearman_random", "spearman_all", "slope", "pos_only", "identity"} <= set(found)
    for name in ("pos_only", "identity"):
        assert set(found[name]) == {"spearman_random", "spearman_all", "slope"}
    assert found["spearman_all"] > 0.9
    assert found["slope"] > 0.5  # heads that learn 80 pairs by heart bend more than Gauss-Newton says
    assert found["largest_gradient_norm"] < 1e-6
    assert found["removed_at_once"] == 4
    assert len(found["predicted"]) == len(found["real"]) == found["all_removals"] == 26


def test_removals__are_of_one_size_and_hold_both_ends() -> None:
    scores = torch.arange(100, dtype=torch.float64)
    sets = fidelity._removals(scores, random_sets=3, seed=0)
    assert {len(s) for s in sets} == {5}
    assert sets[3].tolist() == [0, 1, 2, 3, 4]
    assert sets[4].tolist() == [95, 96, 97, 98, 99]


def test_fidelity_of__too_few_pairs_are_refused() -> None:
    pool, target, heads = fidelity.structured_case(pairs=20, targets=20)
    with pytest.raises(InputError, match="too few"):
        fidelity.fidelity_of(pool, target, heads=heads)


def test_run__of_a_pool_is_kept_in_it_and_told_by_the_page_of_wrong_predictions(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pool_fidelity, "QUICK_SETS", 3)
    monkeypatch.setattr(fidelity, "EXTREME_SETS", 1)
    source, folder = tiny_dataset(tmp_path / "data", count=72), tmp_path / "pool"
    run_step("intake", {"source": str(source), "pool": str(folder)}, progress=Silent())
    run_step("encode", {"pool": str(folder), "model": str(tiny_model(tmp_path / "model"))}, progress=Silent())
    assert "runs with: chips bench fidelity" in fidelity_in_words(Pool.open(folder))
    found = pool_fidelity.run(pool=folder, quick=True)
    assert (found["target"], found["random_removals"], found["pairs"]) == ("val", 3, 48)
    said = fidelity_in_words(Pool.open(folder))
    assert f"3 times {found['removed_at_once']} random pairs" in said
    assert f"correlation {found['spearman_random']:.2f}, real = {found['slope']:.2f}" in said
    pool_fidelity._keep(Pool.open(folder), found)  # the same figures again
    assert len(Pool.open(folder).tables(pool_fidelity.KIND)) == 1

"""The select benchmark on coloured squares: its contract, its references, and that nobody is told the truth."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_bench_detect import write_folder

from chips_core.bench import base, noisy_pool, select
from chips_core.errors import UsageError


@pytest.fixture(autouse=True)
def _quick_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noisy_pool, "QUICK_RECIPE", replace(base.QUICK_RECIPE, epochs=2, batch_size=16))
    monkeypatch.setattr(select, "REPEATS", 1)


def test_run__contract_on_coloured_squares(tmp_path: Path) -> None:
    folder, cache = write_folder(tmp_path / "d"), tmp_path / "cache"
    found = select.run(data=folder, noise=0.3, budgets="0.2,0.5", seeds=2, quick=True, cache=cache)
    json.dumps(found, allow_nan=False)
    methods = found["methods"]
    assert {"audit_then_select", "random", "clipcov", "clipscore", "chips_paper", "ecif_audit"} <= set(methods)
    for row in methods.values():
        assert {"0.2", "0.5", "0.2_sd", "0.5_sd", "noise_0.2", "noise_0.5"} == set(row)
    for name in ("base", "full", "clean_only"):
        assert 0 <= found[name] <= 1
    assert methods["audit_then_select"]["noise_0.5"] < methods["random"]["noise_0.5"]
    assert "audit_then_select" in select.table(found)


def test_run__the_truth_does_not_reach_a_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark that is lied to about which captions were swapped chooses the same pairs."""
    folder, cache = write_folder(tmp_path / "d"), tmp_path / "cache"
    chosen: list[list[np.ndarray]] = [[], []]

    def pools(kept: list[np.ndarray]) -> None:
        case = noisy_pool.noisy_case(folder, noise=0.3, kind="within", quick=True, cache=cache, progress=None)
        pool = select.noisy_pool(case, select.exam_of(case), seed=0)
        kept += [pool.chosen(name, "0.3") for name in select.names_of(pool.table)]

    pools(chosen[0])
    swap = noisy_pool.swap_captions
    monkeypatch.setattr(
        noisy_pool, "swap_captions", lambda *a, **k: replace(swap(*a, **k), swapped=~swap(*a, **k).swapped)
    )
    pools(chosen[1])
    for one, two in zip(*chosen, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("text", ["", "3", "0.0", "1.5", "x"])
def test_checked_budgets__what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        select.checked_budgets(text)

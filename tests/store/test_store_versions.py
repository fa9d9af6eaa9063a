"""M7: a pool of every released format, as that version wrote it, opens and scores the same.

`tests/data/pools/v1` holds 30 discs, bars and rings of `tests/tiny.py`, encoded by a small random model and scored by
`clipscore` and `chips` in paper mode; a verdict and a selection. A new format brings a folder of its own; none is
ever changed.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool, Review, check_pool
from chips_core.store.upgrades import CURRENT

POOLS = Path(__file__).resolve().parents[1] / "data" / "pools"


def test_m7__there_is_a_pool_of_every_format() -> None:
    assert sorted(path.name for path in POOLS.iterdir()) == [f"v{number}" for number in range(1, CURRENT + 1)]


@pytest.mark.parametrize("version", [f"v{number}" for number in range(1, CURRENT + 1)])
def test_m7__a_pool_of_a_released_format_opens_and_scores_the_same(version: str, tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    shutil.copytree(POOLS / version, folder)
    assert not check_pool(folder).findings
    pool = Pool.open(folder)
    assert (pool.outcomes().given, pool.outcomes().kept) == (30, 30)
    assert pool.kept(["caption"])["caption"][0].endswith("view 0.")
    assert pool.features().done.all()
    before = pool.table("scores", "run")
    settings = {"pool": str(folder), "methods": ["clipscore", "chips"], "mode": "paper", "name": "again"}
    run_step("score", settings, progress=Silent())
    after = Pool.open(folder).table("scores", "again")
    assert list(after.columns) == list(before.columns)
    assert after["pair_id"].tolist() == before["pair_id"].tolist()
    for column in before.columns[2:]:
        scale = float(np.abs(before[column]).max())
        np.testing.assert_allclose(after[column] / scale, before[column] / scale, atol=1e-4, err_msg=column)


def test_m7__verdicts_of_a_released_format_are_there(tmp_path: Path) -> None:
    for version in POOLS.iterdir():
        shutil.copytree(version, tmp_path / version.name)
        with Review.open(tmp_path / version.name) as review:
            assert review.current_verdicts()[["pair_id", "verdict"]].to_numpy().tolist() == [["p0000", "wrong pair"]]
            assert review.selection_pairs("odd ones") == ["p0001", "p0000"]

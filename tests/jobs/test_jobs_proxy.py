"""Proxy accuracy on a small pool: one line a selection, and no pair of the target or test set is learnt from."""

from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_dataset, tiny_model

from chips_core.errors import InputError
from chips_core.jobs import encode, intake, proxy
from chips_core.progress import Silent
from chips_core.store import Pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proxy")
    source, path = tiny_dataset(folder / "source", count=60), folder / "pool"
    intake.run(intake.Settings(str(source), str(path)), progress=Silent())
    model = str(tiny_model(folder / "model"))
    encode.run(encode.Settings(str(path), model, device="cpu", precision="fp32"), progress=Silent())
    return path


def test_proxy_accuracy__a_line_for_the_base_and_for_each_selection(pool: Path) -> None:
    train = np.flatnonzero(Pool.open(pool).kept(["split"])["split"].to_numpy() == "train")
    base, half = proxy.proxy_accuracy(Pool.open(pool), {"half": train[::2]})
    assert (base.name, base.pairs, base.change.mean) == ("", 0, 0.0)
    assert (half.name, half.pairs) == ("half", len(train[::2]))
    for line in (base, half):
        assert 0 <= line.accuracy <= 1
        assert set(line.sources) == {"tiny"}
        assert 0 <= line.recall_at_1 <= 1


@pytest.mark.parametrize("split", ["val", "test"])
def test_proxy_accuracy__j7_pairs_of_the_target_or_test_set_are_refused(pool: Path, split: str) -> None:
    kept = Pool.open(pool).kept(["split"])["split"].to_numpy()
    rows = np.r_[np.flatnonzero(kept == "train")[:5], np.flatnonzero(kept == split)[:2]]
    with pytest.raises(InputError, match="2 of 7 pairs"):
        proxy.proxy_accuracy(Pool.open(pool), {"x": rows})

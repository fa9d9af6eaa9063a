"""The score step: what a run holds is what the registry computes, influence at the softened scale."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_dataset, tiny_model

from chips_core.influence.blocks import BlockPlan
from chips_core.influence.methods import METHODS
from chips_core.jobs import encode, intake, score
from chips_core.jobs.fitting import fitted_heads
from chips_core.jobs.scoring_set import scoring_set
from chips_core.progress import Silent, Stopped, Terminal
from chips_core.store import Pool
from chips_core.store.parts import COLUMNS, parts_of


def test_run__influence_in_audit_mode_is_at_the_softened_heads(tmp_path: Path) -> None:
    source, path = tiny_dataset(tmp_path / "source", count=60), tmp_path / "pool"
    intake.run(intake.Settings(str(source), str(path)), progress=Silent())
    model = str(tiny_model(tmp_path / "model"))
    encode.run(encode.Settings(str(path), model, device="cpu", precision="fp32"), progress=Silent())
    score.run(score.Settings(str(path), ("ecif", "clipscore"), name="run"), progress=Silent())
    pool = Pool.open(path)
    features = pool.feature_sets()[-1].name
    found = scoring_set(pool, target="val", plan=BlockPlan(), features=features)
    fitted = fitted_heads(pool, found, features=features, progress=Silent())
    ecif = next(entry for entry in METHODS if entry.name == "ecif_audit")
    expected = {
        name: ecif.compute(replace(found.inputs, fitted=heads, target_loss="pairs"))["delta_loss_if_removed"].numpy()
        for name, heads in (("softened", fitted.softened), ("calibrated", fitted.heads))
    }
    stored = pool.table("scores", "run")["delta_loss_if_removed"].to_numpy(np.float64)
    size = np.abs(stored).max()
    np.testing.assert_allclose(stored / size, expected["softened"] / size, atol=1e-4)
    assert np.abs(stored - expected["calibrated"]).max() > 1e-2 * size


@pytest.mark.parametrize("harm", ["one bit", "cut", "unsealed", None])
def test_run__a_killed_run_goes_on_from_what_it_kept_and_trusts_no_changed_file(tmp_path, monkeypatch, harm) -> None:
    source, path = tiny_dataset(tmp_path / "source", count=36), tmp_path / "pool"
    intake.run(intake.Settings(str(source), str(path)), progress=Silent())
    model = str(tiny_model(tmp_path / "model"))
    encode.run(encode.Settings(str(path), model, device="cpu", precision="fp32"), progress=Silent())
    asked = score.Settings(str(path), ("clipscore", "negcliploss"), mode="paper")
    told = io.StringIO()
    whole = score.run(asked, progress=Terminal(told))["run"]
    pool = Pool.open(path)
    pairs = len(pool.table("scores", whole))
    assert f"score clipscore {pairs}/{pairs} pairs" in told.getvalue()
    assert "/0 " not in told.getvalue()
    expected = pool.table("scores", whole)
    pool.remove("scores", whole)
    with monkeypatch.context() as killed:
        killed.setattr(score, "_table", stopped)
        with pytest.raises(Stopped):
            score.run(asked, progress=Silent())
    kept = next((path / "work").glob("score-*/clipscore.npy"))
    if harm == "one bit":
        content = bytearray(kept.read_bytes())
        content[-3] ^= 1
        kept.write_bytes(content)
    elif harm == "cut":
        kept.write_bytes(kept.read_bytes()[:-8])
    elif harm == "unsealed":
        kept.with_suffix(".sha256").unlink()
    computed, really = [], score.passes_of
    monkeypatch.setattr(score, "passes_of", lambda some, *a: computed.extend(e.name for e in some) or really(some, *a))
    score.run(asked, progress=Silent())
    assert computed == (["clipscore"] if harm else [])
    pd.testing.assert_frame_equal(Pool.open(path).table("scores", whole), expected)
    assert not list((path / "work").glob("score-*"))


def stopped(*_, **__):
    raise Stopped(130)


def test_run__a_pool_without_splits_holds_a_tenth_out(tmp_path: Path) -> None:
    source, path = tiny_dataset(tmp_path / "source", count=60), tmp_path / "pool"
    table = pd.read_csv(source / "pairs.csv", dtype=str, keep_default_na=False)
    table[["pair_id", "image", "caption"]].to_csv(source / "pairs.csv", index=False)
    intake.run(intake.Settings(str(source), str(path)), progress=Silent())
    model = str(tiny_model(tmp_path / "model"))
    encode.run(encode.Settings(str(path), model, device="cpu", precision="fp32"), progress=Silent())
    answer = score.run(score.Settings(str(path), ("queue", "clipscore"), name="run"), progress=Silent())
    assert (answer["target"], answer["target_pairs"], answer["pairs"]) == ("held-out", 6, 54)
    assert set(answer["methods"]) == {"queue", "clipscore"}
    pool = Pool.open(path)
    held = parts_of(pool.kept([*COLUMNS]), target="held-out")
    assert set(pool.table("scores", "run")["row"]) == set(np.flatnonzero(~held.target))

"""The trace benchmark: the whole of it, in its quick form, on a tiny data set of discs, bars and rings."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from tiny import tiny_dataset

from chips_core.bench import base, noisy_pool, trace, trace_large
from chips_core.bench.base import parts_of
from chips_core.bench.dataset import read_dataset
from chips_core.bench.noisy_pool import class_prompts
from chips_core.errors import InputError, UsageError
from chips_core.verify import tracer


@pytest.mark.slow
def test_run__on_a_tiny_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(noisy_pool, "QUICK_RECIPE", replace(base.QUICK_RECIPE, epochs=1, batch_size=16))
    monkeypatch.setattr(tracer, "FIT", replace(tracer.FIT, batch_size=16))  # 96 pairs are less than one batch
    folder = tiny_dataset(tmp_path / "d", count=240)
    found = trace.run(data=folder, noise=0.2, quick=True, cache=tmp_path / "cache")
    json.dumps(found, allow_nan=False)
    for key in ("loss_drop", "loss_drop_sd", "flip_rate"):
        assert set(found[key]) == set(trace.WAYS)
    assert 1 <= found["images"] <= trace.QUICK_IMAGES
    assert found["index_recall_at_20"] > 0.5
    for low, middle, high in found["loss_drop_quartiles"].values():
        assert low <= middle <= high  # which way does best only a pool of some size can tell
    assert "turned right" in trace.table(found)
    again = trace.run(data=folder, noise=0.2, quick=True, cache=tmp_path / "cache")
    assert again["loss_drop"] == found["loss_drop"]


def test_run__without_labels_says_what_it_needs(tmp_path):
    folder = tiny_dataset(tmp_path / "d", count=240)
    text = (folder / "pairs.csv").read_text().replace(",label,class_prompt,", ",was,prompted,")
    (folder / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match="labels"):
        trace._classes(case_of(folder))


def test_classes__are_those_of_pool_and_target_set_as_everywhere(tmp_path):
    """One that only the target set has counts; one that only test images have does not: no decision may see them."""
    folder = tiny_dataset(tmp_path / "d", count=240)
    table = pd.read_csv(folder / "pairs.csv", dtype=str)
    last = table.groupby("split").tail(1).index
    table.loc[last, "label"] = "rare in " + table.loc[last, "split"]
    table.loc[last, "class_prompt"] = ""
    table.to_csv(folder / "pairs.csv", index=False)
    case = case_of(folder)
    prompts, codes = trace._classes(case)
    assert list(codes) == sorted(codes) == list(class_prompts(case))
    assert "rare in val" in codes
    assert "rare in test" not in codes
    assert prompts[codes["rare in val"]] == "a medical image of rare in val"
    assert prompts[codes["disc"]] == "a picture of a disc"


def case_of(folder):
    data = read_dataset(folder)
    return SimpleNamespace(data=data, parts=parts_of(data, seed=0))


def test_run__of_a_large_pool_tells_click_size_and_recall():
    found = trace_large.run(pairs=1500, quick=True)
    json.dumps(found, allow_nan=False)
    assert 0 < found["click_s"] <= found["click_slowest_s"]
    assert found["screen_mb"] > 0
    assert found["index_recall_at_20"] > 0.8
    assert "1,500 pairs" in trace_large.table(found)
    with pytest.raises(UsageError, match="no large pool"):
        trace_large.run(pairs=10)

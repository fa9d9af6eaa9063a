"""The trace benchmark: the whole of it, in its quick form, on a tiny data set of discs, bars and rings."""

import json
from dataclasses import replace

import pytest
from tiny import tiny_dataset

from chips_core.bench import base, noisy_pool, trace, trace_large
from chips_core.bench.dataset import read_dataset
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
    assert found["loss_drop"]["is"] > found["loss_drop"]["random"]
    assert "turned right" in trace.table(found)
    again = trace.run(data=folder, noise=0.2, quick=True, cache=tmp_path / "cache")
    assert again["loss_drop"] == found["loss_drop"]


def test_run__without_labels_says_what_it_needs(tmp_path):
    folder = tiny_dataset(tmp_path / "d", count=240)
    text = (folder / "pairs.csv").read_text().replace(",label,class_prompt,", ",was,prompted,")
    (folder / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match="labels"):
        trace._classes(read_dataset(folder))


def test_run__of_a_large_pool_tells_click_size_and_recall(monkeypatch):
    monkeypatch.setattr(trace_large, "QUICK_LANDMARKS", 16)
    found = trace_large.run(pairs=1500, quick=True)
    json.dumps(found, allow_nan=False)
    assert found["landmarks"] == 16
    assert 0 < found["click_s"] <= found["click_slowest_s"]
    assert found["index_mb"] > 0
    assert found["index_recall_at_20"] > 0.3
    assert "1,500 pairs" in trace_large.table(found)
    with pytest.raises(UsageError, match="no large pool"):
        trace_large.run(pairs=10)

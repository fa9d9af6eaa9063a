"""The trace benchmark: the whole of it, in its quick form, on a tiny data set of discs, bars and rings."""

import json
from dataclasses import replace

import pytest
from tiny import tiny_dataset

from chips_core.bench import base, trace
from chips_core.errors import InputError


@pytest.mark.slow
def test_run__on_a_tiny_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(trace, "QUICK_RECIPE", replace(base.QUICK_RECIPE, epochs=1, batch_size=16))
    folder = tiny_dataset(tmp_path / "d", count=240)
    found = trace.run(data=folder, noise=0.2, quick=True, cache=tmp_path / "cache")
    json.dumps(found, allow_nan=False)
    for key in ("loss_drop", "loss_drop_sd", "flip_rate"):
        assert set(found[key]) == set(trace.WAYS)
    assert 1 <= found["images"] <= trace.QUICK_IMAGES
    assert found["index_recall_at_20"] is None
    assert found["index_recall_reason"]
    assert found["loss_drop"]["is"] > found["loss_drop"]["random"]
    assert "turned right" in trace.table(found)
    again = trace.run(data=folder, noise=0.2, quick=True, cache=tmp_path / "cache")
    assert again["loss_drop"] == found["loss_drop"]


def test_run__without_labels_says_what_it_needs(tmp_path):
    folder = tiny_dataset(tmp_path / "d", count=240)
    text = (folder / "pairs.csv").read_text().replace(",label,class_prompt,", ",was,prompted,")
    (folder / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match="labels"):
        trace._classes(trace.read_dataset(folder))

"""Counts and histograms that a reader can check by counting."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips_core.insight.summary import caption_lengths, changed, counts_by, counts_of, crossed, histogram

PAIRS = pa.table(
    {
        "label": ["cyst", "mass", "cyst", "", "mass", "aneurysm"],
        "split": ["train", "train", "test", "train", "test", "train"],
        "modality": [""] * 6,
        "caption": ["A cyst", "  ", "", "one", "a\tb  c", "two words "],
    }
)


def test_counts_of__by_frequency_then_name():
    counts = counts_of(PAIRS, "label")
    assert counts.values == ("cyst", "mass", "", "aneurysm")
    assert counts.counts == (2, 2, 1, 1)
    assert counts.total == 6


def test_counts_by__silent_columns_are_left_out():
    assert [table.column for table in counts_by(PAIRS, ["label", "modality", "split"])] == ["label", "split"]
    assert counts_by(PAIRS.slice(0, 0), ["label"]) == ()


def test_crossed__each_pair_once():
    table = crossed(PAIRS, "label", "split")
    assert table.columns == ("train", "test")
    assert dict(zip(table.rows, table.counts, strict=True)) == {
        "cyst": (1, 1),
        "mass": (1, 1),
        "": (1, 0),
        "aneurysm": (1, 0),
    }


def test_changed__tells_what_vanished():
    after = counts_of(PAIRS.slice(0, 2), "label")
    assert changed(counts_of(PAIRS, "label"), after) == (("cyst", 2, 1), ("mass", 2, 1), ("", 1, 0), ("aneurysm", 1, 0))


def test_histogram__outliers_sit_in_the_last_bar():
    scores = np.concatenate([np.linspace(0, 1, 1000), [1e9, np.nan, -np.inf]])
    found = histogram(scores, bins=10)
    assert found.edges[-1] < 1.1
    assert sum(found.counts) == 1001
    assert found.missing == 2
    assert (found.low, found.high) == (0.0, 1e9)
    assert found.median == pytest.approx(0.5, abs=0.01)


@given(st.lists(st.floats(width=32), max_size=40), st.integers(1, 12))
def test_histogram__counts_add_up(scores, bins):
    found = histogram(np.array(scores), bins=bins)
    assert sum(found.counts) + found.missing == len(scores)
    assert len(found.edges) == len(found.counts) + 1
    assert np.isfinite([found.low, found.high, found.mean, found.median, *found.edges]).all()


def test_histogram__constant_and_empty():
    assert histogram(np.full(4, 2.0)).counts == (4,)
    assert histogram(np.array([np.nan])).missing == 1
    assert histogram(np.array([])).counts == (0,)


def test_caption_lengths__in_words():
    assert caption_lengths(PAIRS).tolist() == [2, 0, 0, 1, 3, 2]

"""Finding pairs by id, by words, by meaning."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips_core.insight.search import any_of, by_id, by_meaning, by_words, similar_to, split_words

CAPTIONS = pa.array(
    ["Large left pleural effusion.", "No pneumothorax", "effusions, LEFT more than right", "", "100 % sure"]
)


def test_by_id__exact_first_then_beginning_then_within():
    ids = pa.array(["x-p1", "p10", "p1", "p2", "p11"])
    assert by_id(ids, "p1").tolist() == [2, 1, 4, 0]
    assert by_id(ids, "P1").tolist() == []  # ids are exact
    assert by_id(ids, "").tolist() == []


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ("effusion", [0, 2]),
        ("LEFT effusion", [0, 2]),
        ('"left pleural"', [0]),
        ("left pneumothorax", []),
        ("no", [1]),
        ("%", [4]),
        (".*", []),
        ("", []),
        ('"', []),
    ],
)
def test_by_words__all_words_any_case_no_patterns(words, rows):
    assert by_words(CAPTIONS, words).tolist() == rows
    assert by_words(pa.chunked_array([CAPTIONS[:2], CAPTIONS[2:]]), words).tolist() == rows


@given(st.text(max_size=30))
def test_by_words__never_raises_and_holds(words):
    for row in by_words(CAPTIONS, words):
        assert all(word in CAPTIONS[int(row)].as_py().lower() for word in split_words(words))


def test_split_words__quotes_keep_together():
    assert split_words('no "pleural  effusion" left') == ["no", "pleural  effusion", "left"]
    assert split_words('an "open quote') == ["an", "open", "quote"]


def test_by_meaning__nearest_first_among_the_allowed():
    vectors = np.array([[1, 0], [0, 1], [0.9, 0.1], [-1, 0]], dtype=np.float32)
    found = by_meaning(np.array([5.0, 0.0]), vectors, k=2)
    assert found.rows.tolist() == [0, 2]
    assert found.similarity[0] == pytest.approx(1.0)
    found = by_meaning(np.array([5.0, 0.0]), vectors, k=9, among=np.array([False, True, True, True]))
    assert found.rows.tolist() == [2, 1, 3]
    assert by_meaning(np.array([1.0, 0.0]), vectors, k=3, among=np.zeros(4, dtype=bool)).rows.tolist() == []


def test_similar_to__leaves_itself_out():
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert similar_to(0, vectors, k=5).rows.tolist() == [1, 2]


def test_any_of__keeps_the_first_place():
    assert any_of([3, 1], [1, 2, 3]).tolist() == [3, 1, 2]
    assert any_of().tolist() == []

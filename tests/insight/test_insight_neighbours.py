"""Neighbours against a double loop, whichever engine found them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chips_core.errors import InputError
from chips_core.insight import neighbours as module
from chips_core.insight.neighbours import nearest, neighbours
from chips_core.insight.vectors import Joint, Projected, embeddings_of, gathered, reduced, unit
from chips_core.store import Features, Heads, Status


def cosines(vectors):
    """(N, N) pair by pair; nothing is its own neighbour."""
    table = np.full((len(vectors), len(vectors)), -2.0)
    for i, one in enumerate(vectors):
        for j, other in enumerate(vectors):
            length = np.linalg.norm(one) * np.linalg.norm(other)
            if i != j:
                table[i, j] = one @ other / length if length > 0 else 0.0
    return table


def clusters(count, width=16, seed=0):
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(12, width))
    return (centres[draw.integers(12, size=count)] + 0.3 * draw.normal(size=(count, width))).astype(np.float32)


def test_neighbours__on_a_circle():
    turns = np.deg2rad([0, 10, 30, 170, 180])
    found = neighbours(np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32), k=2)
    assert found.rows.tolist() == [[1, 2], [0, 2], [1, 0], [4, 2], [3, 2]]
    assert found.similarity[0, 0] == pytest.approx(np.cos(np.deg2rad(10)), abs=1e-5)
    assert found.exact


@given(hnp.arrays(np.int8, st.tuples(st.integers(1, 14), st.just(3)), elements=st.integers(-2, 2)), st.integers(1, 6))
def test_neighbours__equal_a_double_loop(vectors, k):
    found = neighbours(vectors.astype(np.float32), k=k)
    table = cosines(vectors.astype(np.float64))
    k = min(k, len(vectors) - 1)
    assert found.rows.shape == (len(vectors), k)
    assert all(len(set(row)) == k for row in found.rows.tolist())
    best = -np.sort(-table, axis=1)[:, :k]
    assert np.allclose(np.take_along_axis(table, found.rows, axis=1), best, atol=2e-6)
    assert np.allclose(found.similarity, best, atol=2e-6)


def test_neighbours__equal_ones_in_order_of_row():
    vectors = np.array([[1, 2], [3, 1], [3, 1], [3, 1], [0.5, 1]], dtype=np.float32)
    assert neighbours(vectors, k=4).rows.tolist()[:3] == [[4, 1, 2, 3], [2, 3, 0, 4], [1, 3, 0, 4]]


def test_neighbours__faiss_equals_sorting(monkeypatch):
    vectors = clusters(700)
    wanted = neighbours(vectors, k=9)
    monkeypatch.setattr(module, "SORTED", 10)
    found = neighbours(vectors, k=9)
    assert found.rows.tolist() == wanted.rows.tolist()
    assert np.array_equal(found.similarity, wanted.similarity)


def test_neighbours__cells_find_nearly_all_and_say_that_they_may_not():
    vectors = clusters(4000)
    wanted = neighbours(vectors, k=9, exact=True)
    found = neighbours(vectors, k=9, exact=False)
    assert not found.exact
    recall = np.mean([len(set(a) & set(b)) / 9 for a, b in zip(found.rows, wanted.rows, strict=True)])
    assert recall > 0.95
    again = neighbours(vectors, k=9, exact=False)
    assert np.array_equal(found.rows, again.rows)


def test_neighbours__scale_of_rows_does_not_matter():
    vectors = clusters(60)
    scaled = vectors * np.linspace(0.01, 100, 60, dtype=np.float32)[:, None]
    assert np.array_equal(neighbours(vectors, k=5).rows, neighbours(scaled, k=5).rows)


@pytest.mark.parametrize("count", [0, 1])
def test_neighbours__nobody_else(count):
    found = neighbours(np.ones((count, 4), dtype=np.float32), k=3)
    assert found.rows.shape == found.similarity.shape == (count, 0)


def test_neighbours__zeros_and_equal_rows_are_defined():
    found = neighbours(np.array([[0, 0], [1, 0], [1, 0]], dtype=np.float32), k=2)
    assert found.rows.tolist() == [[1, 2], [2, 0], [1, 0]]
    assert np.isfinite(found.similarity).all()


def test_neighbours__refuses_what_is_not_finite():
    vectors = np.ones((5, 2), dtype=np.float16)
    vectors[3, 1] = np.inf
    with pytest.raises(InputError, match="first row 3"):
        neighbours(vectors, k=1)


def test_nearest__a_question_may_find_itself():
    vectors = clusters(50)
    found = nearest(vectors[7:9], vectors, k=3)
    assert found.rows[:, 0].tolist() == [7, 8]
    assert nearest(vectors[:2], vectors, k=80).rows.shape == (2, 50)


def test_projected__equals_the_product():
    draw = np.random.default_rng(1)
    features, head = draw.normal(size=(9, 6)).astype(np.float16), draw.normal(size=(4, 6)).astype(np.float32)
    whole = features.astype(np.float32) @ head.T
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    projected = Projected(features, head)
    assert projected.shape == (9, 4)
    assert np.allclose(projected[2:5], whole[2:5], atol=1e-5)
    assert np.allclose(gathered(projected), whole, atol=1e-5)


def test_joint__is_half_image_half_text():
    draw = np.random.default_rng(2)
    image, text = (unit(draw.normal(size=(5, 3)).astype(np.float32)) for _ in range(2))
    joint = gathered(Joint(image, text))
    assert np.allclose(joint @ joint.T, (image @ image.T + text @ text.T) / 2, atol=1e-5)


def test_embeddings_of__only_what_was_encoded():
    status = np.array([Status.DONE, Status.BROKEN, Status.DONE], dtype=np.uint8)
    image = np.array([[3, 4], [np.nan, 0], [0, 2]], dtype=np.float16)
    text = np.array([[0, 1], [np.nan, 0], [0, 5]], dtype=np.float16)
    heads = Heads(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), 0.0)
    features = Features("f", "f", image, text, status, heads, {})
    vectors, rows = embeddings_of(features, space="image")
    assert rows.tolist() == [0, 2]
    assert np.allclose(gathered(vectors), [[0.6, 0.8], [0, 1]], atol=1e-6)
    joint, _ = embeddings_of(features, space="joint")
    assert np.allclose(gathered(joint)[0], np.array([0.6, 0.8, 0, 1]) / np.sqrt(2), atol=1e-6)


def test_reduced__keeps_inner_products_and_signs():
    draw = np.random.default_rng(3)
    vectors = unit((draw.normal(size=(300, 4)) @ draw.normal(size=(4, 40))).astype(np.float32))
    low = reduced(vectors, dimensions=4, seed=0)
    assert low.shape == (300, 4)
    assert np.allclose(low @ low.T, vectors @ vectors.T, atol=1e-4)
    assert np.allclose(low, reduced(vectors, dimensions=4, seed=0))
    assert (np.diff((low.astype(np.float64) ** 2).sum(axis=0)) <= 0).all()

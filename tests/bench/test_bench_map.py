"""The map's benchmark lays the same vectors out both ways, and the vectors have something to show."""

import numpy as np

from chips_core.bench import map as bench
from chips_core.insight.trust import trustworthiness


def test_run__gives_both_ways_the_same_vectors(monkeypatch):
    shown = []
    monkeypatch.setattr(bench, "QUICK_PAIRS", 300)
    monkeypatch.setattr(bench, "WARM", 30)
    monkeypatch.setattr(bench, "layout", lambda vectors, **_: shown.append(vectors) or vectors[:, :2])
    monkeypatch.setattr(bench, "plain_umap", lambda vectors: shown.append(vectors) or vectors)
    found = bench.run(quick=True)
    assert [len(vectors) for vectors in shown] == [30, 300, 30, 300]
    assert np.array_equal(shown[1], shown[3])
    assert found["umap_trustworthiness"] == 1.0  # all that there was to see
    assert found["trustworthiness"] < 0.9
    assert found["pairs"] == 300


def test_made_up__has_a_structure_that_a_random_picture_misses():
    vectors = bench.made_up(700, seed=0)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert trustworthiness(vectors, np.random.default_rng(0).normal(size=(700, 2))) < 0.6
    assert np.array_equal(vectors, bench.made_up(700, seed=0))

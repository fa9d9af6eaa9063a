"""The map: defined for any pool, the same each time, the graph of umap-learn, and true to the neighbours."""

import numpy as np
import pytest

from chips_core.errors import InputError, UsageError
from chips_core.insight import umap as module
from chips_core.insight.attraction import settle
from chips_core.insight.fuzzy import curve, fuzzy_graph
from chips_core.insight.neighbours import neighbours
from chips_core.insight.trust import trustworthiness
from chips_core.insight.umap import layout
from chips_core.insight.vectors import unit
from chips_core.progress import Silent, Stopped


def clusters(count, *, groups=6, width=24, seed=0):
    draw = np.random.default_rng(seed)
    member = np.arange(count) % groups
    centres = 3 * draw.normal(size=(groups, width))
    return unit((centres[member] + 0.4 * draw.normal(size=(count, width))).astype(np.float32)), member


@pytest.mark.parametrize("count", range(6))
def test_layout__few_pairs(count):
    vectors, _ = clusters(count)
    xy = layout(vectors)
    assert xy.shape == (count, 2)
    assert xy.dtype == np.float32
    assert np.isfinite(xy).all()
    assert len({tuple(place) for place in xy.tolist()}) == count


@pytest.mark.parametrize("count", [2, 6, 20])
@pytest.mark.parametrize("kind", ["equal", "zero", "outlier", "one axis"])
def test_layout__odd_pools_are_finite(count, kind):
    vectors = np.ones((count, 8), dtype=np.float32)
    if kind == "zero":
        vectors[:] = 0
    if kind == "outlier":
        vectors = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
        vectors[0] = 1e6
    if kind == "one axis":
        vectors = np.arange(1, count + 1, dtype=np.float32)[:, None]
    xy = layout(vectors)
    assert xy.shape == (count, 2)
    assert np.isfinite(xy).all()


def test_layout__same_seed_same_picture():
    vectors, _ = clusters(120)
    assert np.array_equal(layout(vectors, seed=3), layout(vectors, seed=3))
    assert not np.array_equal(layout(vectors, seed=3), layout(vectors, seed=4))


def test_layout__groups_stay_together():
    vectors, member = clusters(300)
    xy = layout(vectors)
    far = ((xy[:, None] - xy[None]) ** 2).sum(-1)
    np.fill_diagonal(far, np.inf)
    assert (member[far.argsort(axis=1)[:, :5]] == member[:, None]).mean() > 0.99
    assert trustworthiness(vectors, xy, sample=300) > 0.85


def test_layout__landmarks_place_the_rest(monkeypatch):
    vectors, member = clusters(900)
    monkeypatch.setattr(module, "LANDMARKED", 500)
    monkeypatch.setattr(module, "LANDMARKS", 300)
    xy = layout(vectors)
    assert xy.shape == (900, 2)
    assert np.isfinite(xy).all()
    centres = np.stack([np.median(xy[member == group], axis=0) for group in range(6)])
    own = ((xy[:, None] - centres[None]) ** 2).sum(-1).argmin(axis=1)
    assert (own == member).mean() > 0.97
    assert len({tuple(place) for place in xy.tolist()}) > 890  # no piles


def test_layout__refuses():
    with pytest.raises(InputError):
        layout(np.full((9, 3), np.nan, dtype=np.float32))
    with pytest.raises(UsageError):
        layout(np.ones((9, 3), dtype=np.float32), neighbours=1)
    with pytest.raises(UsageError):
        layout(np.ones((9, 3), dtype=np.float32), min_dist=2.0)


def test_layout__tells_its_progress_and_can_be_stopped():
    class Impatient(Silent):
        done = 0

        def advance(self, done=1):
            self.done += done
            if self.done == 7:
                raise Stopped(130)

    progress = Impatient()
    with pytest.raises(Stopped):
        layout(clusters(60)[0], progress=progress)
    assert progress.done == 7


@pytest.mark.slow
def test_fuzzy_graph__equals_umap_learn():
    learn = pytest.importorskip("umap.umap_")
    vectors, _ = clusters(80)
    vectors[5] = vectors[6]  # a pair of duplicates
    near = neighbours(vectors, k=9)
    far = np.sqrt(np.maximum(2 - 2 * near.similarity.astype(np.float64), 0))
    own = np.arange(80)[:, None]
    theirs, _, _ = learn.fuzzy_simplicial_set(
        vectors,
        10,
        np.random.RandomState(0),
        "euclidean",
        knn_indices=np.concatenate([own, near.rows], axis=1),
        knn_dists=np.concatenate([np.zeros((80, 1)), far], axis=1).astype(np.float32),
    )
    assert np.abs((fuzzy_graph(near.rows, far) - theirs).toarray()).max() < 1e-4


def test_fuzzy_graph__weights_of_each_pair_sum_to_log2_k():
    far = np.array([[0.1, 0.2, 0.4], [0.2, 0.2, 0.9], [0.3, 0.5, 0.6], [0.1, 0.5, 0.7]])
    rows = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    graph = fuzzy_graph(rows, far).toarray()
    assert np.allclose(graph, graph.T)
    assert np.allclose(graph.diagonal(), 0)
    assert graph.max() == pytest.approx(1.0)


def test_curve__known_values():
    assert curve(min_dist=0.1) == pytest.approx((1.5769, 0.8951), abs=1e-3)  # those of umap-learn


def test_settle__draws_friends_together_and_pushes_strangers_apart():
    rows = np.array([[1], [0], [3], [2]])
    graph = fuzzy_graph(rows, np.full((4, 1), 0.5))
    start = np.array([[0, 0], [4, 0], [0, 3], [4, 3]], dtype=np.float32)
    a, b = curve(min_dist=0.1)
    xy = settle(graph, start, epochs=200, a=a, b=b, seed=0, advance=lambda: None)
    assert np.linalg.norm(xy[0] - xy[1]) < 2
    assert np.linalg.norm(xy[2] - xy[3]) < 2
    assert np.linalg.norm(xy[:2].mean(0) - xy[2:].mean(0)) > 3


def test_settle__threads_do_not_matter():
    import numba

    vectors, _ = clusters(200)
    near = neighbours(vectors, k=8)
    graph = fuzzy_graph(near.rows, np.sqrt(2 - 2 * near.similarity))
    start = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    pictures, threads = [], numba.get_num_threads()
    for number in {1, threads}:
        numba.set_num_threads(number)
        pictures.append(settle(graph, start, epochs=30, a=1.577, b=0.895, seed=9, advance=lambda: None))
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
    assert not np.array_equal(pictures[0], start)


def test_trustworthiness__perfect_and_random():
    draw = np.random.default_rng(0)
    flat = draw.normal(size=(200, 2)).astype(np.float32)
    lifted = np.concatenate([flat, np.full((200, 1), 50.0)], axis=1)  # unit vectors keep the plane's neighbours
    assert trustworthiness(lifted, flat, k=5) > 0.99
    assert trustworthiness(lifted, draw.permutation(flat), k=5) < 0.65
    assert trustworthiness(lifted[:2], flat[:2]) == 1.0


def test_trustworthiness__equals_the_definition():
    draw = np.random.default_rng(1)
    vectors, xy = unit(draw.normal(size=(30, 4)).astype(np.float32)), draw.normal(size=(30, 2))
    k, wrong = 4, 0
    for i in range(30):
        order = [j for j in np.argsort(-(vectors @ vectors[i])) if j != i]
        shown = [j for j in np.argsort(((xy - xy[i]) ** 2).sum(axis=1)) if j != i][:k]
        wrong += sum(max(0, order.index(j) + 1 - k) for j in shown)
    assert trustworthiness(vectors, xy, k=k) == pytest.approx(1 - 2 / (30 * k * (60 - 3 * k - 1)) * wrong)

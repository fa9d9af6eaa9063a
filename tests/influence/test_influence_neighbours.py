"""Embeddings, k-means and neighbours against the obvious way."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from chips_core.errors import InputError
from chips_core.influence.clusters import kmeans
from chips_core.influence.embedding import Embeddings, back_to_rows
from chips_core.influence.neighbours import first_seen_codes, mean_of_nearest, nearest_others, same_rows


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def embeddings_of(features: Tensor, *, head: Tensor | None = None) -> Embeddings:
    return Embeddings(features, head, torch.arange(len(features)))


def brute_neighbours(x: Tensor, *, k: int) -> list[list[int]]:
    x = torch.nn.functional.normalize(x.to(torch.float32), dim=1)
    cosines = (x @ x.T).tolist()
    return [
        sorted((j for j in range(len(x)) if j != i), key=lambda j, i=i: (-cosines[i][j], j))[:k] for i in range(len(x))
    ]


def test_take__projects_normalises_and_follows_the_order() -> None:
    features, head = normal(5, 3), normal(2, 3, seed=1)
    key = torch.tensor([40, 10, 30, 0, 20])
    embeddings = Embeddings(features, head, torch.argsort(key))
    raw = features[[3, 1, 4, 2, 0]] @ head.T
    torch.testing.assert_close(embeddings.take(slice(0, 5)), raw / raw.norm(dim=1, keepdim=True))
    assert back_to_rows(torch.arange(5), rows=embeddings.rows).tolist() == [4, 1, 3, 0, 2]


def test_take__half_precision_becomes_single() -> None:
    assert embeddings_of(torch.ones(2, 3, dtype=torch.float16)).take(slice(0, 2)).dtype == torch.float32


@pytest.mark.parametrize("bad", [0.0, torch.nan, torch.inf])
def test_take__names_the_rows_that_have_no_direction(bad: float) -> None:
    features = torch.ones(4, 3)
    features[2] = bad
    with pytest.raises(InputError, match="rows 2"):
        Embeddings(features, None, torch.tensor([3, 2, 1, 0])).take(slice(0, 4))


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 1000))
def test_nearest_others__equals_brute_force(count: int, k: int, seed: int) -> None:
    x = normal(count, 4, seed=seed)
    found = nearest_others(embeddings_of(x), k=k, seed=0)
    for row, expected in zip(found.position.tolist(), brute_neighbours(x, k=k), strict=True):
        assert row[: len(expected)] == expected
        assert row[len(expected) :] == [-1] * (k - len(expected))


def test_nearest_others__ties_go_to_the_lower_position() -> None:
    found = nearest_others(embeddings_of(torch.ones(6, 3)), k=3, seed=0)
    assert found.position.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2], [0, 1, 2]]


def test_nearest_others__tiles_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = embeddings_of(normal(100, 8))
    whole = nearest_others(embeddings, k=7, seed=0).position
    monkeypatch.setattr("chips_core.influence.neighbours.TILE", 13)
    monkeypatch.setattr("chips_core.influence.neighbours.ASKERS", 9)
    assert torch.equal(nearest_others(embeddings, k=7, seed=0).position, whole)


def test_nearest_others__negative_cosines_keep_their_order_and_value() -> None:
    x = torch.tensor([[1.0, 0], [-1, 0.1], [-1, 0.2], [-1, 0.3]])
    found = nearest_others(embeddings_of(x), k=3, seed=0)
    assert found.position[0].tolist() == [3, 2, 1]
    unit = torch.nn.functional.normalize(x, dim=1)
    torch.testing.assert_close(found.similarity[0], (unit @ unit[0])[[3, 2, 1]])


def test_nearest_others__cells_find_most_of_what_is_near() -> None:
    centres = normal(30, 16, seed=3)
    x = centres.repeat_interleave(20, dim=0) + 0.2 * normal(600, 16, seed=4)
    exact = nearest_others(embeddings_of(x), k=5, seed=0).position
    cells = nearest_others(embeddings_of(x), k=5, seed=0, exact_up_to=10).position
    shared = [len(set(a) & set(b)) / 5 for a, b in zip(exact.tolist(), cells.tolist(), strict=True)]
    assert sum(shared) / len(shared) > 0.95


def test_kmeans__separate_blobs_become_the_clusters() -> None:
    centres = torch.eye(4, dtype=torch.float64)
    x = centres.repeat_interleave(10, dim=0) + 0.01 * normal(40, 4)
    found = kmeans(embeddings_of(x), clusters=12, seed=1)
    for cluster in found.members():
        assert len({int(p) // 10 for p in cluster}) <= 1
    assert sorted(torch.cat(found.members()).tolist()) == list(range(40))


def test_kmeans__does_not_depend_on_the_order_of_the_pool() -> None:
    x, key = normal(50, 6), torch.randperm(50, generator=torch.Generator().manual_seed(5))
    shuffled = torch.randperm(50, generator=torch.Generator().manual_seed(6))
    a = kmeans(Embeddings(x, None, torch.argsort(key)), clusters=5, seed=0)
    b = kmeans(Embeddings(x[shuffled], None, torch.argsort(key[shuffled])), clusters=5, seed=0)
    assert torch.equal(a.of, b.of)


def test_kmeans__starts_are_drawn_by_the_seed() -> None:
    embeddings = embeddings_of(normal(60, 6))
    first, again, other = (kmeans(embeddings, clusters=6, seed=seed).of for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_kmeans__more_clusters_than_pairs_and_identical_pairs() -> None:
    assert len(kmeans(embeddings_of(normal(2, 3)), clusters=9, seed=0).centres) == 2
    same = kmeans(embeddings_of(torch.ones(5, 3)), clusters=3, seed=0)
    assert torch.isfinite(same.centres).all()
    assert len(set(same.of.tolist())) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_same_rows__codes_equal_rows_by_first_appearance(dtype: torch.dtype) -> None:
    features = torch.tensor([[1, 2], [0.0, 5], [1, 2], [-0.0, 5], [2, 1]], dtype=dtype)
    assert same_rows(features, rows=torch.arange(5)).tolist() == [0, 1, 0, 1, 2]


def test_first_seen_codes__by_hand() -> None:
    assert first_seen_codes(torch.tensor([7, 3, 7, 9, 3])).tolist() == [0, 1, 0, 2, 1]


def mean_of_nearest_slowly(values: Tensor, *, x: Tensor, k: int) -> Tensor:
    """The expectation over a random order of ties, with captions grouped by equality of rows."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for i, row in enumerate(x.tolist()):
        groups.setdefault(tuple(row), []).append(i)
    unit = torch.nn.functional.normalize(x.to(torch.float32), dim=1)
    out = []
    for i in range(len(x)):
        near = sorted(groups.values(), key=lambda g, i=i: (-float(unit[i] @ unit[g[0]]), g[0]))
        left, total = k, 0.0
        for group in near:
            others = [j for j in group if j != i]
            take = min(left, len(others))
            if take:
                total += take * float(values[others].mean())
            left -= take
        out.append(total / (k - left) if k > left else float(values[i]))
    return torch.tensor(out, dtype=torch.float64)


@given(st.integers(1, 25), st.integers(1, 15), st.integers(1, 8), st.integers(0, 500))
def test_mean_of_nearest__equals_the_slow_way(count: int, k: int, distinct: int, seed: int) -> None:
    captions = normal(distinct, 5, seed=seed)
    x = captions[torch.randint(distinct, (count,), generator=torch.Generator().manual_seed(seed))]
    values = normal(count, seed=seed + 1)
    embeddings = embeddings_of(x)
    codes = same_rows(x, rows=embeddings.rows)
    fast = mean_of_nearest(values, embeddings=embeddings, codes=codes, k=k, seed=0)
    torch.testing.assert_close(fast, mean_of_nearest_slowly(values, x=x, k=k))


def test_mean_of_nearest__one_pair_is_its_own_mean() -> None:
    found = mean_of_nearest(
        torch.tensor([3.0]), embeddings=embeddings_of(torch.ones(1, 2)), codes=torch.tensor([0]), k=15, seed=0
    )
    assert found.tolist() == [3.0]

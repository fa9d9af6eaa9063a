"""CLIPScore, NormSim and SemDeDup by the obvious loops."""

import math

import pytest
import torch
from torch import Tensor

from chips_core.influence.clusters import kmeans
from chips_core.influence.embedding import Embeddings
from chips_core.influence.similarity import clipscore, normsim, semdedup


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def embeddings_of(features: Tensor) -> Embeddings:
    return Embeddings(features, None, torch.arange(len(features)))


def test_clipscore__is_the_cosine() -> None:
    x, y = normal(7, 3), normal(7, 3, seed=1)
    expected = [float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)) for a, b in zip(x, y, strict=True)]
    assert clipscore(embeddings_of(x), texts=embeddings_of(y)).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("p", [2.0, math.inf])
def test_normsim__is_the_norm_over_the_targets(p: float) -> None:
    x, t = normal(6, 4), normal(9, 4, seed=1)
    cosines = torch.nn.functional.normalize(x, dim=1) @ torch.nn.functional.normalize(t, dim=1).T
    expected = cosines.amax(dim=1) if math.isinf(p) else (cosines**2).sum(dim=1).sqrt()
    torch.testing.assert_close(normsim(embeddings_of(x), targets=embeddings_of(t), p=p), expected)


def semdedup_slowly(x: Tensor, *, clusters: int, seed: int) -> list[float]:
    found = kmeans(embeddings_of(x), clusters=clusters, seed=seed)
    unit = torch.nn.functional.normalize(x, dim=1)
    out = [-1.0] * len(x)
    for c in range(clusters):
        members = [i for i in range(len(x)) if int(found.of[i]) == c]
        members.sort(key=lambda i, c=c: float(unit[i] @ found.centres[c]))
        for place, i in enumerate(members):
            out[i] = max([float(unit[i] @ unit[j]) for j in members[:place]], default=-1.0)
    return out


def test_semdedup__equals_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chips_core.influence.similarity.ROWS", 3)
    x = normal(40, 5)
    found = semdedup(embeddings_of(x), clusters=4, seed=0)
    assert found.tolist() == pytest.approx(semdedup_slowly(x, clusters=4, seed=0))


def test_semdedup__of_two_equal_images_one_is_a_duplicate() -> None:
    x = normal(12, 5)
    x[7] = x[3]
    found = semdedup(embeddings_of(x), clusters=1, seed=0)
    assert sorted([found[3] > 0.999, found[7] > 0.999]) == [False, True]
    assert semdedup(embeddings_of(x[:1]), clusters=None, seed=0).tolist() == [-1.0]

"""K-means on unit embeddings (spherical: nearest by cosine, centres of length one), seeded and bounded in memory."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.influence.embedding import Embeddings

ROUNDS = 20
TRAINED_ON = 64  # at most so many embeddings a cluster teach the centres; the others are only assigned


@dataclass(frozen=True)
class Clusters:
    """Centres of length one, (C, P), and the cluster of every position, (N,)."""

    centres: Tensor
    of: Tensor

    def members(self) -> list[Tensor]:
        """Returns the positions of each cluster, ascending."""
        order = torch.argsort(self.of, stable=True)
        sizes = torch.bincount(self.of, minlength=self.centres.shape[0])
        return list(torch.split(order, sizes.tolist()))


def about_root(count: int) -> int:
    """Returns the number of clusters of about as many members each: the root of `count`."""
    return max(1, math.isqrt(count))


def kmeans(embeddings: Embeddings, *, clusters: int, seed: int) -> Clusters:
    """Returns clusters by Lloyd's rounds from seeded distinct starts; a cluster that runs empty keeps its centre.

    Args:
        embeddings: what to cluster.
        clusters: how many; no more than there are embeddings are made.
        seed: of the starts and of the sample that teaches the centres.
    """
    count = len(embeddings)
    clusters = max(1, min(clusters, count))
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(count, generator=generator)
    centres = embeddings.take(drawn[:clusters])
    teachers = embeddings.subset(torch.sort(drawn[: clusters * TRAINED_ON]).values)
    before: Tensor | None = None
    for _ in range(ROUNDS):
        of, sums = _assign(teachers, centres=centres)
        if before is not None and torch.equal(of, before):
            break
        filled = sums.norm(dim=1) > 0
        centres = torch.where(filled[:, None], torch.nn.functional.normalize(sums, dim=1).to(centres.dtype), centres)
        before = of
    return Clusters(centres, _assign(embeddings, centres=centres)[0])


def _assign(embeddings: Embeddings, *, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the nearest centre of each position, and the sum of each centre's embeddings in float64, (C, P)."""
    of = torch.empty(len(embeddings), dtype=torch.int64)
    sums = torch.zeros(centres.shape, dtype=torch.float64)
    for piece, x in embeddings.pieces():
        of[piece] = (x @ centres.T).argmax(dim=1)
        sums.index_add_(0, of[piece], x.to(torch.float64))
    return of, sums

"""Nearest neighbours by cosine, and what is made of them: the loss residual, kNN-Shapley.

Exact up to `EXACT_UP_TO` embeddings, in tiles that merge their best k (never N x N numbers at once); beyond, k-means
cells, each searched in its `PROBES` nearest cells. Ties always go to the lower position: similarity and position are
packed into one integer, since a bare top-k breaks ties at random.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.influence.clusters import about_root, kmeans
from chips_core.influence.embedding import Embeddings

EXACT_UP_TO = 50_000
PROBES = 16
TILE = 8192  # candidates a time
ASKERS = 1024  # askers a time
LOW_WORD = 0xFFFFFFFF
NOBODY = torch.iinfo(torch.int64).min


@dataclass(frozen=True)
class Neighbours:
    """The nearest others of each position, nearest first.

    Attributes:
        position: (N, k) positions; -1 where there are fewer than k others.
        similarity: (N, k) cosines; -inf there.
    """

    position: Tensor
    similarity: Tensor


def nearest_others(embeddings: Embeddings, *, k: int, seed: int, exact_up_to: int = EXACT_UP_TO) -> Neighbours:
    """Returns the k nearest other positions of every position.

    Args:
        embeddings: askers and candidates at once.
        k: how many neighbours.
        seed: of the cells, where cells are used.
        exact_up_to: number of embeddings up to which every pair is compared.
    """
    count = len(embeddings)
    best = torch.full((count, k), NOBODY)
    everybody = torch.arange(count)
    if count <= exact_up_to:
        best = _search(embeddings, askers=everybody, among=everybody, k=k)
    else:
        cells = kmeans(embeddings, clusters=about_root(count), seed=seed)
        members = cells.members()
        near = torch.argsort(cells.centres @ cells.centres.T, dim=1, descending=True, stable=True)[:, :PROBES]
        for cell, askers in enumerate(members):
            among = torch.sort(torch.cat([members[int(c)] for c in near[cell]])).values
            best[askers] = _search(embeddings, askers=askers, among=among, k=k)
    return _unpack(best)


def _search(embeddings: Embeddings, *, askers: Tensor, among: Tensor, k: int) -> Tensor:
    """Returns the packed k best of `among` (ascending) for each asker, itself left out, (len(askers), k)."""
    best = torch.full((len(askers), k), NOBODY)
    for first in range(0, len(askers), ASKERS):
        asking = askers[first : first + ASKERS]
        x = embeddings.take(asking)
        kept = best[first : first + ASKERS]
        for start in range(0, len(among), TILE):
            tile = among[start : start + TILE]
            cosines = (x @ embeddings.take(tile).T).to(torch.float32)
            place = torch.searchsorted(tile, asking).clamp(max=len(tile) - 1)
            myself = torch.nonzero(tile[place] == asking)[:, 0]
            cosines[myself, place[myself]] = -torch.inf
            both = torch.cat([kept, _best_packed(cosines, positions=tile, k=k)], dim=1)
            kept = both.topk(k, dim=1).values  # keys are all different, but for NOBODY: no tie is left to chance
        best[first : first + ASKERS] = kept
    return best


def _best_packed(cosines: Tensor, *, positions: Tensor, k: int) -> Tensor:
    """Returns the packed k best of each row, (n, ≤ k); only rows whose k-th place is a tie are packed as a whole."""
    if cosines.shape[1] <= k + 1:
        return _pack(cosines, positions=positions)
    values, places = cosines.topk(k + 1, dim=1)
    best = _pack(values[:, :k], positions=positions[places[:, :k]])
    tied = torch.nonzero(values[:, k - 1] == values[:, k])[:, 0]
    if len(tied):
        best[tied] = _pack(cosines[tied], positions=positions).topk(k, dim=1).values
    return best


def _pack(similarity: Tensor, *, positions: Tensor) -> Tensor:
    """Returns integers that sort by (similarity, lower position first); NOBODY for -inf."""
    bits = similarity.add(0.0).view(torch.int32)  # + 0.0 makes one zero of the two
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
    return ((ordered << 32) | (LOW_WORD - positions)).masked_fill(similarity == -torch.inf, NOBODY)


def _unpack(packed: Tensor) -> Neighbours:
    """Returns positions and similarities from packed integers."""
    nobody = packed == NOBODY
    position = LOW_WORD - (packed & LOW_WORD)
    ordered = (packed >> 32).to(torch.int32)
    similarity = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).view(torch.float32)
    return Neighbours(position.masked_fill(nobody, -1), similarity.masked_fill(nobody, -torch.inf))


def same_rows(features: Tensor, *, rows: Tensor) -> Tensor:
    """Returns a code per position, equal where the feature rows are equal to the last bit, (N,).

    Codes are numbered by first appearance. Rows are compared by a 64-bit hash of their bits (two of a million
    different rows collide with a chance of 3e-8).
    """
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (features.shape[1],), generator=generator)
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[features.element_size()]
    hashes = torch.empty(len(rows), dtype=torch.int64)
    for start in range(0, len(rows), TILE):
        x = features[rows[start : start + TILE]].add(0.0).view(bits).to(torch.int64)
        hashes[start : start + TILE] = (x * factors).sum(dim=1)  # wraps, as a hash may
    return first_seen_codes(hashes)


def first_seen_codes(values: Tensor) -> Tensor:
    """Returns 0, 1, 2 … for the different values in the order of their first appearance, (N,)."""
    distinct, inverse = torch.unique(values, return_inverse=True)
    first = torch.full((len(distinct),), len(values)).scatter_reduce_(
        0, inverse, torch.arange(len(values)), reduce="amin"
    )
    rank = torch.empty_like(first)
    rank[torch.argsort(first)] = torch.arange(len(first))
    return rank[inverse]


def mean_of_nearest(values: Tensor, *, embeddings: Embeddings, codes: Tensor, k: int, seed: int) -> Tensor:
    """Returns for each position the mean of `values` over its k most similar others, (N,), float64.

    Templated captions tie by the hundred, so "the k nearest" would be whoever comes first. Positions of equal code
    (equal captions) therefore count as one place with a mean: the own place first, without oneself, then the nearest
    other places until k are counted; a place with more members than are still wanted gives its mean for the rest.
    This is the expectation over a random order of the ties.

    Args:
        values: (N,) what to average, by position.
        embeddings: by which to tell similar.
        codes: (N,) equal for what is the same, numbered from 0 by first appearance.
        k: how many others count.
        seed: of the neighbour search.

    Returns:
        The means; a position without any other gets its own value.
    """
    values = values.to(torch.float64)
    size = torch.bincount(codes).to(torch.float64)
    total = torch.zeros(len(size), dtype=torch.float64).index_add_(0, codes, values)
    first = torch.full((len(size),), len(codes)).scatter_reduce_(0, codes, torch.arange(len(codes)), reduce="amin")
    near = nearest_others(embeddings.subset(first), k=min(k, max(1, len(size) - 1)), seed=seed).position
    twins = size[codes] - 1
    taken = twins.clamp(max=k)
    weighted = taken * (total[codes] - values) / twins.clamp(min=1)
    for nearest in near.T:  # by column: (N, k) numbers of every pair at once would be a pool of its own
        place = nearest[codes]
        there = place.clamp(min=0)
        weight = torch.minimum(k - taken, size[there]) * (place >= 0)
        weighted = weighted + weight * total[there] / size[there]
        taken = taken + weight
    return torch.where(taken > 0, weighted / taken.clamp(min=1), values)

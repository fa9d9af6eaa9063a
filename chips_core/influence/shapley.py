"""kNN-Shapley: what each pair is worth to a nearest-neighbour classifier of the target set, exactly.

R. Jia, D. Dao, B. Wang, F. A. Hubis, N. M. Gürel, B. Li, C. Zhang, C. Spanos, D. Song: Efficient Task-Specific Data
Valuation for Nearest Neighbor Algorithms. PVLDB 12(11), 2019.

The value of a set S for one target pair t is v(S) = (1/K) Σ_{k ≤ min(K, |S|)} 1[y of its k-th nearest in S = y_t].
Sorted by nearness to t (α_1 nearest), the Shapley value obeys the paper's recursion [paper]:

    s(α_N) = 1[y_{α_N} = y_t] · min(K, N) / (N K)
    s(α_i) = s(α_{i+1}) + (1[y_{α_i} = y_t] − 1[y_{α_{i+1}} = y_t]) / K · min(K, i) / i

The method's value is the mean over the target set. Intuition: a pair earns where it is near a target pair and agrees
with it, and pays where it is near and disagrees.
"""

import torch
from torch import Tensor

from chips_core.influence.embedding import Embeddings

NUMBERS = 4_000_000  # similarities held at a time


def knn_shapley(pool: Embeddings, *, labels: Tensor, targets: Tensor, target_labels: Tensor, k: int) -> Tensor:
    """Returns the kNN-Shapley value of every position, (N,), float64; they sum to the classifier's mean v.

    Args:
        pool: N embeddings.
        labels: (N,) class codes by position; a negative one agrees with nothing.
        targets: (T, P) unit embeddings.
        target_labels: (T,) class codes.
        k: neighbours that vote.
    """
    count = len(pool)
    values = torch.zeros(count, dtype=torch.float64)
    at_once = max(1, NUMBERS // count)
    for start in range(0, len(targets), at_once):
        asked = targets[start : start + at_once]
        cosines = torch.empty(len(asked), count, dtype=asked.dtype)
        for piece, x in pool.pieces():
            cosines[:, piece] = asked @ x.to(asked.dtype).T
        nearest = torch.sort(cosines, dim=1, descending=True, stable=True).indices
        agrees = labels[nearest] == target_labels[start : start + at_once, None]
        agrees &= target_labels[start : start + at_once, None] >= 0
        by_nearness = _recursion(agrees.to(torch.float64), k=k)
        for order, value in zip(nearest, by_nearness, strict=True):
            values[order] += value
    return values / len(targets)


def _recursion(agrees: Tensor, *, k: int) -> Tensor:
    """Returns Shapley values by nearness, (T, N), from agreement by nearness, (T, N)."""
    count = agrees.shape[1]
    i = torch.arange(1, count, dtype=torch.float64)
    steps = (agrees[:, :-1] - agrees[:, 1:]) / k * i.clamp(max=k) / i
    last = agrees[:, -1:] * min(k, count) / (count * k)
    return torch.cat([steps, last], dim=1).flip(1).cumsum(1).flip(1)

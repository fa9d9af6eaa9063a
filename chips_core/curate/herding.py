"""Herding: rows in an order in which the first few, however many, stand for all of them.

Welling, "Herding Dynamical Weights to Learn", ICML 2009; Chen, Welling and Smola, "Super-Samples from Kernel Herding",
UAI 2010. With z = (x̂, ŷ), both embeddings of a pair, the next pair is the one that brings the mean of the chosen
nearest to the mean μ of all:

    next = argmax_i  (t + 1) z_i·μ - Σ_{j chosen} z_i·z_j          after t picks

The first pairs are typical ones and every later one makes up for what is still missing, so a small subset keeps the
proportions of whatever the embeddings tell apart. Large groups are dealt into blocks, which are herded each by itself
[decided]: O(n · BLOCK) instead of O(n²).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
BLOCK = 1024  # pairs that are herded together


def herded(image: NDArray[Any], text: NDArray[Any], *, rows: Rows, groups: NDArray[Any], seed: int) -> Rows:
    """Returns the rows so that every beginning stands for all: group by group by herding, the groups in proportion.

    Args:
        image: (N, D) unit embeddings; any floats.
        text: (N, D) likewise.
        rows: (n,) the candidates, ties going to the earlier one.
        groups: (N,) names, such as sources: each keeps its share.
        seed: of the dealing of large groups into blocks.
    """
    codes = np.unique(groups[rows].astype(str), return_inverse=True)[1]
    order, place = np.empty(len(rows), np.int64), np.empty(len(rows))
    start = 0
    for members in _blocks(codes, seed=seed):
        z = np.hstack([np.asarray(part[rows[members]], np.float64) for part in (image, text)])
        end = start + len(members)
        order[start:end] = members[_herd(z @ z.T)]
        place[start:end] = (np.arange(len(members)) + 0.5) / len(members)
        start = end
    return rows[order[np.lexsort((order, place))]]


def in_proportion(rows: Rows, groups: NDArray[Any]) -> Rows:
    """Returns rows, already in an order, so that every beginning holds each group in proportion to its size."""
    codes = np.unique(groups[rows].astype(str), return_inverse=True)[1]
    place = np.empty(len(rows))
    for code in range(int(codes.max(initial=-1)) + 1):
        members = np.flatnonzero(codes == code)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return rows[np.argsort(place, kind="stable")]


def _blocks(codes: Rows, *, seed: int) -> list[Rows]:
    """Returns the members of each group, a group above BLOCK dealt into parts of nearly equal size."""
    draw, found = np.random.default_rng(seed), []
    for code in range(int(codes.max(initial=-1)) + 1):
        members = np.flatnonzero(codes == code)
        parts = -(-len(members) // BLOCK)
        dealt = np.array_split(draw.permutation(members), parts) if parts > 1 else [members]
        found += [np.sort(part) for part in dealt]
    return found


def _herd(kernel: NDArray[np.float64]) -> Rows:
    """Returns the order in which herding takes the members of one block, (n,)."""
    mean, chosen = kernel.mean(1), np.zeros(len(kernel))
    left, order = np.zeros(len(kernel)), np.empty(len(kernel), np.int64)
    for turn in range(len(kernel)):
        best = int(np.argmax((turn + 1) * mean - chosen + left))
        order[turn] = best
        left[best] = -np.inf
        chosen += kernel[best]
    return order

"""UMAP's embedding of a graph (McInnes, Healy, Melville 2018, §3.2), by sweeps that give the same picture each time.

In every sweep each pair reads where all pairs stood after the sweep before, and moves only itself: drawn to its
neighbours, pushed from pairs picked at random. So all pairs can move at once, on any number of threads, and one seed
gives one picture, which umap-learn gives only on a single thread.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

PUSHES = 5  # random pairs pushed from for each neighbour drawn to [paper: negative sample rate]
REACH = 4.0  # no single step is longer
PULLS = 2.0  # both ends of an edge move in umap-learn; here each end sees the edge as its own and moves for both

_one_at_a_time = threading.Lock()  # numba's plainest thread pool must not be entered twice

Floats = NDArray[np.float32]


def settle(
    graph: Any,
    start: Floats,
    *,
    epochs: int,
    a: float,
    b: float,
    seed: int,
    advance: Callable[[], None],
) -> Floats:
    """Returns the positions (N, 2) after `epochs` sweeps from `start` over a symmetric sparse `graph` (N, N)."""
    edges = graph.copy()
    if not edges.nnz:
        return start
    edges.data[edges.data < edges.data.max() / epochs] = 0.0  # too weak to be visited even once
    edges.eliminate_zeros()
    every = (edges.data.max() / edges.data).astype(np.float32)
    due = every.copy()
    ends, others = edges.indptr.astype(np.int64), edges.indices.astype(np.int64)
    sweep = _compiled()
    old, new = start.astype(np.float32), np.empty_like(start, dtype=np.float32)
    for epoch in range(epochs):
        pace = np.float32(1.0 - epoch / epochs)
        with _one_at_a_time:
            sweep(old, new, ends, others, every, due, np.float32(a), np.float32(b), pace, epoch, np.uint64(seed))
        old, new = new, old
        advance()
    return old


@functools.cache
def _compiled() -> Any:
    """Returns one sweep, compiled at first use."""
    import numba

    @numba.njit(fastmath={"contract", "arcp", "nsz"}, inline="always")
    def clipped(value):  # type: ignore[no-untyped-def]
        return min(np.float32(REACH), max(np.float32(-REACH), value))

    @numba.njit(inline="always")
    def mixed(state):  # type: ignore[no-untyped-def]
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))

    @numba.njit(parallel=True, fastmath={"contract", "arcp", "nsz"}, nogil=True)
    def sweep(old, new, ends, others, every, due, a, b, pace, epoch, seed):  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917
        pairs = old.shape[0]
        small = np.float32(0.001)
        for i in numba.prange(pairs):
            x, y = old[i, 0], old[i, 1]
            state = mixed(seed + np.uint64(i) * np.uint64(0x9E3779B97F4A7C15) + (np.uint64(epoch) << np.uint64(40)))
            for edge in range(ends[i], ends[i + 1]):
                if due[edge] > epoch + 1:
                    continue
                due[edge] += every[edge]
                j = others[edge]
                across, up = x - old[j, 0], y - old[j, 1]
                square = across * across + up * up
                if square > 0:
                    power = square**b
                    pull = -np.float32(2.0) * a * b * power / (square * (a * power + np.float32(1.0)))
                    x += pace * np.float32(PULLS) * clipped(pull * across)
                    y += pace * np.float32(PULLS) * clipped(pull * up)
                for _ in range(PUSHES):
                    state = mixed(state + np.uint64(0x9E3779B97F4A7C15))
                    other = np.int64(state % np.uint64(pairs))
                    across, up = x - old[other, 0], y - old[other, 1]
                    square = across * across + up * up
                    if other == i or square <= 0:
                        continue
                    push = np.float32(2.0) * b / ((small + square) * (a * square**b + np.float32(1.0)))
                    x += pace * clipped(push * across)
                    y += pace * clipped(push * up)
            new[i, 0], new[i, 1] = x, y

    return sweep

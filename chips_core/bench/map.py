"""Benchmark `map`: the layout of a pool against plain `umap.UMAP().fit_transform`, on the same vectors in one run.

The vectors are made up: groups that each lie along a few directions of their own, as images of one kind do, with noise
in all others. Both sides are run once on a few hundred vectors first, so that nobody's compiling is counted.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chips_core.insight.trust import trustworthiness
from chips_core.insight.umap import layout
from chips_core.insight.vectors import unit
from chips_core.progress import Progress, Silent

PAIRS, QUICK_PAIRS, WARM = 50_000, 5_000, 600
WIDTH, GROUPS, DIRECTIONS = 512, 60, 12
NOISE = 0.15  # of every coordinate, beside a spread of 1 along a group's own directions

Floats = NDArray[np.float32]


def run(*, seed: int = 0, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Returns the seconds and the trustworthiness of both, and how many times faster ours is.

    Args:
        seed: of the vectors and of the layout.
        quick: a tenth of the pairs.
        progress: told of every stage.
    """
    progress = progress or Silent()
    progress.start("map", total=2, unit="layouts")
    vectors = made_up(QUICK_PAIRS if quick else PAIRS, seed=seed)
    seconds, trust = _timed(partial(layout, seed=seed), vectors)
    progress.advance()
    umap_seconds, umap_trust = _timed(plain_umap, vectors)
    progress.advance()
    return {
        "pairs": len(vectors),
        "width": WIDTH,
        "seconds": round(seconds, 2),
        "umap_seconds": round(umap_seconds, 2),
        "speedup_vs_umap": round(umap_seconds / seconds, 3),
        "trustworthiness": round(trust, 4),
        "umap_trustworthiness": round(umap_trust, 4),
    }


def plain_umap(vectors: Floats) -> Floats:
    """Returns the layout of umap-learn as it comes."""
    import umap

    found: Floats = umap.UMAP().fit_transform(vectors)
    return found


def made_up(pairs: int, *, seed: int) -> Floats:
    """Returns unit vectors (N, WIDTH) in groups, each of a few directions of its own."""
    draw = np.random.default_rng(seed)
    middles = draw.standard_normal((GROUPS, WIDTH), dtype=np.float32)
    along = draw.standard_normal((GROUPS, DIRECTIONS, WIDTH), dtype=np.float32) / np.float32(DIRECTIONS**0.5)
    member = np.sort(draw.integers(GROUPS, size=pairs))
    vectors = np.float32(NOISE) * draw.standard_normal((pairs, WIDTH), dtype=np.float32)
    for group in range(GROUPS):
        own = member == group
        amounts = draw.standard_normal((int(own.sum()), DIRECTIONS), dtype=np.float32)
        vectors[own] += middles[group] + amounts @ along[group]
    return unit(vectors[draw.permutation(pairs)])


def _timed(make: Callable[[Floats], Floats], vectors: Floats) -> tuple[float, float]:
    """Returns the seconds and the trustworthiness of a way to lay the vectors out."""
    make(vectors[:WARM])
    began = time.perf_counter()
    xy = make(vectors)
    return time.perf_counter() - began, trustworthiness(vectors, xy)

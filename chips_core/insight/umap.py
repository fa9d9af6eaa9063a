"""The map of a pool: UMAP coordinates of its embeddings. A picture to find things in, never an input to a score.

    reduce to 64 axes -> neighbours (faiss) -> graph (fuzzy) -> start on the two widest axes -> settle (attraction)

Beyond `LANDMARKED` pairs a seeded sample is laid out and the others are put between their nearest landmarks. One seed
gives one layout on one machine; layouts are stored, because other machines may differ.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chips_core.errors import UsageError
from chips_core.insight.attraction import settle
from chips_core.insight.fuzzy import curve, fuzzy_graph
from chips_core.insight.neighbours import Neighbours, nearest, neighbours
from chips_core.insight.vectors import Vectors, reduced
from chips_core.progress import Progress, Silent

DIMENSIONS = 64  # axes kept for the search: it is eight times shorter, and the picture as true
LANDMARKED = 100_000
LANDMARKS = 50_000
ALL_COMPARED = 5000  # up to here no neighbour is missed
ANCHORS = 4  # landmarks that a pair is put between
START = 10.0  # half-width of the picture before settling, as in umap-learn

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LayoutSettings:
    """What makes a layout, besides the vectors."""

    seed: int = 0
    neighbours: int = 15
    min_dist: float = 0.1


def layout(
    vectors: Vectors,
    *,
    seed: int = 0,
    neighbours: int = 15,
    min_dist: float = 0.1,
    progress: Progress | None = None,
) -> Floats:
    """Returns coordinates (N, 2) of vectors (N, D), compared by cosine; finite for every finite input, N = 0 too.

    Args:
        vectors: read in slices: an array, a memory map, `vectors.Projected` or `vectors.Joint`.
        seed: of the sample, of the picks while settling and of ties.
        neighbours: how many pairs, itself included, a pair holds on to; more shows more of the whole, less of detail.
        min_dist: how close pairs may sit; 0 to 1.
        progress: told of every sweep.
    """
    settings = LayoutSettings(seed, neighbours, min_dist)
    if settings.neighbours < 2 or not 0 <= settings.min_dist <= 1:
        raise UsageError("A map needs at least 2 neighbours and a min_dist from 0 to 1.", fix="change the settings.")
    low = reduced(vectors, dimensions=DIMENSIONS, seed=seed)
    if len(low) <= LANDMARKED:
        return _laid_out(low, settings, progress or Silent())
    order = np.random.default_rng(seed).permutation(len(low))
    chosen = np.sort(order[:LANDMARKS])
    places = _laid_out(low[chosen], settings, progress or Silent())
    return _placed(low, chosen, places, seed=seed)


def _laid_out(low: Floats, settings: LayoutSettings, progress: Progress) -> Floats:
    start = _start(low, seed=settings.seed)
    if len(low) < 6:
        return start
    count = min(settings.neighbours, len(low)) - 1
    near = neighbours(low, k=count, exact=len(low) <= ALL_COMPARED)
    graph = fuzzy_graph(near.rows, _distances(near))
    a, b = curve(min_dist=settings.min_dist)
    epochs = 500 if len(low) <= 10_000 else 200
    progress.start("map", total=epochs, unit="sweeps")
    return settle(graph, start, epochs=epochs, a=a, b=b, seed=settings.seed, advance=progress.advance)


def _distances(near: Neighbours) -> NDArray[np.float64]:
    """Returns Euclidean distances of unit vectors from their cosines."""
    return np.sqrt(np.maximum(2.0 - 2.0 * near.similarity.astype(np.float64), 0.0))


def _start(low: Floats, *, seed: int) -> Floats:
    """Returns the rows on the two axes along which they differ most, with a grain of noise so that none coincide.

    A start that already shows the whole keeps far groups far, and it is the same each time.
    """
    pairs = len(low)
    flat = np.zeros((pairs, 2), dtype=np.float64)
    if pairs > 1 and low.shape[1]:
        centred = low.astype(np.float64) - low.mean(axis=0, dtype=np.float64)
        _, axes = np.linalg.eigh(centred.T @ centred)
        axes = axes[:, ::-1][:, :2]
        axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
        flat[:, : axes.shape[1]] = centred @ axes
    reach = float(np.abs(flat).max(initial=0.0))
    flat *= START / reach if reach > 1e-9 else 0.0
    noise = np.random.default_rng(seed).normal(scale=1e-4 if reach > 1e-9 else 1.0, size=flat.shape)
    return np.asarray(flat + noise, dtype=np.float32)


def _placed(low: Floats, chosen: NDArray[np.int64], places: Floats, *, seed: int) -> Floats:
    """Returns places for all rows: landmarks keep theirs, the others go between their nearest landmarks.

    Nearer landmarks count more, and a shake of the size of the gap keeps pairs from piling up on one spot.
    """
    near = nearest(low, low[chosen], k=ANCHORS, exact=False)
    far = _distances(near)
    gap = far - far[:, :1]
    weights = np.exp(-gap / np.maximum(gap.mean(axis=1, keepdims=True), 1e-9))
    weights /= weights.sum(axis=1, keepdims=True)
    spots = places[near.rows].astype(np.float64)  # (N, ANCHORS, 2)
    middle = np.einsum("ik,ikd->id", weights, spots)
    spread = np.abs(spots - middle[:, None, :]).mean(axis=(1, 2))
    shake = np.random.default_rng(seed + 1).normal(size=middle.shape)
    xy: Floats = np.asarray(middle + 0.3 * shake * np.minimum(spread, np.median(spread))[:, None], dtype=np.float32)
    xy[chosen] = places
    return xy

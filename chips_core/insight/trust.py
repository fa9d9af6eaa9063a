"""How far a map can be trusted: whether pairs that lie together on it are truly near each other.

trustworthiness = 1 - 2 / (n k (2n - 3k - 1)) * sum over pairs and their k neighbours on the map of max(0, rank - k)
(Venna and Kaski 2001) [paper], rank being a map neighbour's place among the true neighbours; from a seeded sample of
pairs, each ranked against all. 1 is perfect, a random picture gives about one half.
"""

import numpy as np
from numpy.typing import NDArray

from chips_core.insight.vectors import Vectors, gathered


def trustworthiness(
    vectors: Vectors, xy: NDArray[np.floating], *, k: int = 15, sample: int = 1000, seed: int = 0
) -> float:
    """Returns the trustworthiness of a layout (N, 2) of vectors (N, D), 1.0 where there is nothing to get wrong."""
    rows = gathered(vectors)
    count = len(rows)
    k = min(k, (count - 1) // 2)
    if k < 1:
        return 1.0
    asked = np.random.default_rng(seed).permutation(count)[:sample]
    places = np.asarray(xy, dtype=np.float64)
    wrong = sum(_intrusion(rows, places, asked[start : start + 64], k=k) for start in range(0, len(asked), 64))
    return 1.0 - 2.0 * wrong / (len(asked) * k * (2 * count - 3 * k - 1))


def _intrusion(rows: NDArray[np.float32], places: NDArray[np.float64], asked: NDArray[np.int64], *, k: int) -> float:
    """Returns how many places too far, summed, the map's neighbours of the asked pairs truly are."""
    own = np.arange(len(asked))
    far = ((places[asked][:, None, :] - places[None, :, :]) ** 2).sum(axis=2)
    far[own, asked] = np.inf
    shown = np.argpartition(far, k - 1, axis=1)[:, :k]
    nearness = rows[asked] @ rows.T
    nearness[own, asked] = -np.inf
    true = np.sort(-nearness, axis=1)
    values = -np.take_along_axis(nearness, shown, axis=1)
    ranks = np.stack([np.searchsorted(line, value) for line, value in zip(true, values, strict=True)]) + 1
    return float(np.maximum(ranks - k, 0).sum())

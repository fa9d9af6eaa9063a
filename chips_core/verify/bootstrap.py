"""Bootstrap intervals that resample whole groups: the images of one patient are not independent of each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its interval; `low` and `high` are None where fewer than two groups were seen."""

    mean: float
    low: float | None
    high: float | None


def interval(
    values: NDArray[np.float64], groups: Sequence[str], *, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> Interval | None:
    """Returns the mean of the values and its percentile interval; None where there are no values.

    Args:
        values: (n,) one number an image.
        groups: the patient of each; "" is a patient of its own.
        draws: of the bootstrap.
        level: of the interval.
        seed: of the draws.
    """
    if not len(values):
        return None
    own = [group or f"\0{place}" for place, group in enumerate(groups)]
    _, code = np.unique(np.asarray(own, dtype=object).astype(str), return_inverse=True)
    count = int(code.max()) + 1
    sums, sizes = np.bincount(code, weights=values), np.bincount(code).astype(np.float64)
    mean = float(sums.sum() / sizes.sum())
    if count < 2:
        return Interval(mean, None, None)
    draw = np.random.default_rng(seed)
    means = np.empty(draws)
    for number in range(draws):
        chosen = draw.integers(count, size=count)
        means[number] = sums[chosen].sum() / sizes[chosen].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))

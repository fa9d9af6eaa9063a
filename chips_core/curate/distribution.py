"""Distributions of one score over several sets of pairs, on the same bars so that they can be laid over each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chips_core.curate.candidates import Floats, Mask

BINS = 36
CLIP = (1.0, 99.0)  # percentiles; what lies beyond is in the first and the last bar


@dataclass(frozen=True)
class Distribution:
    """How a score lies: in all pairs, and in some of them.

    Attributes:
        edges: (bins + 1) values.
        before: (bins) shares of all pairs that have the score.
        after: for each set, (bins) shares of its pairs that have the score.
        middle: the medians, that of all pairs first; NaN-free, 0 where nothing has the score.
        zero: where zero lies between the ends, 0 to 1; None where it does not.
    """

    edges: tuple[float, ...]
    before: tuple[float, ...]
    after: tuple[tuple[float, ...], ...]
    middle: tuple[float, ...]
    zero: float | None


def distribution(values: Floats, *, among: Mask, sets: Sequence[Mask], bins: int = BINS) -> Distribution:
    """Returns how a score lies among some pairs, and in sets of them.

    Args:
        values: (N,), NaN where a pair has none.
        among: (N,) the pairs that were there to choose from.
        sets: (N,) each, what was chosen.
        bins: bars.
    """
    known = np.isfinite(values)
    groups = [values[known & mask] for mask in (among, *sets)]
    low, high = np.percentile(groups[0], CLIP).tolist() if len(groups[0]) else (0.0, 0.0)
    high = high if high > low else low + 1.0
    line = np.linspace(low, high, bins + 1)
    shares = [_shares(group, line) for group in groups]
    middle = tuple(float(np.median(group)) if len(group) else 0.0 for group in groups)
    zero = -low / (high - low) if low < 0 < high else None
    return Distribution(tuple(line.tolist()), shares[0], tuple(shares[1:]), middle, zero)


def _shares(values: Floats, line: Floats) -> tuple[float, ...]:
    counts = np.histogram(np.clip(values, line[0], line[-1]), bins=line)[0]
    return tuple((counts / max(len(values), 1)).tolist())

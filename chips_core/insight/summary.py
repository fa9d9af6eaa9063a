"""A pool in numbers: counts by column, and histograms of scores, as plain tables.

A table is a small frozen dataclass of tuples: pages draw it, the command line prints it, tests compare it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

UNKNOWN = ""  # what the pool holds where the source says nothing
CLIP = (1.0, 99.0)


@dataclass(frozen=True)
class Counts:
    """How many pairs have which value of a column, most frequent first, ties by name.

    Attributes:
        column: the column's name.
        values: as stored; "" where the source says nothing.
        counts: pairs with each value.
    """

    column: str
    values: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """All pairs."""
        return sum(self.counts)


@dataclass(frozen=True)
class Crossed:
    """How many pairs have which values of two columns; `counts[i][j]` belongs to rows[i] and columns[j]."""

    row_column: str
    column_column: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Histogram:
    """A score's distribution between its clipped ends.

    Attributes:
        edges: (bins + 1) values; the first and the last bar also hold what lies beyond them.
        counts: (bins) pairs.
        missing: pairs without a finite score.
        low: the smallest score there is.
        high: the largest.
        mean: of the finite scores; 0 where there are none.
        median: of the finite scores; 0 where there are none.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int
    low: float
    high: float
    mean: float
    median: float


def counts_of(pairs: pa.Table, column: str) -> Counts:
    """Returns the counts of one text column."""
    table = pairs.group_by(column).aggregate([([], "count_all")])
    found = sorted(zip(table[column].to_pylist(), table["count_all"].to_pylist(), strict=True), key=_by_count)
    return Counts(column, tuple(value for value, _ in found), tuple(count for _, count in found))


def counts_by(pairs: pa.Table, columns: Iterable[str]) -> tuple[Counts, ...]:
    """Returns the counts of several columns; a column in which the source says nothing at all is left out."""
    tables = [counts_of(pairs, column) for column in columns]
    return tuple(table for table in tables if table.values not in ((), (UNKNOWN,)))


def crossed(pairs: pa.Table, row_column: str, column_column: str) -> Crossed:
    """Returns the counts of two text columns against each other, both in order of frequency."""
    rows, columns = counts_of(pairs, row_column).values, counts_of(pairs, column_column).values
    row_at = {value: at for at, value in enumerate(rows)}
    column_at = {value: at for at, value in enumerate(columns)}
    table = pairs.group_by([row_column, column_column]).aggregate([([], "count_all")])
    counts = np.zeros((len(rows), len(columns)), dtype=np.int64)
    held = (table[row_column].to_pylist(), table[column_column].to_pylist(), table["count_all"].to_pylist())
    for row, column, count in zip(*held, strict=True):
        counts[row_at[row], column_at[column]] = count
    return Crossed(row_column, column_column, rows, columns, tuple(tuple(line) for line in counts.tolist()))


def changed(before: Counts, after: Counts) -> tuple[tuple[str, int, int], ...]:
    """Returns (value, pairs before, pairs after) for every value of either, in the order of `before`."""
    then, now = dict(zip(before.values, before.counts, strict=True)), dict(zip(after.values, after.counts, strict=True))
    names = list(before.values) + [value for value in after.values if value not in then]
    return tuple((name, then.get(name, 0), now.get(name, 0)) for name in names)


def histogram(scores: NDArray[np.floating], *, bins: int = 50, clip: tuple[float, float] = CLIP) -> Histogram:
    """Returns the distribution of scores (N,) between two percentiles: one outlier does not flatten the rest."""
    values = np.asarray(scores, dtype=np.float64)
    known = values[np.isfinite(values)]
    missing = len(values) - len(known)
    if not len(known):
        return Histogram((0.0, 0.0), (0,), missing, 0.0, 0.0, 0.0, 0.0)
    low, high = (float(edge) for edge in np.percentile(known, clip))
    if low == high:
        edges, counts = (low, high), (len(known),)
    else:
        line = np.linspace(low, high, bins + 1)
        edges = tuple(line.tolist())
        counts = tuple(np.histogram(np.clip(known, low, high), bins=line)[0].tolist())
    ends = float(known.min()), float(known.max())
    return Histogram(edges, counts, missing, *ends, float(known.mean()), float(np.median(known)))


def caption_lengths(pairs: pa.Table) -> NDArray[np.int64]:
    """Returns the number of words of each caption, (N,)."""
    words = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pairs["caption"]))
    empty = pc.equal(pc.utf8_trim_whitespace(pairs["caption"]), "")
    lengths = pc.if_else(empty, 0, pc.list_value_length(words))
    return np.asarray(lengths.to_numpy(), dtype=np.int64)


def _by_count(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]

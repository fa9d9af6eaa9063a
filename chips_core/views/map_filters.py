"""Filters of the map: which pairs stay lit. What is filtered out is greyed, never hidden, and never lost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from chips_core.views.map import Choice, Mask, Rows, Values

Range = tuple[float | None, float | None]
NOTHING: Mapping[str, frozenset[str]] = MappingProxyType({})
EVERYWHERE: Mapping[str, Range] = MappingProxyType({})


@dataclass(frozen=True)
class Filters:
    """What the map is narrowed to.

    Attributes:
        off: by the key of a choice, the names that are switched off.
        ranges: by the key of a score, the values that stay; None at an end means open.
    """

    off: Mapping[str, frozenset[str]] = field(default_factory=lambda: NOTHING)
    ranges: Mapping[str, Range] = field(default_factory=lambda: EVERYWHERE)

    @property
    def count(self) -> int:
        """How many columns are narrowed."""
        return len(self.off) + len(self.ranges)

    def without(self, key: str, names: Iterable[str]) -> "Filters":
        """Returns the filters with exactly these names of a column switched off."""
        left = frozenset(names)
        kept = {other: held for other, held in self.off.items() if other != key}
        return replace(self, off={**kept, key: left} if left else kept)

    def within(self, key: str, ends: Range | None) -> "Filters":
        """Returns the filters with a score narrowed to a range, or not at all."""
        kept = {other: held for other, held in self.ranges.items() if other != key}
        return replace(self, ranges=kept if ends is None or ends == (None, None) else {**kept, key: ends})

    def only(self, key: str, *, among: Iterable[str], wanted: Sequence[str]) -> "Filters":
        """Returns the filters with a column narrowed to some of its names; to none of them means to all."""
        return self.without(key, set(among) - set(wanted) if wanted else ())

    def chosen(self, key: str, *, among: Iterable[str]) -> list[str]:
        """Returns the names that a column is narrowed to; empty when it is not narrowed."""
        off = self.off.get(key)
        return [name for name in among if name not in off] if off else []


def lit(filters: Filters, values: Values, choices: Sequence[Choice], *, pairs: int, hits: Rows | None = None) -> Mask:
    """Returns (N,) the pairs that every filter leaves, and that a search found where there was one."""
    known = {choice.key: choice for choice in choices}
    mask = np.ones(pairs, dtype=np.bool_)
    if hits is not None:
        mask[:] = False
        mask[hits] = True
    for key, off in filters.off.items():
        if key in known:
            named = values.names(known[key])
            stays = np.array([name not in off for name in named.names], dtype=np.bool_)
            mask &= stays[named.codes]
    for key, (low, high) in filters.ranges.items():
        if key in known:
            numbers = values.numbers(known[key])  # no score fails every comparison
            mask &= True if low is None else numbers >= low
            mask &= True if high is None else numbers <= high
    return mask

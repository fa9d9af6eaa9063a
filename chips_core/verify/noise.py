"""Noise on purpose: captions swapped between pairs, so that it is known which pairs are wrong.

Only captions move. A pair's image, label, source and group stay its own, as when a report is filed under the wrong
study. Nothing that scores a pool is ever told which pairs were swapped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chips_core.errors import InputError, UsageError

Kind = Literal["within", "across"]
TRIES = 64  # draws of a donor before all possible donors are listed


@dataclass(frozen=True)
class SwappedCaptions:
    """A pool's captions after the swap, and the truth.

    Attributes:
        captions: one a pair.
        swapped: (N,) whether the pair's caption is now another pair's.
    """

    captions: tuple[str, ...]
    swapped: NDArray[np.bool_]


def swap_captions(
    captions: Sequence[str],
    *,
    labels: Sequence[str],
    sources: Sequence[str],
    rate: float,
    kind: Kind,
    seed: int,
) -> SwappedCaptions:
    """Returns the captions with a share of them replaced by another pair's.

    Args:
        captions: N captions.
        labels: the class of each pair, "" where it has none.
        sources: where each pair is from, "" where unknown.
        rate: share of the pairs to swap; pairs for which no donor exists are left, and others take their turn.
        kind: `within` takes captions of the same source and another label (where the pair has none, any other
            caption of the same source); `across` takes captions of another source.
        seed: of every choice.
    """
    if not 0 <= rate < 1:
        raise UsageError(f"A noise rate of {rate} is not a share.", fix="give a rate from 0 to below 1, such as 0.2.")
    draw = np.random.default_rng(seed)
    donors = _Donors(captions, labels=labels, sources=sources, kind=kind)
    wanted, count = round(rate * len(captions)), 0
    noisy, swapped = list(captions), np.zeros(len(captions), dtype=np.bool_)
    for pair in draw.permutation(len(captions)).tolist():
        if count == wanted:
            break
        donor = donors.draw_for(pair, draw)
        if donor is not None:
            noisy[pair], swapped[pair] = captions[donor], True
            count += 1
    if wanted and not count:
        need = "two labels in a source" if kind == "within" else "two sources"
        raise InputError(f"No caption can be swapped {kind} sources.", fix=f"use data with {need}, or the other kind.")
    return SwappedCaptions(tuple(noisy), swapped)


class _Donors:
    """Which pairs may give a pair their caption."""

    def __init__(self, captions: Sequence[str], *, labels: Sequence[str], sources: Sequence[str], kind: Kind) -> None:
        self._text = np.unique([caption.strip().casefold() for caption in captions], return_inverse=True)[1]
        self._label, self._source = _codes(labels), _codes(sources)
        self._unlabelled = np.array([not label for label in labels], dtype=np.bool_)
        self._within = kind == "within"
        self._members = [np.flatnonzero(self._source == code) for code in range(int(self._source.max(initial=-1)) + 1)]
        self._all = np.arange(len(captions))

    def draw_for(self, pair: int, draw: np.random.Generator) -> int | None:
        """Returns a donor for a pair, each possible one with the same chance; None where there is none."""
        near = self._members[self._source[pair]] if self._within else self._all
        for donor in near[draw.integers(len(near), size=TRIES)].tolist():
            if self._fits(pair, np.array([donor]))[0]:
                return int(donor)
        possible = near[self._fits(pair, near)]
        return int(draw.choice(possible)) if len(possible) else None

    def _fits(self, pair: int, donors: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self._within:
            other = (self._label[donors] != self._label[pair]) | self._unlabelled[pair]
        else:
            other = self._source[donors] != self._source[pair]
        return np.asarray(other & (self._text[donors] != self._text[pair]), dtype=np.bool_)


def _codes(words: Sequence[str]) -> NDArray[np.int64]:
    return np.asarray(np.unique(list(words), return_inverse=True)[1], dtype=np.int64)

"""Colours of a map: one byte a pair, 256 inks for light and for dark grounds, and a legend that explains them.

The scales are chosen to be read by colour-blind eyes: viridis for what grows, blue and orange for what is signed (zero
is calm and in the middle; orange is the side to look at, be it the low one), Okabe and Ito's inks for what is named.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Kind = Literal["sequential", "diverging", "categorical"]

TOP = 254  # the last code of a scale; the middle, 127, is the exact zero of a diverging one
MISSING = 255  # the code of a pair without a value
BINS = 51  # 51 * 5 = 255 codes: every bar of the histogram holds equally many
CLIP = (1.0, 99.0)  # percentiles that the scale runs between, so that one outlier does not wash out all others

VIRIDIS = "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725"
SIGNED_LIGHT = "0b4a8f 2f7fc1 8fbbe0 d3d7db f0b873 d9791c 9a4a00"
SIGNED_DARK = "7cc4ff 3f8fd6 2f5f8f 4a4f57 9a6a35 e08a2e ffc98a"
NAMED_LIGHT = "0072b2 e69f00 009e73 d55e00 cc79a7 56b4e9 b8a600 8c6bb1"
NAMED_DARK = "3a9bdc f0b429 1fc296 ef7b3e e39cc4 8fd0f7 f0e442 b79ae0"
GREY = {"light": "9aa0a6", "dark": "7d848c"}


@dataclass(frozen=True)
class Palette:
    """256 inks for each ground; `light` and `dark` are (256, 3) uint8."""

    light: NDArray[np.uint8]
    dark: NDArray[np.uint8]


@dataclass(frozen=True)
class Category:
    """One named colour of a legend."""

    name: str
    code: int
    count: int


@dataclass(frozen=True)
class Legend:
    """What the colours mean.

    Attributes:
        title: the name of the score or the column.
        kind: the kind of scale.
        low: the value of the first code; values below it share its colour.
        high: the value of the last code; values above it share its colour.
        bars: how many pairs per histogram bar, from low to high.
        categories: the named colours, most frequent first.
        missing: how many pairs have no value.
    """

    title: str
    kind: Kind
    low: float = 0.0
    high: float = 1.0
    bars: tuple[int, ...] = ()
    categories: tuple[Category, ...] = field(default_factory=tuple)
    missing: int = 0


class Colouring(NamedTuple):
    """One byte a pair, its inks and its legend."""

    codes: NDArray[np.uint8]
    palette: Palette
    legend: Legend


def colour_values(values: Any, kind: Kind, *, title: str = "", high_first: bool = True) -> Colouring:
    """Returns the colours of one column of a pool.

    Args:
        values: (N,) numbers for the two scales, anything with a name for `categorical`; NaN and None are missing.
        kind: sequential from low to high, diverging around zero, or categorical.
        title: what the legend calls the column.
        high_first: whether high values are what one looks for; a diverging scale is orange on that side.
    """
    if kind == "categorical":
        return _named(values, title)
    coloured = _scaled(np.asarray(values, dtype=np.float64), kind, title)
    return coloured if high_first or kind == "sequential" else coloured._replace(palette=turned(coloured.palette))


def _scaled(values: NDArray[np.float64], kind: Kind, title: str) -> Colouring:
    known = np.isfinite(values)
    low, high = _ends(values[known], kind)
    codes = np.full(len(values), MISSING, dtype=np.uint8)
    unit = max(abs(low), abs(high)) or 1.0  # numbers at the edge of what a float holds have no difference
    span = high / unit - low / unit
    share = (values[known] / unit - low / unit) / span if span > 0 else np.full(int(known.sum()), 0.5)
    codes[known] = np.rint(np.clip(share, 0.0, 1.0) * TOP).astype(np.uint8)
    bars = np.bincount(codes[known] // ((TOP + 1) // BINS), minlength=BINS)
    palette = sequential_palette() if kind == "sequential" else diverging_palette()
    missing = len(values) - int(known.sum())
    return Colouring(codes, palette, Legend(title, kind, low, high, tuple(int(n) for n in bars), missing=missing))


def _ends(known: NDArray[np.float64], kind: Kind) -> tuple[float, float]:
    """Returns the values at the two ends of the scale, outliers left outside."""
    if not len(known):
        return 0.0, 0.0
    low, high = (float(edge) for edge in np.percentile(known, CLIP))
    if kind == "diverging":
        reach = max(abs(low), abs(high))
        return -reach, reach
    return low, high


def _named(values: Any, title: str) -> Colouring:
    numbers, found = pd.factorize(np.asarray(values, dtype=object) if isinstance(values, list | tuple) else values)
    names = [str(name) for name in found]
    counts = np.bincount(numbers[numbers >= 0], minlength=len(names))
    order = sorted((at for at, name in enumerate(names) if name), key=lambda at: (-counts[at], names[at]))
    inks = len(NAMED_LIGHT.split())
    shown = order if len(order) <= inks else order[: inks - 1]
    table = np.full(len(names) + 1, MISSING, dtype=np.uint8)  # the last entry is for the number -1: no value
    table[order] = inks
    table[shown] = np.arange(len(shown))
    categories = [Category(names[at], code, int(counts[at])) for code, at in enumerate(shown)]
    rest = order[len(shown) :]
    if rest:
        categories.append(Category(f"{len(rest)} others", inks, int(counts[rest].sum())))
    codes = table[numbers]
    missing = int(np.count_nonzero(codes == MISSING))
    legend = Legend(title, "categorical", categories=tuple(categories), missing=missing)
    return Colouring(codes, categorical_palette(), legend)


def sequential_palette() -> Palette:
    """Returns viridis, its palest end left out on light ground and its darkest end on dark ground."""
    return Palette(
        _with_missing(_ramp(VIRIDIS, 0.0, 0.93), "light"),
        _with_missing(_ramp(VIRIDIS, 0.14, 1.0), "dark"),
    )


def diverging_palette() -> Palette:
    """Returns blue over a quiet grey to orange."""
    return Palette(_with_missing(_ramp(SIGNED_LIGHT), "light"), _with_missing(_ramp(SIGNED_DARK), "dark"))


def turned(scale: Palette) -> Palette:
    """Returns a scale from its last colour to its first; the colour of what has no value stays."""
    light, dark = (np.concatenate([inks[TOP::-1], inks[TOP + 1 :]]) for inks in (scale.light, scale.dark))
    return Palette(light, dark)


def categorical_palette() -> Palette:
    """Returns the inks of Okabe and Ito, grey for all others."""
    return Palette(_listed(NAMED_LIGHT, "light"), _listed(NAMED_DARK, "dark"))


def _rgb(text: str) -> NDArray[np.float64]:
    return np.array([list(bytes.fromhex(ink)) for ink in text.split()], dtype=np.float64)


def _ramp(text: str, start: float = 0.0, end: float = 1.0) -> NDArray[np.uint8]:
    anchors = _rgb(text)
    where = np.linspace(start, end, TOP + 1) * (len(anchors) - 1)
    ramp = np.stack([np.interp(where, np.arange(len(anchors)), anchors[:, band]) for band in range(3)], axis=1)
    return np.rint(ramp).astype(np.uint8)


def _with_missing(ramp: NDArray[np.uint8], ground: str) -> NDArray[np.uint8]:
    return np.concatenate([ramp, _rgb(GREY[ground]).astype(np.uint8)])


def _listed(text: str, ground: str) -> NDArray[np.uint8]:
    inks = np.repeat(_rgb(GREY[ground]).astype(np.uint8), 256, axis=0)
    listed = _rgb(text).astype(np.uint8)
    inks[: len(listed)] = listed
    return inks

"""Pictures for comparing: tables whose cells carry bars or tints, distributions laid over each other, small maps.

They are plain HTML and SVG of our own; every text is set as text, and the inks are those of the map's named colours.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from chips_core.curate.distribution import Distribution
from chips_core.numbers import number
from chips_core.views.small_map import SmallMap

HERE = Path(__file__).parent
ELEMENTS = HERE.parent / "elements.js"
INKS = 8  # different ones; the ninth series has the first ink again
Look = Literal["plain", "bars", "tint"]


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and from -1 to 1 how long its bar or how deep its tint is; None for neither."""

    text: str
    share: float | None = None


@dataclass(frozen=True)
class Line:
    """One line of a grid; `ink` is the number of the colour that stands for it, None for no colour."""

    name: str
    cells: Sequence[Cell]
    hint: str = ""
    ink: int | None = None


@dataclass(frozen=True)
class Series:
    """The distribution of one method's pairs, and its ink."""

    name: str
    shares: Sequence[float]
    ink: int


def grid(
    head: Sequence[str],
    lines: Sequence[Line],
    *,
    key: str,
    label: str,
    look: Look = "plain",
    inks: Sequence[int | None] = (),
    words: Sequence[int] = (),
) -> None:
    """Draws a table with aligned numbers.

    Args:
        head: the titles of the columns, that of the names first.
        lines: with as many cells as there are further titles.
        key: names the element.
        label: what a screen reader calls it.
        look: whether a cell's share is drawn as a bar, as a tint, or not at all.
        inks: of the columns of cells, where they have any; their titles then carry it too.
        words: which columns of cells hold words, and so begin at the left.
    """
    body = {"head": list(head), "lines": [asdict(line) for line in lines], "inks": list(inks), "words": list(words)}
    _draw({"kind": "grid", "label": label, "look": look, **body}, key=key)


def distributions(shown: Sequence[tuple[str, str, Distribution, Sequence[Series]]], *, key: str) -> None:
    """Draws scores side by side: (title, hint, all candidates, one series a method), clipped at both ends."""
    _draw(
        {
            "kind": "curves",
            "label": "Distributions of scores",
            "curves": [
                {
                    "title": title,
                    "hint": hint,
                    "low": number(found.edges[0]),
                    "high": number(found.edges[-1]),
                    "base": list(found.before),
                    "zero": found.zero,
                    "series": [asdict(one) for one in series],
                }
                for title, hint, found, series in shown
            ],
        },
        key=key,
    )


def small_maps(shown: Sequence[tuple[str, str, SmallMap, int]], *, key: str) -> None:
    """Draws small maps side by side: (title, words, picture, ink)."""
    maps = [{"title": title, "words": words, "ink": ink, **asdict(found)} for title, words, found, ink in shown]
    _draw({"kind": "maps", "label": "Where the chosen pairs lie", "maps": maps}, key=key)


def _draw(data: dict[str, Any], *, key: str) -> None:
    _component()(key=key, data=data)


@cache
def _component() -> Any:
    return st.components.v2.component(
        "chips_lens_grids",
        css=(HERE / "grids.css").read_text(encoding="utf-8"),
        js=ELEMENTS.read_text(encoding="utf-8") + (HERE / "grids.js").read_text(encoding="utf-8"),
    )

"""Small charts of our own: bars with aligned numbers, and histograms of scores; every text is set as text.

They are drawn as plain HTML and SVG, so that the first page neither loads nor waits for a chart library; colours come
from the theme, and a chart carries its numbers in words for screen readers.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from chips_core.insight.summary import Counts
from chips_core.numbers import number
from chips_core.views.runs import ScoreShape

HERE = Path(__file__).parent
ELEMENTS = HERE.parent / "elements.js"
OTHERS = "others"
TOWARDS = {"suspect": "high = suspect", "valuable": "high = valuable", "neutral": ""}


@dataclass(frozen=True)
class Bar:
    """One line of a bar chart: name, number, share of the longest possible bar, a note beside it, a hint below."""

    name: str
    value: str
    share: float
    note: str = ""
    hint: str = ""
    quiet: bool = False


def bars(shown: Sequence[Bar], *, key: str, label: str, wide: bool = False) -> None:
    """Draws horizontal bars; `label` says what they are of, `wide` leaves room for hints of a sentence."""
    kind = "bars wide" if wide else "bars"
    _draw({"kind": kind, "label": label, "bars": [asdict(bar) for bar in shown]}, key=key)


def counts(found: Counts, *, key: str, label: str, most: int) -> None:
    """Draws how many pairs each value of a column has, the rest of the values as one last bar."""
    total, longest = max(found.total, 1), max(found.counts, default=1)
    pairs = list(zip(found.values, found.counts, strict=True))
    head, rest = (pairs, []) if len(pairs) <= most else (pairs[: most - 1], pairs[most - 1 :])
    shown = [Bar(name or "not said", f"{n:,}", n / longest, f"{n / total:.0%}", quiet=not name) for name, n in head]
    if rest:
        n = sum(count for _, count in rest)
        shown.append(Bar(f"{len(rest)} {OTHERS}", f"{n:,}", 0.0, f"{n / total:.0%}", quiet=True))
    bars(shown, key=key, label=label)


def score_shapes(shapes: Sequence[ScoreShape], *, key: str) -> None:
    """Draws the distributions of several scores side by side, clipped at the first and the last percent."""
    _draw(
        {"kind": "shapes", "label": "Distributions of scores", "shapes": [_shape(shape) for shape in shapes]}, key=key
    )


def in_words(shape: ScoreShape) -> str:
    """Returns a distribution in a sentence, for whoever cannot see it."""
    found = shape.histogram
    if not sum(found.counts):
        return f"{shape.title}: no pair has this score."
    most = max(range(len(found.counts)), key=found.counts.__getitem__)
    return (
        f"{shape.title}: from {number(found.low)} to {number(found.high)}, median {number(found.median)}, "
        f"most pairs near {number((found.edges[most] + found.edges[most + 1]) / 2)}."
    )


def _shape(shape: ScoreShape) -> dict[str, Any]:
    found = shape.histogram
    low, high = found.edges[0], found.edges[-1]
    inside = low < 0 < high
    return {
        "title": shape.title,
        "meaning": shape.meaning,
        "words": in_words(shape),
        "counts": list(found.counts),
        "low": number(low),
        "high": number(high),
        "median": number(found.median),
        "middle": (found.median - low) / (high - low) if high > low else 0.5,
        "zero": -low / (high - low) if shape.signed and inside else None,
        "towards": TOWARDS[shape.higher_is],
        "low_first": shape.higher_is == "valuable",
        "edges": [number(edge) for edge in found.edges],
    }


def _draw(data: dict[str, Any], *, key: str) -> None:
    component = st.components.v2.component(
        "chips_lens_charts",
        css=(HERE / "charts.css").read_text(encoding="utf-8"),
        js=ELEMENTS.read_text(encoding="utf-8") + (HERE / "charts.js").read_text(encoding="utf-8"),
    )
    component(key=key, data=data)

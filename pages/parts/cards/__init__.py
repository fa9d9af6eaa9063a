"""A grid of pair cards: image, id and caption; a click or Enter picks one. Texts are shown literally."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent
LONGEST_TEXT = 600  # characters of a caption that a card carries; the pair's own view shows the whole


@dataclass(frozen=True)
class Card:
    """What one card shows; `row` comes back when it is picked."""

    row: int
    url: str
    title: str
    text: str
    badge: str = ""
    warn: bool = False
    chosen: bool = False
    note: str = ""


def cards(
    shown: Sequence[Card],
    *,
    key: str,
    label: str,
    clickable: bool = True,
    width: int = 168,
    lines: int = 3,
    few: bool = False,
    empty: str = "No pair to show.",
) -> int | None:
    """Draws the cards and returns the row of the one just picked; `few` cards share the whole width of a row."""
    component = st.components.v2.component(
        "chips_lens_cards",
        css=(HERE / "cards.css").read_text(encoding="utf-8"),
        js=(HERE / "cards.js").read_text(encoding="utf-8"),
    )
    data = {
        "cards": [
            {**asdict(card), "text": card.text[:LONGEST_TEXT], "note": card.note[:LONGEST_TEXT]} for card in shown
        ],
        "label": label,
        "clickable": clickable,
        "width": width,
        "lines": lines,
        "few": few,
        "empty": empty,
    }
    result = component(key=key, data=data, on_picked_change=lambda: None)
    picked = getattr(result, "picked", None)
    return int(picked) if picked is not None else None

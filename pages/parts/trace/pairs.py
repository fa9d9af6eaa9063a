"""The pairs that explain an error, harmful and helpful apart; a click ticks one."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from chips_core.store import Pool
from chips_core.views import trace as views
from chips_core.views.queue import Scored
from pages.parts.cards import Card, cards
from pages.parts.images import image_url
from pages.parts.review.resources import ledger_of

if TYPE_CHECKING:
    import numpy.typing as npt

TICKED, REALLY = "ticked", "really"  # of the address: ids of pairs, and whether they were really excluded
TITLES = {"harmful": "Pushed towards the error", "helpful": "Held against it"}


def draw_pairs(pool: Pool, scored: Scored, table: pd.DataFrame, *, ids: "npt.NDArray[np.object_]") -> tuple[int, ...]:
    """Draws both kinds and returns the places that are ticked; the address names them, so that they survive a reload.

    Args:
        pool: the pool.
        scored: its pairs.
        table: the pairs of the trace, the most harmful first.
        ids: (N,) the pair ids by place.
    """
    named = st.query_params.get_all(TICKED)
    ticked = {int(place) for place in np.flatnonzero(pd.Series(ids).isin(named))} if named else set()
    kinds = {"harmful": table[table["influence"] < 0], "helpful": table[table["influence"] > 0].iloc[::-1]}
    for kind, some in kinds.items():
        title, tick, untick = st.columns([4, 1, 1], vertical_alignment="center")
        title.subheader(f"{TITLES[kind]}: {len(some):,} {kind} pairs" if len(some) else f"{TITLES[kind]}: no pair")
        if kind == "harmful" and tick.button("Tick all", key="tick_all", width="stretch"):
            ticked |= {int(place) for place in some["place"]}
        if kind == "harmful" and untick.button("Untick all", key="untick_all", width="stretch"):
            ticked = set()
        _keep(ticked, ids)
        shown = _cards(pool, scored, some, ticked=ticked)
        picked = cards(shown, key=f"{kind}_cards", label=f"Pairs that are {kind}", lines=4, width=150)
        if picked is not None:
            _keep(ticked ^ {picked}, ids)
            st.rerun()
    return tuple(sorted(ticked))


def _keep(ticked: set[int], ids: "npt.NDArray[np.object_]") -> None:
    wanted = [str(ids[place]) for place in sorted(ticked)]
    if wanted != st.query_params.get_all(TICKED):
        st.query_params[TICKED] = wanted
        st.query_params.pop(REALLY, None)  # what was really retrained was another set


def _cards(pool: Pool, scored: Scored, some: pd.DataFrame, *, ticked: set[int]) -> list[Card]:
    inputs, held = scored.pairs["input_row"].to_numpy(), ledger_of(pool).held()
    return [
        Card(
            int(line.place),
            image_url(pool.id, int(inputs[line.row])),
            views.marks(line),
            str(line.caption),
            views.badge(line, verdict=held[line.pair_id].verdict if line.pair_id in held else ""),
            warn=bool(line.same_image or line.same_patient or line.near_copy),
            chosen=int(line.place) in ticked,
            note=f"Label: {line.label}. {views.sentence(line.role)}.",
        )
        for line in some.itertuples()
    ]

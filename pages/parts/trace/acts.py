"""What a person does with the ticked pairs: one key a verdict, undo, show them on the map, send them to the queue."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from chips_core.store import Pool
from chips_core.views.queue import Scored
from chips_core.views.verdicts import BY_KEY, CHOICES, Answer, default_reviewer
from pages.parts.opened import go_to
from pages.parts.review.component import SHORT
from pages.parts.review.controls import ONLY_CHOSEN
from pages.parts.review.resources import ledger_of
from pages.parts.selections import choose, settle

if TYPE_CHECKING:
    import pandas as pd

HERE = Path(__file__).parent
KEY, TOLD = "trace_verdicts", "trace_told"
FEW = 5  # pairs whose ids are named; of more the frames tell


def draw_acts(pool: Pool, scored: Scored, chosen: "pd.DataFrame") -> None:
    """Draws the verdict buttons, and where the ticked pairs can go."""
    told: Answer | None = st.session_state.pop(TOLD, None)
    choices = [{"key": c.key, "word": SHORT.get(c.key, str(c.verdict)), "whole": str(c.verdict)} for c in CHOICES]
    data = {
        "choices": choices,
        "count": len(chosen),
        "told": told.text if told else "",
        "ok": bool(told and told.saved),
    }

    def act() -> None:
        state = st.session_state.get(KEY)
        key = state.get("act") if isinstance(state, Mapping) else None
        st.session_state[TOLD] = judge(pool, scored, chosen, key=str(key))

    _component()(key=KEY, data=data, on_act_change=act)
    to_map, to_queue = st.columns(2)
    if to_map.button("Show on the map", key="to_map", disabled=chosen.empty, width="stretch"):
        _choose(pool, chosen)
        go_to("map")
    if to_queue.button("Send to the queue", key="to_queue", disabled=chosen.empty, width="stretch"):
        _choose(pool, chosen)
        st.session_state[ONLY_CHOSEN] = True
        go_to("misaligned")
    if 0 < len(chosen) <= FEW:
        st.text(f"Ticked: {', '.join(chosen['pair_id'].astype(str))}")


def judge(pool: Pool, scored: Scored, chosen: "pd.DataFrame", *, key: str) -> Answer | None:
    """Saves the verdict of a key on the ticked pairs, or takes the last one back; returns what became of it."""
    reviewer = str(st.session_state.get("reviewer_kept") or default_reviewer())
    if key == "z":
        return ledger_of(pool).undo(reviewer)
    if key not in BY_KEY:
        return None
    if chosen.empty:
        return Answer(False, "Tick a pair first: a verdict is on the ticked pairs.")
    return ledger_of(pool).judge_all(
        BY_KEY[key],
        pair_ids=chosen["pair_id"].tolist(),
        reviewer=reviewer,
        content_hashes=scored.content_hashes(chosen["row"].to_numpy()),
    )


def _choose(pool: Pool, chosen: "pd.DataFrame") -> None:
    mask = np.zeros(pool.outcomes().kept, dtype=np.bool_)
    mask[chosen["row"].to_numpy()] = True
    choose(pool, mask, how="trace")
    settle(pool)


@cache
def _component() -> Any:
    css, js = ((HERE / f"verdicts.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return st.components.v2.component("chips_lens_trace_verdicts", css=css, js=js)

"""One verdict on all pairs that match: how many, a few of them to look at, and one undo for all."""

import streamlit as st

from chips_core.views import queue as queues
from chips_core.views.queue import Rows
from chips_core.views.verdicts import BY_KEY, CHOICES
from pages.parts.cards import Card, cards
from pages.parts.images import image_url
from pages.parts.opened import literal
from pages.parts.review.desk import WALK, Desk
from pages.parts.review.reviewer import TOLD

SHOWN = 8


def matching(desk: Desk) -> Rows:
    """Returns the rows of the queue that its filters leave open now."""
    return desk.queue[queues.open_places(desk.codes(), desk.queue, desk.state)]


@st.dialog("One verdict on all that match", width="large")
def judge_all(desk: Desk) -> None:
    """Asks for a verdict on all matching pairs and saves it when it is confirmed."""
    rows = matching(desk)
    if not len(rows):
        st.text("No pair matches the filters.")
        return
    judged = int((desk.codes()[rows] >= 0).sum())
    st.text(
        f"{len(rows):,} pairs match." + (f" {judged:,} of them have a verdict, which would be replaced." * bool(judged))
    )
    at = [int(row) for row in rows[:: max(1, len(rows) // SHOWN)][:SHOWN]]
    lines = desk.scored.pairs.iloc[at]
    shown = [
        Card(
            int(line.input_row),
            image_url(desk.scored.pool_id, int(line.input_row)),
            line.pair_id,
            line.caption,
            line.label,
        )
        for line in lines.itertuples()
    ]
    cards(shown, key="bulk_cards", label="Some of the pairs that match", clickable=False, width=132, lines=2)
    key = st.selectbox(
        "Verdict",
        [c.key for c in CHOICES],
        format_func=lambda k: str(BY_KEY[k].verdict),
        index=None,
        key="bulk_verdict",
    )
    note = st.text_input("Note", key="bulk_note", max_chars=1000)
    sure = st.checkbox(f"Yes, all {len(rows):,} pairs", key="bulk_sure")
    if st.button("Save", type="primary", disabled=key is None or not sure):
        answer = desk.ledger.judge_all(
            BY_KEY[str(key)],
            pair_ids=desk.scored.pairs["pair_id"].iloc[rows].tolist(),
            reviewer=desk.reviewer,
            note=note,
            score_version=desk.scored.version,
            content_hashes=desk.scored.content_hashes(rows),
        )
        if not answer.saved:
            st.error(literal(answer.text))
            return
        st.session_state[TOLD] = answer
        st.session_state.pop(WALK, None)
        st.rerun()

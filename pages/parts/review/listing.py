"""The queue as a table, a hundred pairs a page, for those who prefer a list; a chosen row opens in the reviewer."""

import streamlit as st

from chips_core.numbers import column_format
from chips_core.views import queue as queues
from chips_core.views.walk import at
from pages.parts.review.bulk import judge_all
from pages.parts.review.controls import ONE, VIEW
from pages.parts.review.desk import Desk, keep, walk_of

TABLE = "review_table"
FEW = 15  # lines that stand without scrolling


def draw_list(desk: Desk) -> None:
    """Draws a page of the pairs that match."""
    codes = desk.codes()
    is_open = queues.open_places(codes, desk.queue, desk.state)
    places = is_open.nonzero()[0]
    if not len(places):
        st.info("No pair of the queue is in that state. Choose another state above, or widen the filters.")
        return
    pages = -(-len(places) // queues.PAGE)
    left, right = st.columns([5, 2], vertical_alignment="center")
    with left:
        page = st.pagination(pages, key=f"review_page_{desk.name}") if pages > 1 else 1
    if right.button(f"One verdict on all {len(places):,}…", width="stretch", help="After a look at some; one undo."):
        judge_all(desk)
    here = places[(page - 1) * queues.PAGE : page * queues.PAGE]
    table = queues.listed(desk.scored, desk.ranking, desk.queue, places=here, held=desk.ledger.held())
    if desk.hide:
        table = table.assign(score=table["score"].where(table["verdict"] != ""))  # as in the reviewer
    st.dataframe(
        table,
        hide_index=True,
        height="content" if len(table) <= FEW else 560,
        key=TABLE,
        selection_mode="single-row",
        on_select=lambda: _jump(desk, [int(place) for place in here]),
        column_config={
            "place": st.column_config.NumberColumn(format="localized", width=64),
            "caption": st.column_config.TextColumn(width="large"),
            "score": st.column_config.NumberColumn(format=column_format(table["score"]), width=84),
            "verdict": st.column_config.TextColumn(width=130),
        },
    )
    st.text(f"{len(places):,} pairs. Choose a row to look at the pair.")


def _jump(desk: Desk, places: list[int]) -> None:
    chosen = st.session_state[TABLE]["selection"]["rows"]
    if chosen and chosen[0] < len(places):
        keep(desk, at(walk_of(desk, desk.codes()), int(desk.queue[places[chosen[0]]])))
        st.session_state[VIEW] = ONE

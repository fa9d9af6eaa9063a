"""A pair's own view: everything that is known about one pair, at an address that others can be sent."""

import streamlit as st

from chips_core.views.pair import find_pair
from pages.parts.errors import errors_shown
from pages.parts.opened import ready_pool
from pages.parts.pair_view import draw_pair

LONGEST_ID = 500
pool = ready_pool("Pair", allow=("ready", "not encoded", "empty"))
wanted = st.query_params.get("pair", "")[:LONGEST_ID]


def go() -> None:
    """Opens the pair whose id was typed."""
    st.query_params["pair"] = st.session_state["pair_typed"].strip()


title, box = st.columns([3, 2], vertical_alignment="bottom")
title.title("Pair")
box.text_input("Pair id", value=wanted, key="pair_typed", on_change=go, max_chars=LONGEST_ID)
with errors_shown():
    whole = find_pair(pool, wanted) if wanted else None
    if whole is not None:
        draw_pair(pool, whole)
    elif wanted:
        st.error("This pool has no pair of that id. Check the address, or type another id above.")
    else:
        st.info("Type a pair's id above, or open a pair from another page.")

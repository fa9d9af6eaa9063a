"""Compare: two selections, two runs or two reviewers, on the map and in a table; and methods by how alike they rank."""

import streamlit as st

from chips_core.errors import ChipsError
from pages.parts.compare.choice import chosen_difference
from pages.parts.compare.shown import draw_agreement, draw_difference
from pages.parts.opened import draw_picker, literal, ready_pool
from pages.parts.selections import pairs_of

KINDS = {"selections": "Selections", "runs": "Runs", "reviewers": "Reviewers", "methods": "Methods"}

pool = ready_pool("Compare", allow=("ready", "not encoded"))
name, picker = st.columns([3, 1], vertical_alignment="bottom")
name.title("Compare")
with picker:
    draw_picker()
kind = st.segmented_control(
    "What to compare",
    list(KINDS),
    default="selections",
    required=True,
    format_func=KINDS.__getitem__,
    key="compare",
    bind="query-params",
    label_visibility="collapsed",
)
try:
    if kind == "methods":
        draw_agreement(pool)
    else:
        found = chosen_difference(pool, str(kind))
        if found is not None:
            draw_difference(pool, pairs_of(pool), found)
except ChipsError as error:
    st.error(literal(str(error)))

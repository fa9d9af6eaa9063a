"""Misaligned pairs: a queue to work through, the most suspect pair first, one key a verdict."""

import streamlit as st

from chips_core.views.queue import runs_of
from pages.parts.errors import errors_shown
from pages.parts.opened import ready_pool
from pages.parts.review.component import draw_program
from pages.parts.review.controls import LIST, draw_controls
from pages.parts.review.listing import draw_list
from pages.parts.review.reviewer import review

pool = ready_pool("Misaligned pairs")
runs = runs_of(pool)
if not runs:
    st.title("Misaligned pairs")
    st.info("This pool has no scores yet, so there is no queue. Score it on the Runs page, or in a terminal:")
    st.code("chips score POOL", language=None)
    st.stop()
with errors_shown():
    desk, form = draw_controls(pool, runs)
    if form == LIST:
        draw_list(desk)
    else:
        draw_program()
        review(desk)

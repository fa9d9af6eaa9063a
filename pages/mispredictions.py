"""Mispredictions: which test images the model gets wrong, and which training pairs made it so."""

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from chips_core.errors import NoTargetSet, NotFitted
from chips_core.store import Pool
from chips_core.views.trace import CAPTION, CLASS, left_out_in_words, why_not_there
from pages.parts.errors import errors_shown, in_words
from pages.parts.opened import literal, ready_pool
from pages.parts.trace.honesty import offer_job
from pages.parts.trace.resources import SPLIT, errors_of, prepared_of

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from chips_core.jobs.trace_pool import Prepared, Question

LONGEST_ID = 500
NAMES = ("image", "truth", "guess")  # of the address: a test image, or a cell of the matrix
ASK = "ask"  # of the address: which question was answered wrongly


def back() -> None:
    """Leaves the trace."""
    from pages.parts.trace.pairs import REALLY, TICKED
    from pages.parts.trace.view import MODE, WAY

    for name in (*NAMES, TICKED, REALLY, WAY, MODE):
        st.query_params.pop(name, None)


def ready_for(pool: Pool) -> "tuple[Prepared, str]":
    """Returns the pool ready for the question of the address; for captions where there are no classes, and why."""
    if st.query_params.get(ASK) == CAPTION:
        return ready_or_offered(pool, CAPTION), ""
    try:
        return ready_or_offered(pool, CLASS), ""
    except NoTargetSet as error:
        missing = in_words(error)
        return ready_or_offered(pool, CAPTION, missing=missing), missing


def ready_or_offered(pool: Pool, question: "Question", *, missing: str = "") -> "Prepared":
    """Returns the pool ready for a question; where that takes too long to wait for, offers the job instead."""
    try:
        return prepared_of(pool, question)
    except NotFitted as error:
        for words in filter(None, (missing, f"{error.what} That takes minutes, so it is a job.")):
            st.info(literal(words))
        offer_job(pool, "Fit the model and measure", question=question)
        return st.stop()


def draw_first(ready: "Prepared", missing: str) -> None:
    """Draws what to know before any figure: leaks, what is missing, what was left out."""
    leaked = int(ready.test.leaked.sum())
    if leaked:
        images, them = ("test image is", "it") if leaked == 1 else ("test images are", "them")
        st.error(f"Leak: {leaked:,} {images} in the training pairs too. What is measured on {them} means little.")
    if missing:
        st.info(literal(missing))
    if ready.test.left_out:
        st.text(left_out_in_words(ready.test.left_out))


def draw_all(pool: Pool, corner: "DeltaGenerator") -> None:
    """Draws the errors, or the trace that the address names."""
    from pages.parts.trace.matrix import draw_errors
    from pages.parts.trace.retrieval import draw_retrieval
    from pages.parts.trace.view import draw_trace

    image, truth, guess = (st.query_params.get(name, "")[:LONGEST_ID] for name in NAMES)
    if image or truth:
        corner.button("All errors", icon=":material/arrow_back:", key="back", on_click=back, width="stretch")
    ready, missing = ready_for(pool)
    if not image and not truth:
        with corner:
            draw_question(ready)
        draw_first(ready, missing)
        draw = draw_retrieval if ready.question == CAPTION else draw_errors
        draw(pool, ready)
        return
    if image:
        places = np.flatnonzero((ready.test.pairs["pair_id"] == image).to_numpy())
    else:
        errors = errors_of(ready)
        places = errors.loc[(errors["label"] == truth) & (errors["predicted"] == guess), "place"].to_numpy()
    if not len(places):
        gone = why_not_there(pool, image, split=SPLIT) if image else "No image of that cell is predicted wrongly."
        st.error(literal(f"{gone} Go back to all errors."))
    elif (ready.test.labels[places] < 0).any():
        st.error("This test image has no label that a prompt names, so nobody knows whether its prediction is wrong.")
    else:
        draw_trace(pool, ready, tuple(int(place) for place in places))


def draw_question(ready: "Prepared") -> None:
    """Draws what is asked of the images, where there are two questions."""
    if ready.question == CAPTION and st.query_params.get(ASK) != CAPTION:
        return  # there is no other
    st.session_state[ASK] = ready.question
    words = {CLASS: "Wrong class", CAPTION: "Wrong caption"}
    st.segmented_control(
        "Errors",
        list(words),
        format_func=words.__getitem__,
        key=ASK,
        required=True,
        on_change=change_question,
        label_visibility="collapsed",
        width="stretch",
    )


def change_question() -> None:
    """Puts the question into the address."""
    if st.session_state[ASK] == CAPTION:
        st.query_params[ASK] = CAPTION
    else:
        st.query_params.pop(ASK, None)


pool = ready_pool("Mispredictions")
title, corner = st.columns([4, 1], vertical_alignment="bottom")
title.title("Mispredictions")
with errors_shown():
    draw_all(pool, corner)

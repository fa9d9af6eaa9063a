"""Mispredictions: which test images the model gets wrong, and which training pairs made it so."""

import numpy as np
import streamlit as st

from chips_core.errors import ChipsError, NoTargetSet
from chips_core.store import Pool
from pages.parts.opened import literal, ready_pool
from pages.parts.trace.resources import errors_of, prepared_of
from pages.parts.trace.retrieval import draw_retrieval

LONGEST_ID = 500
NAMES = ("image", "truth", "guess")  # of the address: a test image, or a cell of the matrix


def back() -> None:
    """Leaves the trace."""
    for name in NAMES:
        st.query_params.pop(name, None)


def draw_all(pool: Pool) -> None:
    """Draws the matrix and the errors, or the trace that the address names."""
    from pages.parts.trace.matrix import draw_errors
    from pages.parts.trace.view import draw_trace

    ready = prepared_of(pool)
    image, truth, guess = (st.query_params.get(name, "")[:LONGEST_ID] for name in NAMES)
    title, button = st.columns([5, 1], vertical_alignment="bottom")
    title.title("Mispredictions")
    if not image and not truth:
        draw_errors(pool, ready)
        return
    button.button("All errors", icon=":material/arrow_back:", key="back", on_click=back, width="stretch")
    if image:
        places = np.flatnonzero((ready.test.pairs["pair_id"] == image).to_numpy())
        missing = "The test split has no image of that id. Check the address, or go back to all of them."
    else:
        errors = errors_of(ready)
        places = errors.loc[(errors["label"] == truth) & (errors["predicted"] == guess), "place"].to_numpy()
        missing = "No test image of that cell is predicted wrongly. Go back to all of them."
    if not len(places):
        st.error(missing)
    elif (ready.test.labels[places] < 0).any():
        st.error("This test image has no label, so nobody knows whether its prediction is wrong.")
    else:
        draw_trace(pool, ready, tuple(int(place) for place in places))


pool = ready_pool("Mispredictions")
try:
    draw_all(pool)
except NoTargetSet as error:
    st.title("Mispredictions")
    st.info(literal(f"{error.what} {error.fix}"))
    draw_retrieval(pool)
except ChipsError as error:
    st.error(literal(f"{error.what} {error.fix}"))
    draw_retrieval(pool)

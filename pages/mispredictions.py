"""Mispredictions: which test images the model gets wrong, and which training pairs made it so."""

import numpy as np
import streamlit as st

from chips_core.errors import ChipsError, NoTargetSet
from chips_core.store import Pool
from chips_core.views.trace import retrieval_errors
from pages.parts.opened import literal, ready_pool
from pages.parts.trace.resources import SPLIT, errors_of, prepared_of

LONGEST_ID = 500


def draw_retrieval(pool: Pool) -> None:
    """Draws the images for which another caption fits better: what can be wrong without labels."""
    st.subheader("Images for which another caption fits better")
    table = retrieval_errors(pool, split=SPLIT)
    if not len(table):
        st.text("No image of the test split has a caption that fits better than its own, or there is no test split.")
        return
    st.dataframe(table.drop(columns="row"), hide_index=True, alt="Retrieval errors, the worst first")


def draw_all(pool: Pool) -> None:
    """Draws the matrix and the errors, or the trace that the address names."""
    from pages.parts.trace.matrix import draw_gallery, draw_matrix
    from pages.parts.trace.view import draw_trace

    ready = prepared_of(pool)
    wanted = st.query_params.get("image", "")[:LONGEST_ID]
    cell = st.session_state.get("traced_cell")
    if wanted or cell:
        if st.button("All wrong predictions", icon=":material/arrow_back:", key="back"):
            st.query_params.pop("image", None)
            st.session_state.pop("traced_cell", None)
            st.rerun()
        places = np.flatnonzero((ready.test.pairs["pair_id"] == wanted).to_numpy()) if wanted else np.array(cell)
        if not len(places):
            st.error("The test split has no image of that id. Check the address, or go back to all of them.")
        elif (ready.test.labels[places] < 0).any():
            st.error("This test image has no label, so nobody knows whether its prediction is wrong.")
        else:
            draw_trace(pool, ready, tuple(int(place) for place in places))
        return
    leaked, labelled = int(ready.test.leaked.sum()), int((ready.test.labels >= 0).sum())
    if leaked:
        st.error(f"Leak: {leaked:,} test images are in the training pairs too. Accuracy on them means little.")
    st.text(f"The encoder fitted to this pool gets {int(ready.wrong.sum()):,} of {labelled:,} test images wrong.")
    chosen = draw_matrix(ready)
    title, button = st.columns([3, 1], vertical_alignment="center")
    title.subheader("Errors of the chosen cell, the surest first" if chosen else "All errors, the surest first")
    errors = errors_of(ready)
    if chosen is not None:
        errors = errors[(errors["label"] == chosen[0]) & (errors["predicted"] == chosen[1])]
        if len(errors) and button.button("Trace all of them", key="trace_cell", width="stretch"):
            st.session_state["traced_cell"] = [int(place) for place in errors["place"]]
            st.rerun()
    draw_gallery(pool, ready, chosen)


pool = ready_pool()
st.title("Mispredictions")
try:
    draw_all(pool)
except NoTargetSet as error:
    st.info(literal(f"{error.what} {error.fix}"))
    draw_retrieval(pool)
except ChipsError as error:
    st.error(literal(f"{error.what} {error.fix}"))
    draw_retrieval(pool)

"""The images for which another caption fits better than their own: what can be wrong where there are no labels."""

from typing import TYPE_CHECKING

import streamlit as st

from chips_core.store import Pool
from chips_core.views import trace as views
from pages.parts.cards import Card, cards
from pages.parts.images import image_url
from pages.parts.review.resources import unscored_of
from pages.parts.trace.quality import draw_recall
from pages.parts.trace.resources import errors_of

if TYPE_CHECKING:
    from chips_core.jobs.trace_pool import Prepared

SHOWN = 60


def draw_retrieval(pool: Pool, ready: "Prepared") -> None:
    """Draws the test images that are given another caption than their own, the surest first; a click opens one."""
    st.subheader("Images for which another caption fits better")
    table = errors_of(ready)
    st.text(views.retrieval_in_words(images=len(ready.test.rows), wrong=len(table), captions=len(ready.classes)))
    if len(table):
        st.text("Own caption first; then the caption that fits best. Click one to see the training pairs behind it.")
    inputs = unscored_of(pool).pairs["input_row"].to_numpy()
    shown = [
        Card(
            int(line.row),
            image_url(pool.id, int(inputs[line.row])),
            str(line.pair_id),
            str(line.label),
            f"{line.confidence:.1%} sure" + " · leak" * bool(line.also_in_training),
            warn=bool(line.also_in_training),
            note=f"Fits best: {line.predicted}",
        )
        for line in table.head(SHOWN).itertuples()
    ]
    empty = "Every image is given its own caption, so there is nothing to trace."
    picked = cards(shown, key="retrieval_cards", label="Retrieval errors", width=200, lines=4, empty=empty)
    if len(table) > SHOWN:
        st.text(f"The first {SHOWN} of {len(table):,}.")
    if picked is not None:
        image = str(table.loc[table["row"] == picked, "pair_id"].iloc[0])
        st.query_params.update({"ask": views.CAPTION, "image": image})
        st.rerun()
    with st.expander("How good is the retrieval?"):
        draw_recall(pool)

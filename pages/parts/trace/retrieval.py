"""The images for which another caption fits better: what can be wrong where there are no labels."""

import streamlit as st

from chips_core.store import Pool
from chips_core.views.trace import retrieval_errors
from pages.parts.cards import Card, cards
from pages.parts.images import image_url
from pages.parts.opened import open_pair
from pages.parts.review.resources import unscored_of
from pages.parts.trace.resources import SPLIT

SHOWN = 60


def draw_retrieval(pool: Pool) -> None:
    """Draws the test images whose own caption is not the one that fits best, the worst first; a click opens one."""
    st.subheader("Images for which another caption fits better")
    table = retrieval_errors(pool, split=SPLIT)
    if not len(table):
        st.text("No image of the test split has a caption that fits better than its own, or there is no test split.")
        return
    st.text("Own caption first; then the caption that the encoder finds fitting best. The worst come first.")
    inputs = unscored_of(pool).pairs["input_row"].to_numpy()
    shown = [
        Card(
            int(line.row),
            image_url(pool.id, int(inputs[line.row])),
            str(line.pair_id),
            str(line.caption),
            f"{int(line.better):,} fit better",
            note=f"Fits best: {line.nearest}",
        )
        for line in table.head(SHOWN).itertuples()
    ]
    open_pair(shown, cards(shown, key="retrieval_cards", label="Retrieval errors", width=200, lines=4))

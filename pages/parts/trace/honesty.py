"""How far the predictions of a trace can be believed on this pool, as measured, or how to measure it."""

from typing import TYPE_CHECKING

import streamlit as st

from chips_core.store import Pool
from chips_core.views import trace as views
from chips_core.views.planning import PlannedStep
from pages.parts.opened import go_to
from pages.parts.runs.jobs import start

if TYPE_CHECKING:
    from chips_core.jobs.trace_pool import Prepared


def draw_honesty(pool: Pool, ready: "Prepared") -> None:
    """Draws what was measured on this pool, or a button that measures it."""
    st.subheader("How far to believe the prediction")
    if ready.honesty is not None:
        st.text(views.honesty_in_words(ready.honesty))
    else:
        st.text(
            "How well predicted and real changes agree on this pool is not measured yet. It takes a minute or two; "
            "afterwards the pairs can be ranked by relative influence as well."
        )
        offer_job(pool, "Measure it", question=ready.question)
    st.text(views.fidelity_in_words(pool))


def offer_job(pool: Pool, words: str, *, question: str) -> None:
    """Draws the button that starts the job which fits the model and measures what traces need."""
    pressed = st.button(words, key="trace_job", width="stretch")
    if pressed and start(pool.path, [PlannedStep("trace", {"pool": str(pool.path), "question": question})]):
        go_to("runs")

"""How good the model is: by class and source, its calibration, and retrieval, with intervals over patients."""

from typing import TYPE_CHECKING

import streamlit as st

from chips_core.store import Pool
from chips_core.views import trace as views
from pages.parts import charts
from pages.parts.charts import Bar
from pages.parts.trace.resources import accuracy_of, evaluated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chips_core.jobs.trace_pool import Prepared


def draw_quality(pool: Pool, ready: "Prepared") -> None:
    """Draws the accuracy of the fitted model by class and source, and beside it what the encoder gives as it came."""
    with st.expander("How good is the model? By class, source, confidence, and retrieval"):
        found = accuracy_of(ready)
        left, right = st.columns(2, gap="large")
        with left:
            st.subheader("By class, the worst first")
            _draw_bars(views.class_lines(found), key="by_class")
        with right:
            st.subheader("By source, with 95% intervals over patients")
            _draw_bars(views.source_lines(found), key="by_source")
            st.subheader("By confidence: how often it is right")
            _draw_bars(views.calibration_lines(found), key="calibration")
            if found["calibration"]:
                st.text(f"Expected calibration error {found['calibration']['ece']:.3f}.")
        draw_recall(pool)


def draw_recall(pool: Pool) -> None:
    """Draws how often the encoder as it came finds the right caption and image, and its zero-shot accuracy."""
    came = evaluated(pool)
    st.subheader("Retrieval of the test split, by the encoder as it came")
    st.dataframe(views.retrieval_table(came), hide_index=True, alt="Recall at 1, 5 and 10")
    st.text(views.as_it_came_in_words(came))


def _draw_bars(lines: "Sequence[views.Line]", *, key: str) -> None:
    if not lines:
        st.text("No data.")
        return
    shown = [Bar(line.name, line.value, line.share, line.note) for line in lines]
    charts.bars(shown, key=key, label="Accuracy")

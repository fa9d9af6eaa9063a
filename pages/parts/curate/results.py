"""What the methods choose, side by side: size, suspicion, coverage, overlap, and what to know."""

from collections.abc import Sequence

import streamlit as st

from chips_core.views.curate import COLUMNS, Lab, Trial, overlap
from pages.parts.opened import literal

MOST_LINES = 400


def draw_trials(trials: Sequence[Trial]) -> None:
    """Draws one card a method."""
    for place, trial in zip(st.columns(len(trials), border=True), trials, strict=True):
        with place:
            _draw_trial(trial)


def _draw_trial(trial: Trial) -> None:
    st.text(trial.title)
    pairs, flagged = st.columns(2)
    pairs.metric("Pairs", f"{trial.pairs:,}")
    flagged.metric(
        "Held suspect",
        "not known" if trial.flagged is None else f"{trial.flagged:.1%}",
        help="The share of the chosen pairs among the queue's first, as many as the audit would drop.",
    )
    out = [f"{count:,} {reason}" for reason, count in trial.selected.kept_out.items() if count]
    st.text("Kept out: " + ("; ".join(out) if out else "nothing") + ".")
    for note in trial.selected.notes:
        st.text(note)
    for words in trial.selected.warnings:
        st.warning(literal(words))
    for shortage in trial.selected.shortages[:3]:
        st.error(literal(f"{shortage.what}: {shortage.found:,} of {shortage.wanted:,}."))


def draw_coverage(lab: Lab, trials: Sequence[Trial]) -> None:
    """Draws how much of each class, modality or source every method keeps."""
    st.subheader("Coverage")
    column = st.segmented_control(
        "By", list(COLUMNS), default="label", required=True, format_func=COLUMNS.__getitem__, key="curate_column"
    )
    table = lab.coverage(trials, column)
    bars = {
        trial.title: st.column_config.ProgressColumn(f"{trial.title}: kept", format="percent", min_value=0, max_value=1)
        for trial in trials
    }
    st.dataframe(
        table.head(MOST_LINES),
        hide_index=True,
        column_config={"pairs": st.column_config.NumberColumn("pairs before", format="localized"), **bars},
        alt="Pairs of each value before, and the share that each method keeps",
    )
    if len(table) > MOST_LINES:
        st.text(f"and {len(table) - MOST_LINES:,} more")


def draw_overlap(trials: Sequence[Trial]) -> None:
    """Draws which share of each method's pairs the others choose too."""
    if len(trials) < 2:
        return
    st.subheader("Overlap")
    shares = {trial.title: st.column_config.NumberColumn(trial.title, format="percent") for trial in trials}
    st.dataframe(
        overlap(trials),
        hide_index=True,
        column_config=shares,
        alt="The share of each method's pairs that another one chooses too",
    )

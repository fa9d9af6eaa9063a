"""The choice of the two things to compare; where there are not two, a sentence says how to get them."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from chips_core.store import Pool
from chips_core.views.compare import (
    Difference,
    columns_in_both,
    compare_reviewers,
    compare_runs,
    compare_selections,
    reviewers_of,
)
from chips_core.views.kept_selections import kept_selections
from chips_core.views.runs import runs_of
from pages.parts.selections import pairs_of

LACKING = {
    "selections": "Save two selections on the Curate or the Map page to compare them.",
    "runs": "Score the pool twice on the Runs page, such as in both modes, to compare the runs.",
    "reviewers": "Two people must have judged pairs on the Misaligned pairs page to compare their verdicts.",
}


def chosen_difference(pool: Pool, kind: str) -> Difference | None:
    """Draws the choice and returns the difference; None, with a sentence, where there is nothing to compare."""
    names = _names(pool, kind)
    if len(names) < 2:
        st.info(LACKING[kind])
        return None
    pairs = pairs_of(pool)
    if kind == "runs":
        first, second, score = st.columns(3)
        a, b = _two(first, second, names)
        if a == b:
            return None
        columns = columns_in_both(pool, a, b)
        if not columns:
            st.info("The two runs have no score in common.")
            return None
        column = score.selectbox("Score", list(columns), format_func=columns.__getitem__, key="compare_score")
        return compare_runs(pool, pairs, a, b, column=str(column))
    if kind == "reviewers":
        a, b = _two(*st.columns(2), names, labels=("One reviewer", "The other"))
        return None if a == b else compare_reviewers(pool, pairs, a, b)
    a, b = _two(*st.columns(2), names)
    return None if a == b else compare_selections(pool, pairs, a, b)


def _names(pool: Pool, kind: str) -> list[str]:
    if kind == "selections":
        return [found.name for found in kept_selections(pool)]
    if kind == "runs":
        return [run.name for run in runs_of(pool)]
    return list(reversed(reviewers_of(pool)))  # the first by name is the first to begin with


def _two(
    first: DeltaGenerator, second: DeltaGenerator, names: list[str], *, labels: tuple[str, str] = ("From", "To")
) -> tuple[str, str]:
    """Draws the two boxes; the older is the first to begin with."""
    a = str(first.selectbox(labels[0], names, index=1, key="compare_a"))
    b = str(second.selectbox(labels[1], names, index=0, key="compare_b"))
    if a == b:
        st.info("Choose two different ones.")
    return a, b

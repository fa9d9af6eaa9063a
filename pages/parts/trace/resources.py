"""What tracing keeps in memory for all sessions: the pool's features, the fitted model, what it answered.

The engine is imported only here and only when this page is open: no other page waits for it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from chips_core.progress import Silent
from chips_core.store import Pool

if TYPE_CHECKING:
    import pandas as pd

    from chips_core.jobs.trace_pool import Prepared, Question
    from chips_core.verify.trace_search import Agreement, Mode, Way

SPLIT, TOP = "test", 20
KINDS = ("traces", "honesty", "recalls")


def prepared_of(pool: Pool, question: "Question") -> "Prepared":
    """Returns the pool ready to be traced where it answers this question wrongly."""
    return _prepared(str(pool.path), pool.fingerprint, question, _made(pool))


@st.cache_resource(max_entries=4, show_spinner="Fitting the model to the pool…")
def _prepared(folder: str, fingerprint: str, question: "Question", made: str) -> "Prepared":  # noqa: ARG001 - the key
    from chips_core.jobs.trace_pool import Settings, prepare
    from chips_core.jobs.trace_recall import is_large

    asked = Settings(folder, test=SPLIT, question=question)
    ready = prepare(Pool.open(Path(folder)), asked, progress=Silent(), measure=False)
    if is_large(ready):
        _ = ready.tracer.screen  # so that the first click need not wait for it
    return ready


def recall_for(ready: "Prepared") -> "tuple[bool, Agreement | None]":
    """Returns whether questions are answered quickly, and how quick answers agree with exact ones where measured."""
    from chips_core.jobs.trace_recall import is_large, recall_of

    return is_large(ready), recall_of(ready)


@st.cache_data(max_entries=64, show_spinner="Tracing…")
def traced_table(
    name: str,  # noqa: ARG001 - part of the key
    places: tuple[int, ...],
    mode: "Mode",
    way: "Way",
    *,
    _ready: "Prepared",
) -> "pd.DataFrame":
    """Returns the pairs that most explain the errors on these test images, the most harmful first."""
    from chips_core.jobs.trace_answers import explain

    return explain(_ready, places, mode=mode, top=TOP, way=way)


@st.cache_data(max_entries=64, show_spinner="Removing…")
def removal(
    name: str,  # noqa: ARG001 - part of the key
    places: tuple[int, ...],
    removed: tuple[int, ...],
    *,
    retrain: bool,
    _ready: "Prepared",
) -> dict[str, Any]:
    """Returns the probabilities before, as predicted without some pairs and, if wanted, really refitted."""
    from chips_core.jobs.trace_answers import what_if

    return what_if(_ready, places, removed, retrain=retrain)


def errors_of(ready: "Prepared") -> "pd.DataFrame":
    """Returns the wrong predictions, the surest first."""
    from chips_core.jobs.trace_answers import errors_table

    return errors_table(ready)


def facts_of(ready: "Prepared", place: int) -> dict[str, Any]:
    """Returns what is known of a test image and what the model makes of it."""
    from chips_core.jobs.trace_answers import image_facts

    return image_facts(ready, place)


def accuracy_of(ready: "Prepared") -> dict[str, Any]:
    """Returns what the fitted model gets right."""
    return _accuracy(ready.name, ready.pool.fingerprint, _ready=ready)


@st.cache_data(max_entries=4, show_spinner="Measuring the accuracy…")
def _accuracy(name: str, fingerprint: str, _ready: "Prepared") -> dict[str, Any]:  # noqa: ARG001 - part of the key
    from chips_core.jobs.trace_answers import accuracy_of as measure

    return measure(_ready)


def evaluated(pool: Pool) -> dict[str, Any]:
    """Returns what `chips evaluate` says of the test split."""
    return _evaluated(str(pool.path), pool.fingerprint, "/".join(a.name for a in pool.feature_sets()))


@st.cache_data(max_entries=4, show_spinner="Evaluating the encoder…")
def _evaluated(folder: str, fingerprint: str, features: str) -> dict[str, Any]:  # noqa: ARG001 - part of the key
    from chips_core.jobs.evaluate import Settings, run

    return dict(run(Settings(folder, split=SPLIT), progress=Silent()))


def _made(pool: Pool) -> str:
    return "/".join(found.name for kind in KINDS for found in pool.tables(kind))

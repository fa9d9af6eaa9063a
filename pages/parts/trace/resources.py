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

    from chips_core.jobs.trace import Mode, Prepared

SPLIT = "test"


def prepared_of(pool: Pool) -> "Prepared":
    """Returns the pool ready to be traced."""
    made = "/".join(found.name for kind in ("traces", "honesty") for found in pool.tables(kind))
    return _prepared(str(pool.path), pool.fingerprint, made)


@st.cache_resource(max_entries=2, show_spinner="Fitting the model to the pool…")
def _prepared(folder: str, fingerprint: str, made: str) -> "Prepared":  # noqa: ARG001 - part of the key
    from chips_core.jobs.trace import Settings, prepare

    return prepare(Pool.open(Path(folder)), Settings(folder, test=SPLIT), progress=Silent(), measure=False)


@st.cache_data(max_entries=64, show_spinner="Tracing…")
def traced_table(name: str, places: tuple[int, ...], mode: "Mode", _ready: "Prepared") -> "pd.DataFrame":  # noqa: ARG001
    """Returns every pair of the pool with its influence on these test images, the most harmful first."""
    from chips_core.jobs.trace import pairs_of, trace

    return pairs_of(_ready, trace(_ready, places), places, mode=mode)


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
    from chips_core.jobs.trace import what_if

    return what_if(_ready, places, removed, retrain=retrain)


def errors_of(ready: "Prepared") -> "pd.DataFrame":
    """Returns the wrong predictions, the surest first."""
    from chips_core.jobs.trace import errors_table

    return errors_table(ready)

"""What the reviewer keeps in memory for all sessions: runs, neighbourhoods and ledgers, by what they were made of."""

from pathlib import Path

import streamlit as st

from chips_core.store import Pool
from chips_core.views.nearby import Nearby, nearby_of
from chips_core.views.queue import KIND, Scored, load_run, without_run
from chips_core.views.verdicts import Ledger


def run_of(pool: Pool, run: str) -> Scored:
    """Returns a run with its pairs."""
    version = next((artifact.fingerprint for artifact in pool.tables(KIND) if artifact.name == run), "")
    return _run(str(pool.path), pool.fingerprint, run, version)


def unscored_of(pool: Pool) -> Scored:
    """Returns the pairs of a pool that has no run yet."""
    return _run(str(pool.path), pool.fingerprint, "", "")


def nearby_for(pool: Pool, features: str | None = None) -> Nearby | None:
    """Returns the neighbourhood of a pool's pairs by the features named, else the newest; None before the first."""
    sets = [artifact.name for artifact in pool.feature_sets()]
    if not sets:
        return None
    return _nearby(str(pool.path), pool.fingerprint, features if features in sets else sets[-1])


def ledger_of(pool: Pool) -> Ledger:
    """Returns the verdicts of a pool."""
    return _ledger(str(pool.path), pool.id)


@st.cache_resource(max_entries=4, show_spinner="Reading the scores…")
def _run(folder: str, fingerprint: str, run: str, version: str) -> Scored:  # noqa: ARG001 - part of the key
    pool = Pool.open(Path(folder))
    return load_run(pool, run) if run else without_run(pool)


@st.cache_resource(max_entries=2, show_spinner="Reading the features…")
def _nearby(folder: str, fingerprint: str, features: str) -> Nearby:  # noqa: ARG001 - part of the key
    return nearby_of(Pool.open(Path(folder)), features=features)


@st.cache_resource(max_entries=8, show_spinner=False)
def _ledger(folder: str, pool_id: str) -> Ledger:  # noqa: ARG001 - part of the key
    return Ledger(Path(folder))

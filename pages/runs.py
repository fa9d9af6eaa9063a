"""Runs: bring in a data set, encode and score it, watch the job, and choose the run that every page shows."""

from pathlib import Path

import streamlit as st

from chips_core.store import Pool
from chips_core.views.catalogue import catalogue_soon
from chips_core.views.planning import facts_of_pool, steps_for
from chips_core.views.runs import joined
from pages.parts.opened import current, draw_picker, tell_condition
from pages.parts.runs.bring_in import draw_bring_in
from pages.parts.runs.jobs import alive_job, draw_job, draw_past, start
from pages.parts.runs.plan import draw_plan
from pages.parts.runs.tables import draw_maps, draw_runs

SECTIONS = {"pool": "This pool", "new": "Bring in a data set"}


def draw_pool(pool: Pool) -> None:
    """Draws what was computed on a pool and what can be."""
    busy = alive_job(pool.path) is not None
    scored = bool(pool.tables("scores"))
    if not scored and not busy:
        st.subheader("Compute")
        draw_compute(pool)
    if scored:
        st.subheader("Scoring runs")
        draw_runs(pool)
    if pool.tables("maps"):
        st.subheader("Maps")
        draw_maps(pool)
    if scored and not busy:
        st.subheader("Compute more")
        if st.toggle("Choose methods, a target set or maps", key="compute_more"):
            draw_compute(pool)
    with st.expander("Earlier jobs"):
        draw_past(pool.path)


def draw_compute(pool: Pool) -> None:
    """Draws the choices and the button that starts the job."""
    facts = facts_of_pool(pool)
    choice = draw_plan(facts, key="pool")
    if choice is None:
        st.text("Name the model to go on.")
        return
    steps = steps_for(str(pool.path), choice, facts)
    if not steps:
        st.text("Choose a method or a map.")
        return
    words = joined([step.words for step in steps])
    if st.button(f"Start: {words}", type="primary", key="start_pool") and start(pool.path, steps):
        st.rerun()


def draw_section(folder: Path) -> None:
    """Draws the part for the pool at hand, whatever its condition."""
    state = current()
    if state.condition != "none":
        draw_job(folder)
    if state.condition not in ("ready", "not encoded", "coming"):
        tell_condition(state)
    if state.pool is not None and state.condition in ("ready", "not encoded"):
        draw_pool(state.pool)
    elif state.condition in ("coming", "empty"):
        with st.expander("Earlier jobs"):
            draw_past(folder)


def choose_section() -> str:
    """Draws the choice between the two parts of the page; it stands in the address."""
    wanted = st.session_state.pop("do_next", None)
    if "do" not in st.session_state or wanted:
        fallback = "new" if current().condition == "none" else "pool"
        named = wanted or st.query_params.get("do")
        st.session_state["do"] = named if named in SECTIONS else fallback
    chosen = st.segmented_control(
        "What to do",
        list(SECTIONS),
        required=True,
        format_func=SECTIONS.__getitem__,
        key="do",
        label_visibility="collapsed",
    )
    st.query_params["do"] = str(chosen)
    return str(chosen)


catalogue_soon()  # read in another process while the page is drawn
name, picker = st.columns([3, 1], vertical_alignment="bottom")
name.title("Runs")
with picker:
    draw_picker()
if choose_section() == "new":
    draw_bring_in()
else:
    draw_section(current().folder)

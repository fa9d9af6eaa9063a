"""The Subset lab: what to try, what comes of it, and keeping the best under a name."""

from collections.abc import Sequence
from dataclasses import asdict

import streamlit as st

from chips_core.curate.measured import Measured
from chips_core.errors import ChipsError
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.store.review import LONGEST_NAME
from chips_core.views.curate import Lab, Trial, lab_of
from chips_core.views.planning import PlannedStep
from pages.parts.curate.controls import Rules, draw_controls
from pages.parts.curate.places import EXPORT, go
from pages.parts.curate.results import draw_details, draw_small_maps, draw_summary, draw_warnings
from pages.parts.opened import literal
from pages.parts.runs.jobs import alive_job, start

TOLD = "curate_told"
CHOSEN = "curate_selection"  # the export's choice: what was saved last


def draw_lab(pool: Pool) -> None:
    """Draws the lab."""
    with st.spinner("Reading the candidates …"):
        lab = lab_of(pool)
    if not lab.count:
        st.info("Every pair of this pool is of the target or the test set: there is nothing to choose from.")
        return
    if not lab.runs:
        st.info("This pool has no scores yet, so only methods that need none are here. Score it on the Runs page.")
    rules = draw_controls(lab)
    if not rules.recipes:
        st.text("Choose a method.")
        return
    with st.spinner("Choosing …"):
        trials = [lab.attempt(recipe) for recipe in rules.recipes]
    measured = lab.measured(pool, trials)
    draw_summary(trials, measured)
    _draw_measure(pool, lab, rules, measured)
    draw_warnings(trials)
    _draw_save(pool, rules, trials)
    draw_small_maps(pool, lab, trials)
    draw_details(lab, trials)


def _judged_by(known: Measured) -> str:
    """Returns by what the heads were judged, and what they reach as they came."""
    if known.base is None:
        return f"recall at 1; untrained {known.base_recall:.1%}."
    return f"mean accuracy over the sources; untrained {known.base:.1%}. Change: of the accuracy over all images."


def _draw_measure(pool: Pool, lab: Lab, rules: Rules, measured: Sequence[Measured | None]) -> None:
    """Draws the button that trains the heads on what each method chose, as a job."""
    left = [recipe for recipe, one in zip(rules.recipes, measured, strict=True) if one is None]
    if not lab.encoded:
        return
    known = next((one for one in measured if one is not None), None)
    if not left and known is not None:
        st.text(f"Heads trained on each method's pairs, judged on '{lab.origin.target}': {_judged_by(known)}")
        return
    button, words = st.columns([1, 3], vertical_alignment="center")
    if button.button(
        "Measure accuracy",
        key="curate_measure",
        icon=":material/speed:",
        width="stretch",
        disabled=alive_job(pool.path) is not None,
    ):
        asked = {"pool": str(pool.path), "recipes": [asdict(recipe) for recipe in left]}
        if start(pool.path, [PlannedStep("measure", asked)]):
            st.rerun()
    words.text(f"Trains the heads on each method's pairs and judges them on '{lab.origin.target}'.")


def _draw_save(pool: Pool, rules: Rules, trials: list[Trial]) -> None:
    """Draws the name and the button that keep one of the trials with its recipe."""
    told = st.session_state.get(f"{TOLD}-{pool.id}")
    with st.container(border=True):
        which, name, button, onward = st.columns([3, 3, 1.4, 1.4], vertical_alignment="bottom")
        titles = {trial.method: trial.title for trial in trials}
        method = which.selectbox("Keep", list(titles), format_func=lambda m: titles.get(m, m), key="curate_which")
        given = name.text_input(
            "Name", max_chars=LONGEST_NAME, key="curate_name", placeholder="made from its recipe when empty"
        )
        kept = button.button("Save", key="curate_save", type="primary", width="stretch", icon=":material/bookmark:")
        if kept and method:
            _save(pool, rules, method=method, name=given.strip())
        if onward.button("Export …", key="curate_onward", width="stretch", disabled=not told):
            go(EXPORT)
        if told:
            st.success(literal(told))


def _save(pool: Pool, rules: Rules, *, method: str, name: str) -> None:
    recipe = next(recipe for recipe in rules.recipes if recipe.method == method)
    asked = {
        "pool": str(pool.path), "method": recipe.method, "budget": recipe.budget, "seed": recipe.seed,
        "quotas": list(recipe.quotas), "at_least": recipe.at_least, "pin_confirmed": recipe.pin_confirmed,
        "drop": recipe.drop, "released": recipe.released, "name": name or None, "reviewer": "Curate page",
    }  # fmt: skip
    try:
        with st.spinner("Saving the selection …"):
            found = run_step("select", asked, progress=Silent())
    except ChipsError as error:
        st.error(literal(str(error)))
        return
    st.session_state[f"{TOLD}-{pool.id}"] = f"Saved: {found['pairs']:,} pairs under the name '{found['selection']}'."
    st.session_state[CHOSEN] = found["selection"]
    st.rerun()

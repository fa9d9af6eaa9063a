"""Keeping a trial as a selection, and writing a selection out: preview first, then a job."""

from collections.abc import Sequence

import streamlit as st

from chips_core.errors import ChipsError
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.views.curate import Trial, export_target, exports_home, preview, selections_of
from chips_core.views.planning import PlannedStep
from pages.parts.curate.controls import Rules
from pages.parts.opened import literal
from pages.parts.runs.jobs import alive_job, start

FORMS = {
    "csv": "CSV",
    "jsonl": "JSON Lines",
    "parquet": "Parquet",
    "webdataset": "WebDataset shards, images inside",
    "openclip": "open_clip training CSV, images beside it",
    "exclude": "List of the pairs left out",
}
TOLD = "curate_told"


def draw_save(pool: Pool, rules: Rules, trials: Sequence[Trial]) -> None:
    """Draws the name and the button that keep one of the trials with its recipe."""
    st.subheader("Save")
    which, name, button = st.columns([2, 2, 1], vertical_alignment="bottom")
    titles = {trial.method: trial.title for trial in trials}
    method = which.selectbox("Method", list(titles), format_func=titles.__getitem__, key="curate_which")
    given = name.text_input("Name of the selection", key="curate_name", placeholder="letters, digits, dots, dashes")
    if button.button("Save", key="curate_save", type="primary", width="stretch", disabled=not given):
        recipe = next(recipe for recipe in rules.recipes if recipe.method == method)
        asked = {
            "pool": str(pool.path), "method": recipe.method, "budget": recipe.budget, "seed": recipe.seed,
            "at_least": recipe.at_least, "pin_confirmed": recipe.pin_confirmed, "name": given.strip(),
            "reviewer": "Curate page",
        }  # fmt: skip
        try:
            with st.spinner("Saving the selection …"):
                found = run_step("select", asked, progress=Silent())
        except ChipsError as error:
            st.error(literal(str(error)))
            return
        st.session_state[TOLD] = f"Saved: {found['pairs']:,} pairs under the name '{found['selection']}'."
        st.rerun()
    told = st.session_state.pop(TOLD, "")
    if told:
        st.success(literal(told))


def draw_export(pool: Pool) -> None:
    """Draws the choice of a saved selection, what an export of it would hold, and the button that starts it."""
    st.subheader("Export")
    names = selections_of(pool)
    if not names:
        st.text("Nothing is saved yet. Save a selection above, or on the Map page, to export it.")
        return
    which, form, name = st.columns(3, vertical_alignment="bottom")
    selection = which.selectbox("Selection", names, key="curate_selection")
    kind = form.selectbox("Format", list(FORMS), format_func=FORMS.__getitem__, key="curate_form")
    given = name.text_input("Name of the export", key="curate_to", placeholder="letters, digits, dots, dashes")
    home = exports_home()
    if home is None:
        st.text("None of the app's folders is there to export to. Start the app with CHIPS_ROOTS naming one.")
        return
    with_images = kind in ("webdataset", "openclip") or st.checkbox(
        "Copy the images too, made anew without metadata", value=False, key="curate_images", disabled=kind == "exclude"
    )
    if not st.toggle("Preview", key="curate_preview"):
        st.text("Look at the preview to go on.")
        return
    _draw_preview(pool, selection)
    busy = alive_job(pool.path) is not None
    if st.button("Export", key="curate_export", type="primary", disabled=busy or not given):
        _start(pool, selection, kind=kind, name=given, images=with_images)
    st.text(f"Goes to the folder '{home.name}' beside the pools, with a manifest and a data card.")


def _draw_preview(pool: Pool, selection: str) -> None:
    plan, lines = preview(pool, selection)
    for words in plan.warnings:
        st.warning(literal(words))
    st.dataframe(
        lines,
        hide_index=True,
        column_config={"rows": st.column_config.NumberColumn(format="localized")},
        alt="What the export would hold, and why other rows stay behind",
    )


def _start(pool: Pool, selection: str, *, kind: str, name: str, images: bool) -> None:
    copies = "copy" if images and kind != "exclude" else None
    try:
        to = export_target(name)
    except ChipsError as error:
        st.error(literal(str(error)))
        return
    asked = {"pool": str(pool.path), "selection": selection, "to": str(to), "format": kind, "images": copies}
    if start(pool.path, [PlannedStep("export", asked)]):
        st.rerun()

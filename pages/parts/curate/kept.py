"""The saved selections: what each is, following its recipe again, deleting it, and taking that back."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from chips_core.errors import ChipsError
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.views.kept_selections import KeptSelection, kept_selections
from pages.parts.curate.lab import CHOSEN
from pages.parts.curate.places import EXPORT, go
from pages.parts.curate.trainings import draw_trained, draw_training
from pages.parts.grids import Cell, Line, grid
from pages.parts.opened import go_to, literal
from pages.parts.selections import shelf_of

TOLD, REVIEWER = "curate_kept_told", "Curate page"
REPLAYED = "curate_replayed"
MOST_IDS = 200


def draw_kept(pool: Pool) -> None:
    """Draws the list of saved selections and what can be done with the one that is picked."""
    found = kept_selections(pool)
    told = st.session_state.pop(TOLD, None)
    if told is not None:
        (st.success if told.saved else st.error)(literal(told.text))
    if not found:
        st.info("Nothing is saved yet. Save a selection under 'Choose', or on the Map page.")
    else:
        lines = [
            Line(one.name, [Cell(f"{one.pairs:,}"), Cell(one.method), Cell(one.rules), Cell(one.made), Cell(one.by)])
            for one in found
        ]
        head = ["Selection", "Pairs", "Method", "Rules", "Saved", "By"]
        grid(head, lines, key="curate_kept", label="The saved selections", words=(1, 2, 3, 4))
        _draw_acts(pool, found)
        draw_trained(pool, [one.name for one in found])
    if st.button("Take back the last save or deletion", key="curate_undo", icon=":material/undo:"):
        st.session_state[TOLD] = shelf_of(pool).undo(REVIEWER)
        st.rerun()


def _draw_acts(pool: Pool, found: tuple[KeptSelection, ...]) -> None:
    by_name = {one.name: one for one in found}
    which, again, see, out, gone = st.columns([3, 2, 2, 2, 2], vertical_alignment="bottom")
    name = which.selectbox("Selection", list(by_name), key="curate_kept_which")
    one = by_name[name]
    if again.button(
        "Replay",
        key="curate_replay",
        icon=":material/replay:",
        width="stretch",
        disabled=not one.can_replay,
        help="Follows its recipe on the pool as it is now and says what is different. Nothing is stored.",
    ):
        st.session_state[REPLAYED] = _replayed(pool, name)
    if see.button("Show on the map", key="curate_see", icon=":material/scatter_plot:", width="stretch"):
        go_to("map", selection=name)
    if out.button("Export …", key="curate_kept_export", type="primary", icon=":material/output:", width="stretch"):
        st.session_state[CHOSEN] = name
        go(EXPORT)
    if gone.button("Delete", key="curate_delete", icon=":material/delete:", width="stretch"):
        st.session_state[TOLD] = shelf_of(pool).delete(name, reviewer=REVIEWER)
        st.rerun()
    draw_training(pool, name)
    replayed = st.session_state.get(REPLAYED)
    if replayed is not None and replayed["selection"] == name:
        _draw_replayed(replayed)


def _replayed(pool: Pool, name: str) -> Mapping[str, Any]:
    try:
        with st.spinner("Following the recipe again …"):
            found = run_step("select", {"pool": str(pool.path), "replay": name}, progress=Silent())
    except ChipsError as error:
        return {"selection": name, "error": str(error)}
    return {**found, "selection": name}


def _draw_replayed(found: Mapping[str, Any]) -> None:
    """Says whether the same pairs came out, and what is different where they did not."""
    if "error" in found:
        st.error(literal(found["error"]))
        return
    changed = f" Changed since: {', '.join(found['changed'])}." if found["changed"] else ""
    if found["same"]:
        st.success(literal(f"The recipe gives the same {found['pairs']:,} pairs, in the same order.{changed}"))
        return
    st.warning(
        literal(f"The recipe now gives {len(found['new']):,} new pairs; {len(found['gone']):,} are gone.{changed}")
    )
    ids = [(pair, "new") for pair in found["new"]] + [(pair, "gone") for pair in found["gone"]]
    lines = [Line(pair, [Cell(what)]) for pair, what in ids[:MOST_IDS]]
    grid(["Pair", "Now"], lines, key="curate_replay_ids", label="Pairs that differ", words=(0,))

"""Taking a selection out: what would be written and what stays behind, the job, and the exports that are there."""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from chips_core.errors import ChipsError
from chips_core.store import Pool
from chips_core.store.review import EVERYTHING
from chips_core.views.exporting import (
    class_changes,
    columns_offered,
    export_target,
    exports_home,
    exports_there,
    in_a_sentence,
    preview,
    suggested_name,
)
from chips_core.views.kept_selections import kept_selections
from chips_core.views.planning import PlannedStep
from pages.parts.card_route import card_url
from pages.parts.curate.lab import CHOSEN
from pages.parts.grids import Cell, Line, grid
from pages.parts.opened import literal
from pages.parts.runs.jobs import alive_job, start

FORMS = {
    "csv": "CSV",
    "jsonl": "JSON Lines",
    "parquet": "Parquet",
    "webdataset": "WebDataset shards",
    "openclip": "open_clip training CSV",
    "huggingface": "Hugging Face datasets",
    "exclude": "List of the pairs left out",
}
ALWAYS_IMAGES = ("webdataset", "openclip", "huggingface")
SHARDED = ("webdataset", "huggingface")
MOST_CLASSES = 100


@dataclass(frozen=True)
class _Asked:
    """What the person chose."""

    selection: str
    form: str
    name: str
    settings: dict[str, Any]


def draw_export(pool: Pool) -> None:
    """Draws the choice, the difference it makes, the button, and what is there already."""
    if exports_home() is None:
        st.info("None of the app's folders is there to export to. Start the app with CHIPS_ROOTS naming one.")
        return
    names = [found.name for found in kept_selections(pool)]
    if not names:
        st.text("Nothing is saved yet, so only the whole pool can be exported. Save a selection under 'Choose'.")
    asked = _draw_choice(pool, [*names, EVERYTHING])
    _draw_difference(pool, asked)
    _draw_there(pool)


def _draw_choice(pool: Pool, names: list[str]) -> _Asked:
    wanted = st.session_state.pop(CHOSEN, None)
    if wanted in names:
        st.session_state["curate_export_of"] = wanted
    which, form, name = st.columns(3, vertical_alignment="bottom")
    selection = which.selectbox(
        "Selection", names, key="curate_export_of", format_func=lambda n: "every kept pair" if n == EVERYTHING else n
    )
    kind = form.selectbox("Format", list(FORMS), format_func=FORMS.__getitem__, key="curate_form")
    suggested = suggested_name(str(selection))
    given = name.text_input("Name of the export", key="curate_to", placeholder=suggested)
    settings: dict[str, Any] = {}
    with st.expander("Images and columns"):
        always = kind in ALWAYS_IMAGES
        images = st.checkbox(
            "Copy the images, made anew without metadata",
            value=always,
            key=f"curate_images_{kind}",
            disabled=always or kind == "exclude",
        )
        if images and not always:
            settings["images"] = "copy"
        if kind in SHARDED:
            settings["shard_size"] = int(st.number_input("Pairs in a shard", 1, 100_000, 1000, key="curate_shard"))
        if kind not in ("openclip", "exclude"):
            columns = st.multiselect(
                "Columns",
                columns_offered(pool),
                key="curate_columns",
                placeholder="what intake reads back; choose to write others, such as scores",
                help="pair_id, image and caption are always there. The patient (group) only when it is chosen here.",
            )
            settings["columns"] = list(columns)
    return _Asked(str(selection), str(kind), given.strip() or suggested, settings)


def _draw_difference(pool: Pool, asked: _Asked) -> None:
    """Draws what the export would hold and what stays behind, before anything is written, and the button."""
    st.subheader("What would be written")
    with st.spinner("Looking at the difference …"):
        plan = preview(pool, asked.selection, columns=asked.settings.get("columns", ()))
    st.text(f"{len(plan.table):,} pairs. {in_a_sentence(plan)}")
    for words in plan.warnings:
        st.warning(literal(words))
    left, right = st.columns([2, 3], gap="large")
    with left:
        lines = [Line("in the export", [Cell(f"{len(plan.table):,}")])]
        lines += [Line(reason, [Cell(f"{count:,}")]) for reason, count in plan.dropped.items() if count]
        grid(["Rows of the source", "Rows"], lines, key="curate_rows", label="Where every row of the source goes")
        _draw_start(pool, asked)
    with right:
        changes = class_changes(plan)[:MOST_CLASSES]
        lines = [
            Line(one.name, [Cell(f"{one.before:,}"), Cell(f"{one.after:,}"), Cell(f"{one.removed:.1%}", one.removed)])
            for one in changes
        ]
        grid(["Class", "Before", "After", "Removed"], lines, key="curate_classes", label="Classes", look="bars")


def _draw_start(pool: Pool, asked: _Asked) -> None:
    busy = alive_job(pool.path) is not None
    replace = False
    there = {found.name: found.pool for found in exports_there(pool.id)}
    if asked.name in there:
        replace = st.checkbox(
            "Replace the export of that name" + ", which is of another pool" * (there[asked.name] != pool.id),
            key="curate_force",
        )
    else:
        st.text("Goes to the folder 'exports' beside the pools, with a manifest and a data card.")
    blocked = busy or (asked.name in there and not replace)
    if st.button(
        "Export", key="curate_export", type="primary", icon=":material/output:", width="stretch", disabled=blocked
    ):
        _start(pool, asked, force=replace)


def _start(pool: Pool, asked: _Asked, *, force: bool) -> None:
    try:
        to = export_target(asked.name)
    except ChipsError as error:
        st.error(literal(str(error)))
        return
    step = {"pool": str(pool.path), "selection": asked.selection, "to": str(to), "format": asked.form, "force": force}
    if start(pool.path, [PlannedStep("export", step | asked.settings)]):
        st.rerun()


def _draw_there(pool: Pool) -> None:
    """Draws the finished exports; the data card of the one that is picked opens in a window of its own."""
    found = exports_there(pool.id)
    if not found:
        return
    st.subheader("Exports")
    lines = [
        Line(
            one.name,
            [
                Cell(one.selection),
                Cell(FORMS.get(one.kind, one.kind)),
                Cell(f"{one.pairs:,}"),
                Cell(f"{one.bytes / 1e6:,.1f} MB"),
                Cell("this pool" if one.pool == pool.id else "another pool"),
            ],
        )
        for one in found
    ]
    head = ["Export", "Selection", "Format", "Pairs", "Size", "Of"]
    grid(head, lines, key="curate_exports", label="The finished exports", words=(0, 1, 4))
    which, card, _ = st.columns([2, 1.4, 3], vertical_alignment="bottom")
    name = which.selectbox("Export", [one.name for one in found], key="curate_card_of")
    card.link_button("Open the data card", card_url(str(name)), icon=":material/article:", width="stretch")

"""Bringing in a data set: where it is, what it looks like, which column is what, its name, and what happens then."""

from collections.abc import Mapping

import streamlit as st

from chips_core.errors import ChipsError
from chips_core.views import sources
from chips_core.views.planning import steps_for
from chips_core.views.pools import allowed_path, new_pool_folder, roots, suggested_name
from chips_core.views.runs import joined
from chips_core.views.sources import SourcePreview
from pages.parts.errors import show_error
from pages.parts.opened import POOL, choose
from pages.parts.runs.jobs import start
from pages.parts.runs.plan import draw_plan

NOTHING = "— none —"
KINDS = (
    "A folder with pairs.csv, a CSV, TSV, JSONL or Parquet table, a folder of images, tar shards, "
    "a MedMNIST archive, COCO captions, or a folder of DICOM files."
)
REMEMBERED = 60  # seconds that a preview is kept


def draw_bring_in() -> None:
    """Draws the way from a path to a started job."""
    given = st.selectbox(
        "Path on this machine",
        sources.found_sources(),
        index=None,
        accept_new_options=True,
        key="source_path",
        placeholder="Choose what was found, or type the path of a file or a folder",
        help=KINDS,
    )
    if not given:
        st.text(KINDS)
        st.text(
            f"What lies in {', '.join(str(root) for root in roots())} can be brought in. "
            "To name other folders, start the app with CHIPS_ROOTS."
        )
        return
    images = st.session_state.get("source_images", "")
    shown = _previewed(given, columns=_chosen_columns(given), images=images)
    if shown is None:
        return
    _draw_preview(shown)
    columns = _draw_columns(shown, given=given)
    _draw_start(shown, given=given, columns=columns, images=images)


def _previewed(given: str, *, columns: Mapping[str, str] | None, images: str) -> SourcePreview | None:
    try:
        return _preview(given, columns=dict(columns) if columns else None, images=images)
    except ChipsError as error:
        show_error(error)
        return None


@st.cache_data(max_entries=6, ttl=REMEMBERED, show_spinner="Looking at the first rows …")
def _preview(given: str, *, columns: dict[str, str] | None, images: str) -> SourcePreview:
    return sources.preview(given, columns=columns, images=images)


def _draw_preview(shown: SourcePreview) -> None:
    count = f" About {shown.expected:,} rows." if shown.expected is not None else ""
    st.text(f"{shown.sentence}{count} The first {len(shown.table):d}:")
    st.dataframe(
        shown.table,
        hide_index=True,
        height=352,
        row_height=62,  # over 4 rem, captions that are too long go on below
        column_config={
            "picture": st.column_config.ImageColumn(width=70),
            "caption": st.column_config.TextColumn(width="large"),
            "patient": st.column_config.TextColumn(width="medium"),
            "split": st.column_config.TextColumn(width="small"),
        },
        alt="The first rows of the data set",
    )


def _chosen_columns(given: str) -> dict[str, str]:
    """Returns what the person changed in the columns of this source: "" means that there is none."""
    chosen = {name: st.session_state.get(f"column_{name}_{given}") for name in sources.MAPPED}
    return {name: "" if column == NOTHING else column for name, column in chosen.items() if column}


def _draw_columns(shown: SourcePreview, *, given: str) -> dict[str, str]:
    """Draws one choice a field, prefilled with the guess, and returns what was chosen."""
    if not shown.mappable:
        return {}
    with st.expander("Which column is what", expanded=not (shown.mapping["image"] and shown.mapping["caption"])):
        places = st.columns(3)
        for number, name in enumerate(sources.MAPPED):
            options = [NOTHING, *shown.columns]
            guessed = shown.mapping[name] if shown.mapping[name] in options else NOTHING
            with places[number % 3]:
                st.selectbox(sources.TITLES[name], options, index=options.index(guessed), key=f"column_{name}_{given}")
        st.text_input(
            "Folder of the images",
            key="source_images",
            placeholder="where the image paths start, if not beside the table",
        )
    return _chosen_columns(given)


def _draw_start(shown: SourcePreview, *, given: str, columns: Mapping[str, str], images: str) -> None:
    st.subheader("The pool")
    left, _ = st.columns([2, 3], gap="large")
    name = left.text_input("Name", suggested_name(shown.path), key=f"pool_name_{given}", max_chars=60)
    go_on = st.checkbox("Then encode, score and map it in the same job", value=True, key="go_on")
    choice = draw_plan(shown.facts, key="bring") if go_on else None
    if go_on and choice is None:
        st.text("Name the model to go on.")
        return
    try:
        folder = new_pool_folder(name)
        if images.strip():
            allowed_path(images)
    except ChipsError as error:
        show_error(error)
        return
    steps = [sources.intake_step(shown, pool=folder, columns=columns, images=images)]
    steps += steps_for(str(folder), choice, shown.facts) if choice else []
    words = joined([step.words for step in steps])
    if st.button(f"Start: {words}", type="primary", key="start_bring") and start(folder, steps):
        choose(POOL, folder.name)
        st.session_state["do_next"] = "pool"
        st.rerun()

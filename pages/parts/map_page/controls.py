"""The row above the map: which space, which colour, which filters, and the search."""

import numpy as np
import streamlit as st

from chips_core.clip import ModelSpec
from chips_core.errors import ChipsError
from chips_core.insight.vectors import Space
from chips_core.jobs.models import model_of_record
from chips_core.views.map import SPACES, Choice
from chips_core.views.map_filters import Filters
from chips_core.views.search import WAYS, Way, find, find_meaning
from pages.parts.errors import in_words
from pages.parts.map_page.desk import MATCHING, Desk, recall, remember
from pages.parts.opened import literal

OFFERED = 500  # names of a column that a filter offers, the most frequent ones
NOT_ASKED = ("", "")
PLACEHOLDERS = {"words": "Words in the caption", "meaning": "What the image should show", "id": "Pair id"}


def draw_controls(desk: Desk, space: Space) -> None:
    """Draws what the map shows; choices are kept by the session, whatever becomes of the widgets."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="map_controls"):
        st.title("Map", width="content", anchor=False)
        st.session_state["map_space"] = space
        st.segmented_control(
            "Alike by",
            list(SPACES),
            format_func=SPACES.__getitem__,
            key="map_space",
            required=True,
            on_change=_take,
            args=(desk, "space"),
        )
        st.session_state["map_colour"] = desk.colour.key
        titles = {choice.key: _numbered(at, choice) for at, choice in enumerate(desk.choices, start=1)}
        st.selectbox(
            "Colour",
            list(titles),
            format_func=titles.__getitem__,
            key="map_colour",
            on_change=_take,
            args=(desk, "colour"),
        )
        with st.popover(f"Filters ({desk.filters.count:d})" if desk.filters.count else "Filters"):
            _draw_filters(desk)


def draw_search(desk: Desk) -> None:
    """Draws the search and does it when the question changed."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="map_search"):
        way: Way = st.segmented_control(
            "Search by",
            list(WAYS),
            format_func=WAYS.__getitem__,
            default="words",
            key="map_way",
            required=True,
            persist_state="session",
        )
        st.text_input(
            "Search",
            type="search",
            key="map_query",
            placeholder=PLACEHOLDERS[way],
            label_visibility="hidden",
            persist_state="session",
        )
    _search(desk, way)


def draw_hits(desk: Desk) -> None:
    """Says what the search found and what can be done with it."""
    problem = recall(desk, "search_problem", "")
    if problem:
        st.warning(literal(problem))
    hits = desk.hits
    if hits is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="map_hits"):
        st.text(hits.sentence)
        if len(hits.rows):
            mask = np.zeros(len(desk.pairs), dtype=np.bool_)
            mask[hits.rows] = True
            if st.button("Select", key="hits_select", type="tertiary", help="Select the pairs that were found."):
                desk.select(mask, how="search")
                st.rerun()
            if st.button("Add", key="hits_add", type="tertiary", help="Add them to the selection."):
                desk.select(desk.selection.mask | mask, how="search")
                st.rerun()
        words = "Bring back the pairs that are greyed out by the search."
        st.button("End", key="hits_end", type="tertiary", on_click=end_search, args=(desk,), help=words)


def end_search(desk: Desk) -> None:
    """Brings all pairs back."""
    st.session_state["map_query"] = ""
    remember(desk, "hits", None)
    remember(desk, "asked", NOT_ASKED)
    remember(desk, "search_problem", "")


def _search(desk: Desk, way: Way) -> None:
    """Searches when the question changed."""
    query = str(st.session_state.get("map_query") or "").strip()
    asked = (way, query) if query else NOT_ASKED
    if recall(desk, "asked", NOT_ASKED) == asked:
        return
    remember(desk, "asked", asked)
    remember(desk, "search_problem", "")
    remember(desk, "hits", None)
    if not query:
        return
    try:
        if way == "meaning":
            with st.spinner("Asking the audited model; the first time it is loaded, which takes a while…"):
                hits = find_meaning(desk.pool, query, spec=_audited_model(desk))
        else:
            hits = find(desk.pairs, query, way=way)
    except ChipsError as error:
        remember(desk, "search_problem", in_words(error))
        return
    remember(desk, "hits", hits)
    remember(desk, "view", MATCHING)


def _audited_model(desk: Desk) -> ModelSpec:
    return model_of_record(desk.pool.feature_sets()[-1].record, pool=desk.pool.path)


def _draw_filters(desk: Desk) -> None:
    st.text("What does not match is greyed out, never hidden.")
    for choice in (choice for choice in desk.choices if choice.kind == "categorical"):
        counts = desk.values.names(choice).counts
        if len(counts) > 1:
            _draw_names(desk, choice, counts)
    if desk.colour.kind != "categorical":
        _draw_range(desk, desk.colour)
    others = [choice.title for choice in desk.scores if choice.key in desk.filters.ranges and choice != desk.colour]
    if others:
        st.text(f"Narrowed as well: {', '.join(others)}.")
    st.button(
        "Remove all filters",
        key="filters_none",
        disabled=not desk.filters.count,
        on_click=remember,
        args=(desk, "filters", Filters()),
    )


def _draw_names(desk: Desk, choice: Choice, counts: dict[str, int]) -> None:
    key = f"filter_{choice.key}"
    offered = list(counts)[:OFFERED]
    st.session_state[key] = desk.filters.chosen(choice.key, among=offered)
    st.multiselect(
        choice.title,
        offered,
        format_func=lambda name: f"{name or 'none'} ({counts[name]:,})",
        key=key,
        placeholder="All",
        on_change=_take_names,
        args=(desk, choice, tuple(counts)),
    )


def _draw_range(desk: Desk, choice: Choice) -> None:
    """Draws the score's range; the histogram under the map does the same by dragging."""
    numbers = desk.values.numbers(choice)
    known = numbers[np.isfinite(numbers)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    if low >= high:
        return
    ends = desk.filters.ranges.get(choice.key, (None, None))
    start, stop = (low if ends[0] is None else ends[0], high if ends[1] is None else ends[1])
    st.session_state["filter_range"] = (min(max(start, low), high), min(max(stop, low), high))
    st.slider(
        choice.title,
        low,
        high,
        key="filter_range",
        step=(high - low) / 500,
        format="%.4g",
        on_change=_take_range,
        args=(desk, choice, low, high),
        help="Pairs without this score are greyed out as soon as it is narrowed.",
    )


def _take(desk: Desk, name: str) -> None:
    remember(desk, name, st.session_state[f"map_{name}"])


def _take_names(desk: Desk, choice: Choice, among: tuple[str, ...]) -> None:
    wanted = st.session_state[f"filter_{choice.key}"]
    remember(desk, "filters", desk.filters.only(choice.key, among=among, wanted=wanted))


def _take_range(desk: Desk, choice: Choice, low: float, high: float) -> None:
    start, stop = st.session_state["filter_range"]
    slack = (high - low) / 1000
    ends = (None if start <= low + slack else start, None if stop >= high - slack else stop)
    remember(desk, "filters", desk.filters.within(choice.key, ends))


def _numbered(at: int, choice: Choice) -> str:
    return f"{at} · {choice.title}" if at <= 9 else choice.title

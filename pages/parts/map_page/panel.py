"""Beside the map: the selected or the matching pairs as cards or as a table, and one pair at a time."""

from collections.abc import Mapping

import numpy as np
import streamlit as st

from chips_core.insight.vectors import Space
from chips_core.numbers import column_format, number
from chips_core.views.map import Choice, MapCard, Rows, ordered, score_table, table_of
from chips_core.views.search import find_similar
from pages.parts.cards import Card, cards
from pages.parts.errors import errors_shown
from pages.parts.images import image_url
from pages.parts.map_page.desk import MATCHING, PAIR, SELECTED, Desk, recall, remember
from pages.parts.pair_address import pair_address

PER_PAGE, LINES_PER_PAGE = 24, 100
CARDS, TABLE = "Cards", "Table"
FORMS = {CARDS: CARDS, TABLE: TABLE}
HEIGHT = 500
FEW = 12  # lines of the table that stand without scrolling
AS_GIVEN = ""


@st.fragment
def draw_panel(desk: Desk) -> None:
    """Draws the panel; turning its pages leaves the map alone."""
    with errors_shown():
        _draw(desk)


def _draw(desk: Desk) -> None:
    lit = desk.lit()
    counts = {SELECTED: desk.selection.count, MATCHING: int(lit.sum())}
    view = recall(desk, "view", SELECTED if desk.selection.count else MATCHING)
    with st.container(horizontal=True, horizontal_alignment="distribute", gap="small"):
        view = _choice(desk, "view", view, {name: _counted(name, counts) for name in (SELECTED, MATCHING, PAIR)})
        form = _choice(desk, "form", recall(desk, "form", CARDS), FORMS) if view != PAIR else CARDS
    if view == PAIR:
        with st.container(height=HEIGHT, border=False, key="map_pair"):
            _draw_pair(desk)
        return
    mask = desk.selection.mask if view == SELECTED else lit
    rows, order = _ordered(desk, np.flatnonzero(mask), view=view)
    _draw_rows(desk, rows, order=order, form=form, view=view)


def _counted(name: str, counts: Mapping[str, int]) -> str:
    return f"{name} {counts[name]:,}" if name in counts else name


def _choice(desk: Desk, name: str, value: str, options: Mapping[str, str]) -> str:
    """Draws a choice that the session remembers under a name."""
    st.session_state[f"map_{name}"] = value
    return str(
        st.segmented_control(
            name.capitalize(),
            list(options),
            format_func=options.__getitem__,
            key=f"map_{name}",
            required=True,
            label_visibility="collapsed",
            on_change=_take,
            args=(desk, name),
        )
    )


def _ordered(desk: Desk, rows: Rows, *, view: str) -> tuple[Rows, Choice | None]:
    """Draws the choice of the order and returns the rows in it."""
    by_key = {choice.key: choice for choice in desk.scores}
    hits = desk.hits if view == MATCHING else None
    given = "Best match first" if hits is not None and hits.ranked else "In the order of the pool"
    options = [AS_GIVEN, *by_key]
    best = desk.colour.key if desk.colour.key in by_key else options[-1 if len(options) == 1 else 1]
    wanted = AS_GIVEN if hits is not None and hits.ranked else best
    wanted = recall(desk, "order", wanted)
    st.session_state["map_order"] = wanted if wanted in options else AS_GIVEN
    row = st.container(horizontal=True, gap="small", vertical_alignment="center")
    key = row.selectbox(
        "Order",
        options,
        format_func=lambda key: f"By {by_key[key].title}" if key else given,
        key="map_order",
        label_visibility="collapsed",
        on_change=_take,
        args=(desk, "order"),
    )
    if key == AS_GIVEN:
        if hits is None:
            return rows, None
        left = desk.lit()[hits.rows]
        return hits.rows[left], None
    choice = by_key[str(key)]
    first = row.segmented_control(
        "From",
        [True, False],
        format_func=lambda high: "High first" if high else "Low first",
        default=choice.high_first,
        key=f"map_turn_{choice.key}",
        required=True,
        label_visibility="collapsed",
    )
    return ordered(rows, desk.values.numbers(choice), high_first=bool(first)), choice


def _draw_rows(desk: Desk, rows: Rows, *, order: Choice | None, form: str, view: str) -> None:
    size = PER_PAGE if form == CARDS else LINES_PER_PAGE
    pages = max(1, -(-len(rows) // size))
    top = st.container(height=HEIGHT, border=False, key="map_rows")
    page = 1
    if pages > 1:
        page = st.pagination(pages, max_visible_pages=7, key=f"map_page_{view}_{form}_{pages}", width="stretch")
    shown = rows[(page - 1) * size : page * size]
    with top:
        if form == CARDS:
            _draw_cards(desk, shown, order=order, view=view)
        else:
            _draw_table(desk, shown, order=order)


def _draw_cards(desk: Desk, rows: Rows, *, order: Choice | None, view: str) -> None:
    numbers = desk.values.numbers(order) if order is not None else None
    badges = ["" if numbers is None or np.isnan(numbers[row]) else number(numbers[row]) for row in rows]
    shown = [_card(desk, card, badge) for card, badge in zip(desk.pairs.cards(rows), badges, strict=True)]
    empty = {
        SELECTED: "Nothing is selected. Draw around pairs on the map with the lasso (L), or search and select.",
        MATCHING: "No pair matches the filters and the search.",
    }[view]
    picked = cards(shown, key="map_cards", label=f"{view} pairs", width=124, lines=2, empty=empty)
    if picked is not None:
        at = [int(desk.pairs.input_rows[row]) for row in rows]
        if picked in at:
            desk.look_at(int(rows[at.index(picked)]))
            st.rerun()


def _draw_table(desk: Desk, rows: Rows, *, order: Choice | None) -> None:
    table = table_of(desk.pairs, desk.values, rows, score=order)
    event = st.dataframe(
        table,
        hide_index=True,
        height="content" if len(table) <= FEW else HEIGHT - 60,
        on_select="rerun",
        selection_mode="multi-row",
        key="map_table",
        alt="The pairs as a table",
        column_config={
            "score": st.column_config.NumberColumn(format=column_format(table.get("score", ())), width=74),
            "caption": st.column_config.TextColumn(width="medium"),
            "label": st.column_config.TextColumn(width="small"),
        },
    )
    marked = [row for row in event["selection"]["rows"] if row < len(rows)]
    with st.container(horizontal=True):
        add = st.button(f"Add {len(marked):d} ticked" if marked else "Add ticked", disabled=not marked, key="table_add")
        drop = st.button(
            f"Remove {len(marked):d} ticked" if marked else "Remove ticked", disabled=not marked, key="table_drop"
        )
        if st.button("Open", disabled=len(marked) != 1, key="table_open"):
            desk.look_at(int(rows[marked[0]]))
            st.rerun()
    if add or drop:
        mask = desk.selection.mask.copy()
        mask[rows[marked]] = add
        desk.select(mask, how="table")
        st.rerun()


def _draw_pair(desk: Desk) -> None:
    row = desk.looked_at
    if row is None:
        st.text("Click a pair on the map, or a card, to see it here.")
        return
    card = desk.pairs.card(row)
    picture, words = st.columns(2)
    with picture:
        shown = Card(card.input_row, image_url(desk.pool.id, card.input_row, size=384), card.pair_id, "")
        cards([shown], key="map_pair_card", label="The pair looked at", clickable=False, width=190)
    with words:
        st.text(card.caption or "This pair has no caption.")
        _draw_pair_acts(desk, row)
        st.link_button("All about it", pair_address(desk.pool, card.pair_id), width="stretch")
    facts = table_of(desk.pairs, desk.values, np.array([row]), score=None).drop(columns="caption").T.reset_index()
    facts.columns = ["column", "value"]
    st.dataframe(facts[facts["value"] != ""], hide_index=True, height="content", alt="The pair's columns")
    scores = score_table(desk.values, desk.scores, row)
    if len(scores):
        share = st.column_config.ProgressColumn("pairs below", format="percent", min_value=0, max_value=1)
        value = st.column_config.NumberColumn(format="%.3g")
        config = {"above": share, "value": value}
        st.dataframe(scores, hide_index=True, height="content", column_config=config, alt="The pair's scores")


def _draw_pair_acts(desk: Desk, row: int) -> None:
    held = bool(desk.selection.mask[row])
    if st.button("Remove from selection" if held else "Add to selection", key="pair_toggle", width="stretch"):
        mask = desk.selection.mask.copy()
        mask[row] = not held
        desk.select(mask, how="pick")
        remember(desk, "view", PAIR)
        st.rerun()
    if st.button("Similar images", key="pair_similar_images", width="stretch"):
        _find_similar(desk, row, "image")
    if st.button("Similar captions", key="pair_similar_captions", width="stretch"):
        _find_similar(desk, row, "text")


def _find_similar(desk: Desk, row: int, space: Space) -> None:
    with st.spinner("Comparing…"):
        hits = find_similar(desk.pool, row, space=space)
    remember(desk, "hits", hits)
    remember(desk, "view", MATCHING)
    st.rerun()


def _card(desk: Desk, card: MapCard, badge: str) -> Card:
    url = image_url(desk.pool.id, card.input_row)
    return Card(card.input_row, url, card.pair_id, card.caption, badge=badge)


def _take(desk: Desk, name: str) -> None:
    remember(desk, name, st.session_state[f"map_{name}"])

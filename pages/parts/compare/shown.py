"""A difference as numbers, on the map, as pairs and as a table; and the agreement between methods as a matrix."""

import numpy as np
import streamlit as st

from chips_core.store import Pool
from chips_core.views.compare import PLACES, Difference, Table, agreement
from chips_core.views.map import Layout, PairColumns, Rows, load_layout, maps_of
from chips_core.views.runs import runs_of
from pages.parts.cards import Card, cards
from pages.parts.grids import Cell, Line, grid
from pages.parts.images import image_url
from pages.parts.opened import current_run, literal, open_pair
from pages.parts.pool_map import Category, Colouring, Legend, MapTip, Shown, colour_values, pool_map, take_event
from pages.parts.pool_map.colours import categorical_palette

KEY, HEIGHT = "compare_map", 600
PER_PAGE = 12  # full lines of cards on a narrow and on a wide screen
LONGEST_TIP = 240
GREY = 254  # a code beyond the named inks: the pairs in no group
MOST_LINES = 60
DRAWN = "compare_drawn"  # the pairs of the region drawn on the map


def draw_difference(pool: Pool, pairs: PairColumns, found: Difference) -> None:
    """Draws everything about two things compared."""
    for place, (words, number) in zip(st.columns(len(found.facts)), found.facts, strict=True):
        place.metric(literal(words), number)
    maps = maps_of(pool)
    space = next((space for space in ("image", "joint", "text") if space in maps), None)
    if space is None:
        st.text("There is no map of this pool yet; lay it out on the Map page to see the difference there.")
        _draw_pairs(pool, pairs, found, within=None)
    else:
        left, right = st.columns([3, 2], gap="large")
        with left:
            within = _draw_map(pool, pairs, found, load_layout(pool, maps[space]))
        with right:
            _draw_pairs(pool, pairs, found, within=within)
    if found.table is not None:
        _draw_table(found, found.table)


def _draw_map(pool: Pool, pairs: PairColumns, found: Difference, layout: Layout) -> Rows | None:
    """Draws the map and returns the pairs of the region that was drawn on it; None for all."""
    lit = None if found.groups is None else layout.placed(found.groups >= 0)
    event = take_event(key=KEY, xy=layout.xy, visible=lit)
    key = (found.a, found.b)
    if event is not None and event.kind in ("lasso", "box", "pick"):
        st.session_state[DRAWN] = (key, layout.rows[event.rows])
    elif event is not None and event.kind == "clear":
        st.session_state.pop(DRAWN, None)
    kept = st.session_state.get(DRAWN)
    within: Rows | None = kept[1] if kept is not None and kept[0] == key else None
    chosen = None if within is None else np.isin(layout.rows, within)
    shown = Shown(
        height=HEIGHT,
        label=f"Map of {len(layout.rows):,} pairs, coloured by the difference",
        tip_for=lambda place: _tip(pool, pairs, found, int(layout.rows[place])),
    )
    pool_map(xy=layout.xy, colouring=_colouring(found, layout), key=KEY, selected=chosen, visible=lit, shown=shown)
    st.text("Draw around pairs (L) to see only those beside the map.")
    return within


def _colouring(found: Difference, layout: Layout) -> Colouring:
    if found.change is not None:
        change = found.change[layout.rows]
        return colour_values(change, "diverging", title=f"Places moved, of {PLACES}", high_first=found.high_first)
    assert found.groups is not None  # noqa: S101 -- one of the two is there
    codes = np.where(found.groups < 0, GREY, found.groups)[layout.rows].astype(np.uint8)
    counts = np.bincount(codes, minlength=GREY + 1)
    named = [*enumerate(found.names), (GREY, found.rest)]
    categories = tuple(Category(name, code, int(counts[code])) for code, name in named)
    return Colouring(codes, categorical_palette(), Legend("Difference", "categorical", categories=categories))


def _tip(pool: Pool, pairs: PairColumns, found: Difference, row: int) -> MapTip:
    card = pairs.card(row)
    told = " · ".join(_by_name(found, row))
    caption = card.caption if len(card.caption) <= LONGEST_TIP else card.caption[:LONGEST_TIP] + "…"
    return MapTip(card.pair_id, f"{told}\n{caption}", image_url(pool.id, card.input_row, size=192))


def _by_name(found: Difference, row: int) -> list[str]:
    """Returns what each of the two says of a pair."""
    both = zip((found.a, found.b), found.told, strict=True)
    return [f"{name}: {text[row] or 'nothing'}" for name, text in both]


def _draw_pairs(pool: Pool, pairs: PairColumns, found: Difference, *, within: Rows | None) -> None:
    """Draws the pairs that differ, as cards, a page at a time; a click opens a pair."""
    rows = found.differing if within is None else found.differing[np.isin(found.differing, within)]
    where = "" if within is None else " in the region drawn"
    order = ", those that move most first" if found.change is not None and len(rows) else ""
    if len(rows):
        st.text(f"{len(rows):,} pairs differ{where}{order}." if len(rows) > 1 else f"1 pair differs{where}.")
    pages = max(1, -(-len(rows) // PER_PAGE))
    page = st.pagination(pages, max_visible_pages=5, key=f"compare_page_{pages}") if pages > 1 else 1
    part = rows[(page - 1) * PER_PAGE : page * PER_PAGE]
    shown = [
        Card(
            card.input_row,
            image_url(pool.id, card.input_row),
            card.pair_id,
            card.caption,
            badge="" if found.people else f"{found.told[0][row] or '–'} → {found.told[1][row] or '–'}",
            note="\n".join(_by_name(found, row)) if found.people else "",
        )
        for card, row in zip(pairs.cards(part), part.tolist(), strict=True)
    ]
    picked = cards(shown, key="compare_cards", label="Pairs that differ", width=130, lines=2, empty="No pair differs.")
    open_pair(shown, picked)


def _draw_table(found: Difference, table: Table) -> None:
    """Draws the classes of two selections, or verdict against verdict."""
    deepest = max((number for _, numbers in table.lines for number in numbers), default=1.0) or 1.0
    lines = [
        Line(name, [Cell(f"{number:,.0f}", number / deepest) for number in numbers])
        for name, numbers in table.lines[:MOST_LINES]
    ]
    if table.head[0]:
        st.subheader("By class")
        inks = (0, 1)
        grid(table.head, lines, key="compare_table", label="Pairs of each class", look="bars", inks=inks)
        return
    st.subheader("Verdict against verdict")
    grid(table.head, lines, key="compare_table", label="Verdict against verdict", look="tint")
    st.text(f"Rows: {found.a}. Columns: {found.b}.")


def draw_agreement(pool: Pool) -> None:
    """Draws the rank correlation of every two methods of a run."""
    names = [run.name for run in runs_of(pool)]
    if not names:
        st.info("Score the pool on the Runs page to see how alike its methods rank the pairs.")
        return
    shown = current_run(pool)
    at = names.index(shown.name) if shown is not None else 0
    run = str(st.selectbox("Run", names, index=at, key="compare_run"))
    found = agreement(pool, run)
    if len(found.titles) < 2:
        st.info("This run holds only one method that ranks. Score with others to compare them.")
        return
    lines = [
        Line(title, [Cell(f"{value:z.2f}".replace("-", "−"), float(value)) for value in values])
        for title, values in zip(found.titles, found.correlation, strict=True)
    ]
    grid(["", *found.titles], lines, key="compare_agreement", label="Rank correlation of methods", look="tint")
    st.text(
        f"Spearman's rank correlation over {found.pairs:,} pairs, every score turned so that high is valuable: "
        "1 the same order, 0 nothing in common, below 0 the opposite order."
    )

"""The map itself, in a fragment of its own: moving the pointer over it never runs the rest of the page."""

import numpy as np
import streamlit as st

from chips_core.errors import ChipsError
from chips_core.insight.vectors import Space
from chips_core.views.map import SPACES, Layout
from chips_core.views.map_filters import Filters
from chips_core.views.planning import PlannedStep
from pages.parts.errors import show_error
from pages.parts.images import image_url
from pages.parts.map_page.desk import Desk, remember
from pages.parts.pool_map import Colouring, MapEvent, MapTip, Shown, pool_map, take_event
from pages.parts.runs.jobs import alive_job, draw_job, start

KEY = "map"
HEIGHT = 560
LONGEST_TIP = 240
NO_VALUE = 255  # the code of pairs without a value


def take_map_event(desk: Desk, layout: Layout) -> MapEvent | None:
    """Does what the person did on the map since the last run; returns it, None for nothing."""
    event = take_event(key=KEY, xy=layout.xy, visible=layout.placed(desk.lit()))
    if event is None:
        return None
    if event.kind == "pick" and event.mode == "replace":
        desk.look_at(int(layout.rows[event.rows[0]]))
    elif event.kind in ("lasso", "box", "pick", "clear"):
        mask = desk.selection.mask
        placed = event.applied_to(layout.placed(mask))
        desk.select(np.zeros_like(mask) if event.kind == "clear" else layout.spread(placed, mask), how=event.kind)
    elif event.kind == "colour" and event.number <= len(desk.choices):
        remember(desk, "colour", desk.choices[event.number - 1].key)
    elif event.kind == "range":
        remember(desk, "filters", desk.filters.within(desk.colour.key, event.range))
    elif event.kind == "category":
        remember(desk, "filters", _switched(desk, event.codes, desk.colouring(layout)))
    return event


@st.fragment
def draw_map(desk: Desk, layout: Layout) -> None:
    """Draws the map; what a person does on it is answered here at once, and by the rest of the page right after."""
    try:
        event = take_map_event(desk, layout)
        _draw(desk, layout)
    except ChipsError as error:
        show_error(error, before="The map cannot be drawn.")
        return
    if event is not None and event.kind != "hover":
        st.rerun()


def offer_map(desk: Desk, space: Space) -> None:
    """Draws the one button that makes a map where there is none, or how far its job is."""
    with st.container(border=True, height=HEIGHT, vertical_alignment="center", horizontal_alignment="center"):
        if alive_job(desk.pool.path) is not None:
            draw_job(desk.pool.path)
            return
        st.text(f"There is no map by {SPACES[space].lower()} yet: the plane in which alike pairs lie together.")
        st.text("Search, gallery, table and selections on this page work without it.")
        if st.button("Make the map", type="primary", key="make_map", icon=":material/scatter_plot:"):
            settings = {"pool": str(desk.pool.path), "space": space}
            if start(desk.pool.path, [PlannedStep("map", settings)]):
                st.rerun()


def _draw(desk: Desk, layout: Layout) -> None:
    colouring, lit = desk.colouring(layout), desk.lit()
    off = desk.filters.off.get(desk.colour.key, frozenset())
    shown = Shown(
        height=HEIGHT,
        label=f"Map of {len(layout.rows):,} pairs",
        brushed=desk.filters.ranges.get(desk.colour.key),
        switched_off=_codes_off(desk, colouring, off),
        looked=layout.place_of(desk.looked_at),
        tip_for=lambda place: _tip(desk, int(layout.rows[place])),
    )
    pool_map(
        xy=layout.xy,
        colouring=colouring,
        key=KEY,
        selected=layout.placed(desk.selection.mask),
        visible=None if lit.all() else layout.placed(lit),
        shown=shown,
    )
    notes = [desk.colour.meaning] if desk.colour.meaning else []
    missing = len(desk.pairs) - len(layout.rows)
    if missing:
        notes.append(f"{missing:,} kept pairs are not encoded and have no place here.")
    unplaced = layout.unplaced(desk.selection.mask)
    if unplaced:
        notes.append(f"{unplaced:,} of the selected pairs have no place here.")
    st.text("\n".join(notes))


def _tip(desk: Desk, row: int) -> MapTip:
    card = desk.pairs.card(row)
    caption = card.caption if len(card.caption) <= LONGEST_TIP else card.caption[:LONGEST_TIP] + "…"
    return MapTip(card.pair_id, caption, image_url(desk.pool.id, card.input_row, size=192))


def _switched(desk: Desk, codes: tuple[int, ...], colouring: Colouring) -> Filters:
    """Returns the filters with the names behind these colours switched off; grey stands for all names without one."""
    names = set(desk.values.names(desk.colour).names)
    inked = {category.code: category.name for category in colouring.legend.categories if category.name in names}
    off = {inked[code] for code in codes if code in inked}
    if NO_VALUE in codes:
        off.add("")
    if any(code not in inked and code != NO_VALUE for code in codes):
        off |= names - set(inked.values()) - {""}
    return desk.filters.without(desk.colour.key, off & names)


def _codes_off(desk: Desk, colouring: Colouring, off: frozenset[str]) -> tuple[int, ...]:
    if not off:
        return ()
    names = set(desk.values.names(desk.colour).names)
    categories = colouring.legend.categories
    inked = {category.name for category in categories if category.name in names}
    codes = [c.code for c in categories if (c.name in off if c.name in names else (names - inked - {""}) <= off)]
    return tuple(codes + ([NO_VALUE] if "" in off else []))

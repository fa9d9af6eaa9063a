"""Map: the pool as a plane in which alike pairs lie together; draw around some, look at them, judge them."""

import streamlit as st

from pages.parts.errors import errors_shown
from pages.parts.map_page.bar import draw_bar
from pages.parts.map_page.controls import draw_controls, draw_hits, draw_search
from pages.parts.map_page.desk import desk_of, layout_of, look_at_wanted
from pages.parts.map_page.pane import draw_map, offer_map, take_map_event
from pages.parts.map_page.panel import draw_panel
from pages.parts.opened import ready_pool
from pages.parts.selections import settle

TALL = """<style>
:root { --map-height: calc(100vh - 340px); }
:has(> .st-key-map_rows) { height: max(500px, calc(100vh - 400px)) !important; }
:has(> .st-key-map_pair) { height: max(500px, calc(100vh - 300px)) !important; }
</style>"""

pool = ready_pool("Map")
st.html(TALL)  # the map and the panel grow with the window
with errors_shown():
    desk = desk_of(pool)
    look_at_wanted(desk)
    space, layout = layout_of(desk)
    if layout is not None:
        take_map_event(desk, layout)  # before anything is drawn, so that the whole page answers in one run
    beside, panel = st.columns([8, 5], gap="medium")
    with panel:
        draw_search(desk)  # what it finds is greyed on the map in the same run
        draw_hits(desk)
    with beside:
        draw_controls(desk, space)
        if layout is None:
            offer_map(desk, space)
        else:
            draw_map(desk, layout)
    settle(pool)  # before the bar names it: what is shown as saved is already in the address
    with panel:
        draw_bar(desk)
        draw_panel(desk)

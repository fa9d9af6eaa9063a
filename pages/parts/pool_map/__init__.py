"""The map of a pool: a million pairs in the browser without a graphics card, a network or a build step.

`pool_map` draws; `take_event` reads what the person did before anything is drawn, so that a page answers in one run:

    event = take_event(key="map", xy=layout)
    if event is not None:
        selected = event.applied_to(selected)
    pool_map(xy=layout, colouring=colour_values(scores, "diverging", title="utility"), selected=selected, key="map")
"""

from pages.parts.pool_map.colours import Category, Colouring, Legend, Palette, colour_values
from pages.parts.pool_map.component import MapTip, Shown, pool_map, take_event
from pages.parts.pool_map.events import MapEvent

__all__ = [
    "Category",
    "Colouring",
    "Legend",
    "MapEvent",
    "MapTip",
    "Palette",
    "Shown",
    "colour_values",
    "pool_map",
    "take_event",
]

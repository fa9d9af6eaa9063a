"""The map as a Streamlit component: what goes down to the browser, and what comes back up."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pages.parts.pool_map.channels import (
    Channel,
    colours_channel,
    layout_places,
    masks_channel,
    points_channel,
    words_channel,
)
from pages.parts.pool_map.colours import Colouring
from pages.parts.pool_map.events import MapEvent, event_from
from pages.parts.pool_map_plotly import pool_map_plotly, take_simple_event

HERE = Path(__file__).parent
SCRIPTS = (
    "painter.js",
    "legend.js",
    "overlay.js",
    "camera.js",
    "gestures.js",
    "map.js",
)  # joined in this order into one module


@dataclass(frozen=True)
class MapTip:
    """What is shown beside the pair under the pointer; all of it is shown as plain text.

    Attributes:
        title: one line, such as the pair id.
        text: a few lines, such as the caption.
        image: a data URL or a path of this app, or empty.
    """

    title: str
    text: str = ""
    image: str = ""


@dataclass(frozen=True)
class Shown:
    """What the map is told besides the pairs.

    Attributes:
        height: pixels; a page that sets the CSS variable --map-height may make it taller.
        label: what a screen reader calls the map.
        brushed: the range that the legend's filter has now.
        switched_off: the codes of the categories that the filter leaves out.
        looked: the pair that the page looks at, as a position in the layout: it is ringed.
        tip_for: gives the tip of a pair under the pointer; asks for a rerun after a short rest, so keep the map in a
            fragment when the page is slow.
    """

    height: int = 560
    label: str = "Map of the pool"
    brushed: tuple[float | None, float | None] | None = None
    switched_off: tuple[int, ...] = ()
    looked: int | None = None
    tip_for: Callable[[int], MapTip] | None = None


def take_event(*, key: str, xy: NDArray[np.floating], visible: NDArray[np.bool_] | None = None) -> MapEvent | None:
    """Returns what the person did since the last run, once; call it before `pool_map` to answer in the same run.

    A region holds only pairs that are `visible`: what is greyed out is never selected by drawing over it.
    """
    if st.session_state.get(f"{key}-simple"):
        return take_simple_event(key=f"{key}-plotly", xy=xy, visible=visible)
    message = _message(key, "event")
    if not isinstance(message, Mapping) or not isinstance(message.get("id"), str):
        return None
    seen = f"{key}-seen"
    if st.session_state.get(seen) == message["id"]:
        return None
    st.session_state[seen] = message["id"]
    event = event_from(dict(message), layout_places(xy)[1], visible=visible)
    if event is not None and event.kind == "no-webgl":
        st.session_state[f"{key}-simple"] = True
    return event


def pool_map(
    *,
    xy: NDArray[np.floating],
    colouring: Colouring,
    key: str,
    selected: NDArray[np.bool_] | None = None,
    visible: NDArray[np.bool_] | None = None,
    shown: Shown | None = None,
) -> MapEvent | None:
    """Draws the map and returns what the person did, unless `take_event` took it before.

    Args:
        xy: (N, 2) layout; keep it read-only and the same array between runs, then nothing is computed twice.
        colouring: from `colour_values`; (N,) codes.
        key: names the map; view, tool and zoom stay with it through recolouring, reruns and page switches.
        selected: (N,) pairs to lift out.
        visible: (N,) pairs that the filter leaves; the others are greyed, never hidden.
        shown: height, label, filter of the legend, tips.

    Where the browser has no WebGL2 the simple map takes its place from then on.
    """
    shown = shown or Shown()
    event = take_event(key=key, xy=xy, visible=visible)
    if st.session_state.get(f"{key}-simple"):
        pool_map_plotly(
            xy=xy,
            colouring=colouring,
            key=f"{key}-plotly",
            selected=selected,
            visible=visible,
            looked=shown.looked,
            height=shown.height,
        )
        return event
    name, places = layout_places(xy)
    channels = {
        "points": points_channel(key, fingerprint=name, places=places),
        "colours": colours_channel(key, colouring),
        "masks": masks_channel(key, hidden=None if visible is None else ~visible, selected=selected, pairs=len(xy)),
    }
    words = _words(key, channels, colouring=colouring, shown=shown)
    words |= {"pairs": len(xy), "selected": _count(selected), "hidden": 0 if visible is None else _count(~visible)}
    channels["words"] = words_channel(key, words)
    with st.container(key=f"{key}-frame", gap=None):
        for channel, content in channels.items():
            _channel_component()(key=f"{key}-{channel}", data=content.message)
        _map_component()(key=key, data={"key": key}, on_event_change=_nothing, on_hover_change=_nothing)
    return event


def _message(key: str, name: str) -> Any:
    state = st.session_state.get(key)
    return state.get(name) if isinstance(state, Mapping) else None


def _words(key: str, channels: dict[str, Channel], *, colouring: Colouring, shown: Shown) -> dict[str, Any]:
    """Returns what the page needs besides the bytes; the legend and at most one tip, no captions."""
    legend = asdict(colouring.legend) | {"range": shown.brushed, "off": shown.switched_off}
    row = _message(key, "hover")
    tip = None
    if shown.tip_for is not None and type(row) is int and 0 <= row < len(colouring.codes):
        tip = asdict(shown.tip_for(row)) | {"row": row}
    return {
        "fingerprints": {name: channel.fingerprint for name, channel in channels.items()},
        "legend": legend,
        "height": shown.height,
        "label": f"{shown.label}. Arrows move, plus and minus zoom, L draws a lasso, question mark lists the keys.",
        "hover": shown.tip_for is not None,
        "looked": shown.looked,
        "tip": tip,
    }


def _count(mask: NDArray[np.bool_] | None) -> int:
    return 0 if mask is None else int(np.count_nonzero(mask))


def _nothing() -> None:
    """State needs a callback to exist; `take_event` reads it."""


@cache
def _map_component() -> Any:
    script = "\n".join((HERE / "js" / name).read_text(encoding="utf-8") for name in SCRIPTS)
    html = (HERE / "map.html").read_text(encoding="utf-8")
    css = (HERE / "map.css").read_text(encoding="utf-8")
    return st.components.v2.component("chips_lens.pool_map", html=html, css=css, js=script)


@cache
def _channel_component() -> Any:
    script = (HERE / "js" / "channel.js").read_text(encoding="utf-8")
    return st.components.v2.component("chips_lens.pool_map_channel", js=script)

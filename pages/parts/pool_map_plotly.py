"""The simple map: for browsers without WebGL2, over remote desktops, and whenever the map proper gives up.

All pairs are painted into one picture on the server; over it lie a few pairs that can be clicked. Drawing sends the
polygon and these few pairs, never the rows; the server finds what lies inside.
"""

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from chips_core.fingerprint import of
from chips_core.insight.regions import SIDE, Places
from pages.parts.pool_map.channels import layout_places
from pages.parts.pool_map.colours import GREY, Colouring
from pages.parts.pool_map.events import MapEvent, event_from

if TYPE_CHECKING:
    import plotly.graph_objects as go

CLICKABLE = 2000  # about 150 bytes each travel up when a region holds them
PIXELS = 900  # side of the picture
RING, ACCENT = 0.012, "#2a86b0"  # radius, as a share of the picture; an ink that stands out on both grounds
LAYERS = ((1, 0.35), (0, 0.75), (2, 1.0))  # filtered out, ordinary, selected: from the back to the front, with opacity


def take_simple_event(
    *, key: str, xy: NDArray[np.floating], visible: NDArray[np.bool_] | None = None
) -> MapEvent | None:
    """Returns what the person did on the simple map since the last run, once."""
    state = st.session_state.get(key)
    selection = state.get("selection") if isinstance(state, Mapping) else None
    if not isinstance(selection, Mapping):
        return None
    message = _message(selection, clickable_rows(len(xy)))
    if message is None:
        return None
    name, seen = of(message), f"{key}-seen"
    if st.session_state.get(seen) == name:
        return None
    st.session_state[seen] = name
    return event_from(message, layout_places(xy)[1], visible=visible)


def pool_map_plotly(
    *,
    xy: NDArray[np.floating],
    colouring: Colouring,
    key: str,
    selected: NDArray[np.bool_] | None = None,
    visible: NDArray[np.bool_] | None = None,
    looked: int | None = None,
    height: int = 560,
) -> None:
    """Draws the simple map; `take_simple_event` reads what the person did on it."""
    _, places = layout_places(xy)
    dark = st.context.theme.type == "dark"
    figure = _figure(places, colouring, selected=selected, visible=visible, dark=dark)
    figure.update_layout(height=height)
    if looked is not None:
        _ring(figure, places, looked)
    st.plotly_chart(
        figure,
        key=key,
        on_select="rerun",
        selection_mode=("points", "box", "lasso"),
        config={"displaylogo": False, "scrollZoom": True, "modeBarButtonsToRemove": ["toImage", "autoScale2d"]},
    )
    count = 0 if selected is None else int(np.count_nonzero(selected))
    greyed = 0 if visible is None else int(np.count_nonzero(~visible))
    shown = min(CLICKABLE, len(xy))
    st.text(
        f"{count:,} of {len(xy):,} pairs selected, {greyed:,} greyed out. This is the simple map: draw around any "
        f"pairs; single clicks reach {shown:,} of them. Colours: {_in_words(colouring)}."
    )


def clickable_rows(pairs: int) -> NDArray[np.int64]:
    """Returns the rows that can be clicked, spread evenly over the pool."""
    if pairs <= CLICKABLE:
        return np.arange(pairs, dtype=np.int64)
    return np.linspace(0, pairs - 1, CLICKABLE).astype(np.int64)


def painted(
    places: Places,
    colouring: Colouring,
    *,
    selected: NDArray[np.bool_] | None,
    visible: NDArray[np.bool_] | None,
    dark: bool,
) -> NDArray[np.uint8]:
    """Returns the picture (PIXELS, PIXELS, 4): the mean colour of the pairs in a pixel, denser where there are more."""
    picture: NDArray[np.float64] = np.zeros((PIXELS * PIXELS, 4))
    across, up = (places.xy.astype(np.int64) * PIXELS // (SIDE + 1)).T
    pixel = (PIXELS - 1 - up) * PIXELS + across
    inks = colouring.palette.dark if dark else colouring.palette.light
    kinds = _kinds(len(pixel), selected=selected, visible=visible)
    quiet = 0.3 if (kinds == 2).any() else 1.0
    grey = np.frombuffer(bytes.fromhex(GREY["dark" if dark else "light"]), dtype=np.uint8)
    for kind, opacity in LAYERS:
        held = kinds == kind
        count = np.bincount(pixel[held], minlength=PIXELS * PIXELS)
        thick = np.power(0.45, count, dtype=np.float64)
        alpha = np.asarray((1 - thick) * opacity * (quiet if kind == 0 else 1.0), dtype=np.float64)
        for band in range(3):
            ink = np.full(int(held.sum()), grey[band]) if kind == 1 else inks[colouring.codes[held], band]
            mean = np.bincount(pixel[held], weights=ink, minlength=PIXELS * PIXELS) / np.maximum(count, 1)
            picture[:, band] += (mean - picture[:, band]) * np.where(count > 0, _over(alpha, picture[:, 3]), 0.0)
        picture[:, 3] = alpha + picture[:, 3] * (1 - alpha)
    picture[:, 3] *= 255
    return np.rint(picture).astype(np.uint8).reshape(PIXELS, PIXELS, 4)


def _over(alpha: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the weight of the upper colour where it lies over a lower one."""
    return alpha / np.maximum(alpha + below * (1 - alpha), 1e-9)


def _kinds(pairs: int, *, selected: NDArray[np.bool_] | None, visible: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """Returns (N,) the layer of each pair: 0 ordinary, 1 filtered out, 2 selected."""
    kinds = np.zeros(pairs, dtype=np.uint8)
    if selected is not None:
        kinds[selected] = 2
    if visible is not None:
        kinds[~visible] = 1
    return kinds


def _figure(
    places: Places,
    colouring: Colouring,
    *,
    selected: NDArray[np.bool_] | None,
    visible: NDArray[np.bool_] | None,
    dark: bool,
) -> "go.Figure":
    import plotly.graph_objects as go  # slow to load, and most browsers never need it

    buffer = io.BytesIO()
    picture = painted(places, colouring, selected=selected, visible=visible, dark=dark)
    Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    rows = clickable_rows(len(places.xy))
    spots = places.xy[rows] / SIDE
    inks = (colouring.palette.dark if dark else colouring.palette.light)[colouring.codes[rows]]
    names = [f"rgb({red},{green},{blue})" for red, green, blue in inks.tolist()]
    kinds = _kinds(len(places.xy), selected=selected, visible=visible)
    strength = np.array([0.1 if (kinds == 2).any() else 0.55, 0.06, 0.9])[kinds[rows]]
    marker = {"size": 5, "color": names, "opacity": strength, "line": {"width": 0}}
    figure = go.Figure(go.Scatter(x=spots[:, 0], y=spots[:, 1], mode="markers", marker=marker, hoverinfo="none"))
    figure.add_layout_image(
        source=source, xref="x", yref="y", x=0, y=1, sizex=1, sizey=1, sizing="stretch", layer="below"
    )
    figure.update_xaxes(visible=False, range=[0, 1])
    figure.update_yaxes(visible=False, range=[0, 1], scaleanchor="x")
    figure.update_layout(dragmode="lasso", margin={"l": 0, "r": 0, "t": 0, "b": 0}, showlegend=False)
    return figure


def _ring(figure: "go.Figure", places: Places, place: int) -> None:
    """Draws a ring round one pair."""
    x, y = (float(value) / SIDE for value in places.xy[place])
    ends = {"x0": x - RING, "x1": x + RING, "y0": y - RING, "y1": y + RING}
    figure.add_shape(type="circle", line={"color": ACCENT, "width": 2}, **ends)


def _message(selection: Mapping[str, Any], rows: NDArray[np.int64]) -> dict[str, Any] | None:
    """Returns plotly's selection in the words of the map proper."""
    for kind in ("lasso", "box"):
        for region in selection.get(kind) or ():
            corners = _corners(region, kind)
            if corners:
                return {"kind": kind, "polygon": corners}
    points: list[Any] = list(selection.get("points") or [])
    number = points[0].get("point_index") if len(points) == 1 and isinstance(points[0], Mapping) else None
    if isinstance(number, int) and 0 <= number < len(rows):
        return {"kind": "pick", "row": int(rows[number])}
    return None


def _corners(region: Any, kind: str) -> list[list[float]]:
    if not isinstance(region, Mapping):
        return []
    x, y = region.get("x"), region.get("y")
    if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
        return []
    if kind == "box" and len(x) == 2:
        return [[x[0], y[0]], [x[1], y[0]], [x[1], y[1]], [x[0], y[1]]]
    return [list(corner) for corner in zip(x, y, strict=True)]


def _in_words(colouring: Colouring) -> str:
    legend = colouring.legend
    if legend.kind == "categorical":
        return f"{legend.title}, {len(legend.categories)} groups"
    return f"{legend.title} from {legend.low:.3g} to {legend.high:.3g}"

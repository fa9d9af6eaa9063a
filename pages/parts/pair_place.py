"""Where a pair lies on the pool's map: a small still picture of all pairs, this one ringed, and the way to the map."""

import io

import numpy as np
import streamlit as st
from PIL import Image, ImageDraw

from chips_core.store import Pool
from chips_core.views.map import SPACES, Layout, load_layout, maps_of
from pages.parts.opened import go_to, has_page
from pages.parts.pool_map.channels import layout_places

GRID, PIXELS, WIDTH = 160, 800, 360  # sides: of the cells that pairs are counted in, of the picture, on the page
FAR, NEAR = 26, 9  # pixels of the picture: radius of the ring, and of the dot in it
INK = {"light": (110, 118, 128, 0), "dark": (140, 148, 158, 0)}
ACCENT = {"light": "#0b6e99", "dark": "#3d9dc8"}


def draw_place(pool: Pool, *, row: int, pair_id: str) -> None:
    """Draws where a kept pair lies on the first map of the pool; nothing where there is no map."""
    maps = maps_of(pool)
    if not maps:
        return
    space, name = next(iter(maps.items()))
    layout = load_layout(pool, name)
    place = layout.place_of(row)
    st.subheader("Place on the map")
    if place is None:
        st.text("This pair is not encoded and has no place there.")
        return
    kind = "dark" if st.context.theme.type == "dark" else "light"
    picture = _picture(str(pool.path), layout.name, kind, layout)
    st.image(
        _ringed(picture, layout, place, ink=ACCENT[kind]), width=WIDTH, alt="All pairs of the pool, this one ringed"
    )
    st.text(f"Laid out by {SPACES[space].lower()}.")
    if has_page("map") and st.button("Show it on the map", key="show_on_map", icon=":material/scatter_plot:"):
        go_to("map", pair=pair_id)


@st.cache_resource(max_entries=8, show_spinner=False)
def _picture(folder: str, name: str, kind: str, _layout: Layout) -> Image.Image:  # noqa: ARG001 - parts of the key
    """Returns all pairs in grey, darker where there are more."""
    _, places = layout_places(_layout.xy)
    across, up = (places.xy.astype(np.int64) * GRID >> 16).T
    count = np.bincount((GRID - 1 - up) * GRID + across, minlength=GRID * GRID).reshape(GRID, GRID)
    picture = np.full((GRID, GRID, 4), INK[kind], dtype=np.uint8)
    picture[..., 3] = np.rint(200 * (1 - 0.45**count))
    return Image.fromarray(picture).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)


def _ringed(picture: Image.Image, layout: Layout, place: int, *, ink: str) -> bytes:
    """Returns the picture as a PNG file with one place marked."""
    _, places = layout_places(layout.xy)
    x, y = (int(value) * PIXELS / (1 << 16) for value in places.xy[place])
    middle = (x, PIXELS - 1 - y)
    image = picture.copy()
    pen = ImageDraw.Draw(image)
    pen.circle(middle, FAR, outline=ink, width=6)
    pen.circle(middle, NEAR, fill=ink)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()

"""Where a map's pairs lie on the screen's square, and which of them a drawn region holds.

A layout is squeezed once into 16-bit places on a square, with one scale for both axes. The browser draws these places
and a region is tested against these places, so that what a person sees inside a line is what the line selects.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chips_core.errors import InputError

SIDE = 65535  # the largest 16-bit place
MARGIN = 0.03  # share of the square left free around the layout
OUTLYING = 0.0005  # share of pairs on each side that may not stretch the map; they are drawn on its border
SLABS = 512  # horizontal slices of the square in the region test

Polygon = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Places:
    """The pairs' places on the square, and the way back to the layout's own coordinates.

    Attributes:
        xy: (N, 2) uint16, read-only.
        origin: the layout's coordinates of the place (0, 0).
        scale: units of the layout for the whole side of the square.
    """

    xy: NDArray[np.uint16]
    origin: tuple[float, float]
    scale: float

    def to_layout(self, polygon: Polygon) -> list[tuple[float, float]]:
        """Returns a polygon of the unit square in the layout's coordinates."""
        x0, y0 = self.origin
        return [(x0 + x * self.scale, y0 + y * self.scale) for x, y in polygon]

    def to_unit(self, polygon: Polygon) -> list[tuple[float, float]]:
        """Returns a polygon of the layout's coordinates on the unit square."""
        x0, y0 = self.origin
        return [((x - x0) / self.scale, (y - y0) / self.scale) for x, y in polygon]

    def inside(self, polygon: Polygon) -> NDArray[np.bool_]:
        """Returns (N,) which pairs lie inside a polygon of the unit square."""
        return points_in_polygon(self.xy, [(x * SIDE, y * SIDE) for x, y in polygon])


def places_of(xy: NDArray[np.floating]) -> Places:
    """Returns the places of a layout (N, 2) on the square.

    A few pairs far from all others are put on the border rather than allowed to shrink the rest to a dot.
    """
    layout = np.asarray(xy, dtype=np.float32)
    if layout.ndim != 2 or layout.shape[1] != 2:
        raise InputError(f"A map needs coordinates of shape (N, 2), not {layout.shape}.", fix="make the map again.")
    if not np.isfinite(layout).all():
        raise InputError("The map's coordinates hold NaN or infinity.", fix="make the map again.")
    if not len(layout):
        return Places(_read_only(np.zeros((0, 2), np.uint16)), (0.0, 0.0), 1.0)
    low, high = _extent(layout)
    span = float(max(high - low)) or 1.0
    scale = span / (1 - 2 * MARGIN)
    origin = (low + high) / 2 - scale / 2
    unit = (layout - origin.astype(np.float32)) / np.float32(scale)
    places = np.rint(np.clip(unit, 0.0, 1.0) * SIDE).astype(np.uint16)
    return Places(_read_only(places), (float(origin[0]), float(origin[1])), scale)


def points_in_polygon(points: NDArray[np.generic], polygon: Polygon) -> NDArray[np.bool_]:
    """Returns (N,) which points (N, 2) lie inside a closed polygon, by the even-odd rule.

    The polygon's box is tested first; what remains is sorted into horizontal slabs, and each slab meets only the edges
    that pass through it. The time grows with points x edges per slab, not with points x edges.
    """
    inside = np.zeros(len(points), dtype=np.bool_)
    corners = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    if len(corners) < 3 or not len(points):
        return inside
    candidates = _in_box(points, corners)
    if len(candidates):
        held = points[candidates].astype(np.float64)
        inside[candidates] = _even_odd(held[:, 0], held[:, 1], corners)
    return inside


def _extent(layout: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the corners of the box that holds the layout, far outliers left out when there are many points."""
    low, high = layout.min(axis=0).astype(np.float64), layout.max(axis=0).astype(np.float64)
    if len(layout) < 1 / OUTLYING:
        return low, high
    edges = np.quantile(layout, [OUTLYING, 1 - OUTLYING], axis=0).astype(np.float64)
    slack = 0.1 * (edges[1] - edges[0])
    return np.maximum(low, edges[0] - slack), np.minimum(high, edges[1] + slack)


def _read_only(array: NDArray[np.uint16]) -> NDArray[np.uint16]:
    array.setflags(write=False)
    return array


def _in_box(points: NDArray[np.generic], corners: NDArray[np.float64]) -> NDArray[np.intp]:
    (left, bottom), (right, top) = corners.min(axis=0), corners.max(axis=0)
    x, y = points[:, 0], points[:, 1]
    return np.flatnonzero((x >= left) & (x <= right) & (y >= bottom) & (y <= top))


def _even_odd(x: NDArray[np.float64], y: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns the parity of the edges to the right of each point, slab by slab."""
    starts, ends = corners, np.roll(corners, -1, axis=0)
    bottom = corners[:, 1].min()
    height = float(corners[:, 1].max() - bottom) or 1.0
    slab = np.minimum((y - bottom) * (SLABS / height), SLABS - 1).astype(np.uint16)
    order = np.argsort(slab, kind="stable")  # a radix sort: linear for 16-bit keys
    bounds = np.searchsorted(slab[order], np.arange(SLABS + 1))
    low = np.minimum(starts[:, 1], ends[:, 1])
    high = np.maximum(starts[:, 1], ends[:, 1])
    edge_low = np.clip((low - bottom) * (SLABS / height), 0, SLABS - 1).astype(np.intp)
    edge_high = np.clip((high - bottom) * (SLABS / height), 0, SLABS - 1).astype(np.intp)
    x, y = x[order], y[order]
    odd = np.zeros(len(x), dtype=np.bool_)
    for number in np.flatnonzero(np.diff(bounds)):
        held = slice(bounds[number], bounds[number + 1])
        crossing = np.flatnonzero((edge_low <= number) & (number <= edge_high) & (low != high))
        odd[held] = _parity(x[held], y[held], np.concatenate([starts[crossing], ends[crossing]], axis=1))
    parity = np.empty_like(odd)
    parity[order] = odd
    return parity


def _parity(x: NDArray[np.float64], y: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.bool_]:
    odd = np.zeros(len(x), dtype=np.bool_)
    for x1, y1, x2, y2 in edges:
        spans = (y1 <= y) != (y2 <= y)
        odd ^= spans & (x < x1 + (y - y1) * ((x2 - x1) / (y2 - y1)))
    return odd

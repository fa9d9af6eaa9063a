"""The brushes of the phantoms: soft shapes, band-limited noise, strokes, blurs and warps on one square canvas.

Coordinates run from -1 to 1 with x to the viewer's right and y down; a map is a float32 array `(SIZE, SIZE)` in which 0
is nothing and 1 is all. Everything random comes from the generator that is handed in.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 160
FINER = 3  # strokes and polygons are drawn this much finer and averaged down, which smooths their edges

Map = NDArray[np.floating[Any]]
Points = NDArray[np.float64]


@lru_cache(maxsize=1)
def mesh() -> tuple[Map, Map]:
    """Returns the maps x and y of the canvas, read-only."""
    line = (np.arange(SIZE, dtype=np.float32) + 0.5) / (SIZE / 2) - 1
    x, y = np.broadcast_to(line, (SIZE, SIZE)).copy(), np.broadcast_to(line[:, None], (SIZE, SIZE)).copy()
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


@dataclass(frozen=True)
class Ellipse:
    """An ellipse: centre, half axes, angle in radians."""

    x: float
    y: float
    rx: float
    ry: float
    angle: float = 0.0

    def radius(self) -> Map:
        """Returns the relative distance to the centre: 0 there, 1 on the edge."""
        x, y = mesh()
        c, s = float(np.cos(self.angle)), float(np.sin(self.angle))
        along, across = ((x - self.x) * c + (y - self.y) * s) / self.rx, ((y - self.y) * c - (x - self.x) * s) / self.ry
        return np.sqrt(along * along + across * across)

    def mask(self, soft: float = 0.02) -> Map:
        """Returns 1 inside and 0 outside, with an edge `soft` wide."""
        return clip((1 - self.radius()) * (min(self.rx, self.ry) / soft) + 0.5)

    def dome(self) -> Map:
        """Returns the thickness of an ellipsoid seen from the front: what an X-ray passes through."""
        thickness: Map = np.sqrt(clip(1 - self.radius() ** 2))
        return thickness

    def glow(self) -> Map:
        """Returns a Gaussian with the half axes as its standard deviations."""
        bell: Map = np.exp(-0.5 * self.radius() ** 2)
        return bell


def colour(*channels: float) -> Map:
    """Returns a colour, `(3,)` float32."""
    return np.array(channels, dtype=np.float32)


def clip(values: Map) -> Map:
    """Returns `values` held between 0 and 1."""
    return np.clip(values, 0.0, 1.0)


def ramp(values: Map, soft: float) -> Map:
    """Returns 0 below zero and 1 above, with a transition `soft` wide."""
    return clip(values / soft + 0.5)


def noise(rng: np.random.Generator, cells: int) -> Map:
    """Returns smooth noise of about unit variance with `cells` bumps across the canvas."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    if cells >= SIZE:
        return coarse[:SIZE, :SIZE]
    fine = np.asarray(Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    return fine * np.float32(1.35)


def fractal(rng: np.random.Generator, cells: int, *, octaves: int = 3) -> Map:
    """Returns noise with ever finer and weaker bumps: clouds."""
    total = noise(rng, cells)
    for octave in range(1, octaves):
        total = total + noise(rng, min(SIZE, cells * 2**octave)) * np.float32(0.5**octave)
    return total * np.float32(0.85)


def blur(image: Map, sigma: float) -> Map:
    """Returns `image` under a Gaussian of `sigma` pixels, edges repeated."""
    if sigma > 3:
        half = Image.fromarray(image).resize((SIZE // 4, SIZE // 4), Image.Resampling.BOX)
        small = _convolve(np.asarray(half), sigma / 4)
        return np.asarray(Image.fromarray(small).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    return _convolve(image, sigma)


def _convolve(image: Map, sigma: float) -> Map:
    reach = max(1, round(2.5 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    rows, columns = image.shape
    padded = np.pad(image.astype(np.float32, copy=False), reach, mode="edge")
    tall = taps[0] * padded[:rows]
    for k in range(1, 2 * reach + 1):
        tall += taps[k] * padded[k : k + rows]
    smooth: Map = taps[0] * tall[:, :columns]
    for k in range(1, 2 * reach + 1):
        smooth += taps[k] * tall[:, k : k + columns]
    return smooth


def spline(points: Sequence[tuple[float, float]], *, closed: bool = False, steps: int = 8) -> Points:
    """Returns a smooth curve through `points` (Catmull-Rom), as `(n, 2)`."""
    knots = np.asarray(points, dtype=np.float64)
    around = np.vstack([knots[-1], knots, knots[:2]]) if closed else np.vstack([knots[0], knots, knots[-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(around[:-3], around[1:-2], around[2:-1], around[3:], strict=True):
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.vstack([*pieces, knots[:1] if closed else knots[-1:]])


def fill(*outlines: Points, soft: float = 0.0) -> Map:
    """Returns 1 inside the outlines; `soft` pixels of blur on their edges."""
    image = Image.new("L", (SIZE * FINER, SIZE * FINER))
    pen = ImageDraw.Draw(image)
    for outline in outlines:
        pen.polygon(_pixels(outline), fill=255)
    mask = _averaged(image)
    return blur(mask, soft) if soft else mask


@dataclass(frozen=True)
class Stroke:
    """A line: its points, its width in canvas pixels, its value."""

    points: Points
    width: float
    value: float = 1.0


def strokes(lines: Iterable[Stroke], *, soft: float = 0.0) -> Map:
    """Returns all lines drawn in order, later ones over earlier ones."""
    image = Image.new("L", (SIZE * FINER, SIZE * FINER))
    pen = ImageDraw.Draw(image)
    for line in lines:
        width = max(1, round(line.width * FINER))
        joint = "curve" if width > 18 else None  # thin lines bend too little to need rounded joints, which are slow
        pen.line(_pixels(line.points), fill=round(255 * min(1.0, line.value)), width=width, joint=joint)
    mask = _averaged(image)
    return blur(mask, soft) if soft else mask


def spots(centres: Points, radii: Sequence[float] | NDArray[Any], *, soft: float = 0.0) -> Map:
    """Returns filled discs: centres `(n, 2)`, radii in canvas units."""
    image = Image.new("L", (SIZE * FINER, SIZE * FINER))
    pen = ImageDraw.Draw(image)
    for (cx, cy), r in zip(centres, radii, strict=True):
        left, top, right, bottom = ((v + 1) * (SIZE * FINER / 2) for v in (cx - r, cy - r, cx + r, cy + r))
        pen.ellipse((left, top, right, bottom), fill=255)
    mask = _averaged(image)
    return blur(mask, soft) if soft else mask


def _pixels(points: Points) -> list[float]:
    scaled: list[float] = ((points + 1) * (SIZE * FINER / 2)).ravel().tolist()
    return scaled


def _averaged(image: Image.Image) -> Map:
    small = image.reduce(FINER)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def blob(rng: np.random.Generator, where: Ellipse, *, rough: float = 0.15, knots: int = 12) -> Points:
    """Returns the outline of a lump: an ellipse whose radius wanders by the share `rough`."""
    angles = np.linspace(0, 2 * np.pi, knots, endpoint=False)
    radii = 1 + rough * rng.standard_normal(knots)
    c, s = np.cos(where.angle), np.sin(where.angle)
    along, across = where.rx * radii * np.cos(angles), where.ry * radii * np.sin(angles)
    return spline(
        [(where.x + a * c - b * s, where.y + a * s + b * c) for a, b in zip(along, across, strict=True)], closed=True
    )


def warp(image: Map, dx: Map, dy: Map) -> Map:
    """Returns `image` sampled at (x + dx, y + dy), bilinearly, edges repeated; `image` is (SIZE, SIZE[, C])."""
    x, y = mesh()
    col = np.clip((x + dx + 1) * (SIZE / 2) - 0.5, 0, SIZE - 1.001)
    row = np.clip((y + dy + 1) * (SIZE / 2) - 0.5, 0, SIZE - 1.001)
    left, top = col.astype(np.intp), row.astype(np.intp)
    u, v = (col - left).astype(np.float32), (row - top).astype(np.float32)
    if image.ndim == 3:
        u, v = u[..., None], v[..., None]
    upper = image[top, left] * (1 - u) + image[top, left + 1] * u
    lower = image[top + 1, left] * (1 - u) + image[top + 1, left + 1] * u
    return np.asarray(upper * (1 - v) + lower * v, dtype=np.float32)


def turned(image: Map, *, angle: float, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Map:
    """Returns `image` turned by `angle` radians, magnified by `zoom` and shifted."""
    x, y = mesh()
    c, s = np.float32(np.cos(angle) / zoom), np.float32(np.sin(angle) / zoom)
    return warp(image, (x - shift[0]) * c + (y - shift[1]) * s - x, (y - shift[1]) * c - (x - shift[0]) * s - y)


def mix(below: Map, above: Sequence[float] | Map, mask: Map) -> Map:
    """Returns the colour `above` laid over the picture `below` `(SIZE, SIZE, 3)` where `mask` is 1."""
    weight = mask[..., None]
    return np.asarray(below * (1 - weight) + np.asarray(above, dtype=np.float32) * weight, dtype=np.float32)


def finished(image: Map) -> NDArray[np.uint8]:
    """Returns `image` (0 to 1, grey or colour) as bytes `(H, W, 3)`."""
    grey = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    return grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=2)

"""Haematoxylin and eosin sections of bowel: crypts, stroma and nuclei."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from chips_core.phantoms.canvas import (
    FINER,
    SIZE,
    Ellipse,
    Map,
    Points,
    blob,
    blur,
    clip,
    colour,
    fill,
    fractal,
    mix,
    noise,
)
from chips_core.phantoms.scene import Scene

EOSIN = colour(0.89, 0.62, 0.75)
PALE = colour(0.95, 0.9, 0.94)


@dataclass
class Nuclei:
    """All nuclei of a section, collected first and drawn at once: rows of x, y, rx, ry, angle, darkness."""

    rows: list[Points] = field(default_factory=list)

    def add(self, at: Points, *, rx: Points, ry: Points, angle: Points, dark: Points) -> None:
        """Adds nuclei at the places `at` `(n, 2)`; the other arguments are `(n,)`."""
        self.rows.append(np.column_stack([at, rx, ry, angle, dark]))

    def drawn(self) -> Map:
        """Returns how dark the nuclei are."""
        image = Image.new("L", (SIZE * FINER, SIZE * FINER))
        pen = ImageDraw.Draw(image)
        x, y, rx, ry, angle, dark = np.vstack(self.rows).T[:, :, None]
        turn = np.linspace(0, 2 * np.pi, 9)[None, :-1]
        along, across = rx * np.cos(turn), ry * np.sin(turn)
        ring = np.stack(
            [x + along * np.cos(angle) - across * np.sin(angle), y + along * np.sin(angle) + across * np.cos(angle)], 2
        )
        pixels = ((ring + 1) * (SIZE * FINER / 2)).reshape(len(ring), -1).tolist()
        for corners, level in zip(pixels, (255 * np.minimum(1, dark[:, 0])).astype(int).tolist(), strict=True):
            pen.polygon(corners, fill=level)
        return np.asarray(image.reduce(FINER), dtype=np.float32) / np.float32(255)


def draw(scene: Scene) -> Map:
    """Returns the section as a colour picture."""
    rng, nuclei = scene.exposure(), Nuclei()
    picture = _stroma(rng)
    if scene.finding == "adenocarcinoma":
        picture = _tumour(scene, picture, nuclei, rng)
    else:
        picture = _mucosa(scene, picture, nuclei, rng)
    stain = nuclei.drawn()
    chromatin = clip(stain * (0.86 + 0.16 * noise(rng, 80)))
    purple = colour(0.33, 0.2, 0.52) * np.float32(rng.uniform(0.85, 1.2))
    return _scanned(scene, mix(picture, purple, chromatin), rng)


def _stroma(rng: np.random.Generator) -> Map:
    wave = fractal(rng, 5)
    fibres = np.sin(9 * wave + 2.5 * noise(rng, 14)) * 0.05 + 0.03 * noise(rng, 50)
    picture = EOSIN * np.asarray(1 + fibres, dtype=np.float32)[..., None]
    gaps = clip(noise(rng, 12) - 1.25) * 1.6
    return mix(np.asarray(picture, dtype=np.float32), PALE, clip(gaps))


def _scatter(rng: np.random.Generator, nuclei: Nuclei, *, count: int, small: bool, taken: Map) -> None:
    """Adds stroma cells: spindles, or the small round dark nuclei of lymphocytes."""
    at = rng.uniform(-1, 1, (count, 2))
    pixel = ((at + 1) * (SIZE / 2 - 0.01)).astype(np.intp)
    at = at[taken[pixel[:, 1], pixel[:, 0]] <= 0.3]
    n = len(at)
    if small:
        r = rng.uniform(0.021, 0.029, n)
        nuclei.add(at, rx=r, ry=r * rng.uniform(0.85, 1.1, n), angle=np.zeros(n), dark=rng.uniform(0.85, 1.0, n))
    else:
        rx, ry = rng.uniform(0.03, 0.05, n), rng.uniform(0.012, 0.018, n)
        nuclei.add(at, rx=rx, ry=ry, angle=rng.uniform(0, 3.1, n), dark=rng.uniform(0.55, 0.85, n))


def _lined(
    rng: np.random.Generator, nuclei: Nuclei, *, outline: Points, inset: float, size: float, layers: int
) -> None:
    """Adds the nuclei along a gland's border, their long axes across it."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(outline, axis=0).T))])
    step = size * (1.6 + 0.25 * layers)
    for layer in range(layers):
        here = np.arange(0, along[-1], step) + rng.uniform(0, step)
        at = np.column_stack([np.interp(here, along, outline[:, 0]), np.interp(here, along, outline[:, 1])])
        n = len(at)
        inward = outline.mean(0) - at
        inward /= np.hypot(*inward.T)[:, None] + 1e-6
        deep = inset + layer * size * 1.5 + rng.normal(0, size * 0.25 * layers, n)
        grown = size * rng.lognormal(0, 0.12 * layers, n)
        angle = np.arctan2(inward[:, 1], inward[:, 0]) + rng.normal(0, 0.2 * layers, n)
        nuclei.add(
            at + inward * deep[:, None], rx=grown * 1.15, ry=grown * 0.72, angle=angle, dark=rng.uniform(0.7, 1.0, n)
        )


def _mucosa(scene: Scene, picture: Map, nuclei: Nuclei, rng: np.random.Generator) -> Map:
    """Regular round crypts with goblet cells; inflamed tissue holds fewer of them and many lymphocytes."""
    inflamed = scene.finding == "inflammation"
    crypts = _crypts(
        rng, spread=1.12 + 0.1 * scene.grade if inflamed else 1.0, lost=0.12 + 0.14 * scene.grade if inflamed else 0.0
    )
    picture, taken = _with_crypts(picture, crypts, rng)
    for outline in crypts:
        _lined(rng, nuclei, outline=outline, inset=0.03, size=0.031, layers=1)
    _scatter(rng, nuclei, count=90, small=False, taken=taken)
    if inflamed:
        crowd = clip(fractal(rng, 4) * 0.8 + 0.35 + 0.2 * scene.grade)
        picture = mix(picture, (0.72, 0.55, 0.74), crowd * (1 - taken) * 0.4)
        taken = np.maximum(taken, (crowd < 0.25).astype(np.float32))
    _scatter(rng, nuclei, count=(260, 420, 640)[scene.grade] if inflamed else 55, small=True, taken=taken)
    return picture


def _crypts(rng: np.random.Generator, *, spread: float, lost: float) -> list[Points]:
    """Returns the outlines of crypts cut across, in the staggered rows that they stand in."""
    spacing = rng.uniform(0.5, 0.62) * spread
    shift, slant = rng.uniform(0, spacing, 2), rng.uniform(-0.15, 0.15)
    outlines = []
    for j in range(-3, 4):
        for i in range(-3, 4):
            x = (i + 0.5 * (j % 2)) * spacing + shift[0] + rng.normal(0, 0.03)
            y = j * spacing * 0.9 + shift[1] + slant * x + rng.normal(0, 0.03)
            if max(abs(x), abs(y)) > 1.3 or rng.random() < lost:
                continue
            r = spacing * rng.uniform(0.33, 0.4)
            outlines.append(blob(rng, Ellipse(x, y, r * rng.uniform(1.0, 1.2), r, rng.uniform(0, 3)), rough=0.04))
    return outlines


def _shrunk(outline: Points, share: float) -> Points:
    centre: Points = outline.mean(0)
    return (outline - centre) * share + centre


def _with_crypts(picture: Map, crypts: list[Points], rng: np.random.Generator) -> tuple[Map, Map]:
    """Returns the picture with the crypts in it, and where they are."""
    body = fill(*crypts)
    mucin = fill(*(_shrunk(outline, 0.78) for outline in crypts), soft=0.8)
    lumen = fill(*(_shrunk(outline, rng.uniform(0.16, 0.34)) for outline in crypts), soft=0.7)
    picture = mix(picture, (0.83, 0.6, 0.78), body * 0.85)
    picture = mix(picture, (0.9, 0.83, 0.93), clip(mucin * (0.62 + 0.22 * noise(rng, 26))))
    return mix(picture, (0.97, 0.94, 0.96), lumen), body


def _tumour(scene: Scene, picture: Map, nuclei: Nuclei, rng: np.random.Generator) -> Map:
    """Crowded irregular glands with large, dark, piled-up nuclei."""
    count, glands = (5, 9, 14)[scene.grade], []
    placed: list[tuple[float, float, float]] = []
    for x, y in rng.uniform(-1.05, 1.05, (count * 6, 2)):
        r = rng.uniform(0.17, 0.36) * (1.15 - 0.1 * scene.grade)
        if len(placed) >= count or any(np.hypot(x - a, y - b) < 0.85 * (r + c) for a, b, c in placed):
            continue
        placed.append((x, y, r))
        glands.append(blob(rng, Ellipse(x, y, r * rng.uniform(1.0, 1.5), r, rng.uniform(0, 3)), rough=0.16, knots=11))
    body = fill(*glands)
    picture = mix(picture, (0.7, 0.48, 0.7), body * 0.85)
    lumen = fill(*(_shrunk(outline, rng.uniform(0.2, 0.42)) for outline in glands), soft=0.6)
    picture = mix(picture, (0.95, 0.88, 0.92), lumen)
    for outline in glands:
        _lined(rng, nuclei, outline=outline, inset=0.035, size=0.04, layers=2)
    _scatter(rng, nuclei, count=110, small=False, taken=body)
    _scatter(rng, nuclei, count=70, small=True, taken=body)
    return picture


def _scanned(scene: Scene, picture: Map, rng: np.random.Generator) -> Map:
    lab = scene.anatomy()
    strength = lab.uniform(0.75, 1.2)  # every laboratory stains differently
    picture = np.maximum(picture, 0.02) ** np.float32(strength) * lab.normal(1, 0.025, 3).astype(np.float32)
    soft = rng.uniform(0.35, 0.75)
    picture = np.stack([blur(np.ascontiguousarray(picture[..., c]), soft) for c in range(3)], 2)
    return clip(picture * np.float32(rng.uniform(0.94, 1.06)) + noise(rng, SIZE)[..., None] * np.float32(0.012))

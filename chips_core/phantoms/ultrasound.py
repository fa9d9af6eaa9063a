"""Breast ultrasound: layers of echo under speckle, with shadows and enhancement behind what is drawn."""

import numpy as np

from chips_core.phantoms.canvas import (
    SIZE,
    Ellipse,
    Map,
    Stroke,
    blob,
    blur,
    clip,
    fill,
    fractal,
    mesh,
    noise,
    ramp,
    strokes,
)
from chips_core.phantoms.scene import Scene

CROP = 10


def draw(scene: Scene) -> Map:
    """Returns the B-mode image as a grey map."""
    rng = scene.exposure()
    echo, behind = _layers(scene), np.ones((SIZE, SIZE), np.float32)
    if scene.finding == "cyst":
        echo, behind = _with_cyst(scene, echo, rng)
    elif scene.finding == "malignant-mass":
        echo, behind = _with_mass(scene, echo, rng)
    return _scanned(echo * behind, rng)[CROP : SIZE - CROP]


def _layers(scene: Scene) -> Map:
    rng, (x, y) = scene.anatomy(), mesh()
    wave = 0.05 * noise(rng, 4)
    fat_end, gland_end = rng.uniform(-0.5, -0.3), rng.uniform(0.25, 0.45)
    fat = 0.16 + 0.34 * clip(1 - np.abs(noise(rng, 9) + 2.5 * (y - wave)) % 1.1 / 0.16) * ramp(noise(rng, 5) + 0.4, 0.5)
    streaks = np.sin(26 * (y + 2.2 * wave) + 3 * noise(rng, 7))
    gland = 0.42 + 0.1 * streaks + 0.1 * fractal(rng, 8)
    muscle = 0.27 + 0.13 * np.sin(60 * (y + wave + 0.12 * x)) * clip(0.6 + 0.5 * noise(rng, 8))
    echo = np.where(y + 1.6 * wave < fat_end, fat, gland)
    in_muscle = ramp(y + wave - gland_end, 0.03)
    echo = echo * (1 - in_muscle) + muscle * in_muscle
    fascia = np.exp(-(((y + wave - gland_end) / 0.018) ** 2)) * 0.4
    skin = np.exp(-(((y + 0.84) / 0.035) ** 2)) * 0.75 + 0.2 * np.exp(-(((y + 0.76) / 0.02) ** 2))
    return np.asarray(clip(blur(np.asarray(echo + fascia, dtype=np.float32), 1.0)) + skin, dtype=np.float32)


def _column(lump: Map, low: float) -> Map:
    """Returns where sound has passed through the lump: the strip below it, fading with depth."""
    y = mesh()[1]
    wide = clip(lump.max(axis=0))[None, :]
    fan = np.broadcast_to(wide, lump.shape)
    return np.asarray(
        blur(np.ascontiguousarray(fan), 2.0) * ramp(y - low, 0.12) * np.exp(-np.maximum(0, y - low) * 0.7),
        dtype=np.float32,
    )


def _with_cyst(scene: Scene, echo: Map, rng: np.random.Generator) -> tuple[Map, Map]:
    size = (0.14, 0.22, 0.33)[scene.grade] * rng.uniform(0.9, 1.1)
    cx, cy = rng.uniform(-0.4, 0.4), rng.uniform(-0.2, 0.08)
    where = Ellipse(cx, cy, size * rng.uniform(1.05, 1.45), size * rng.uniform(0.85, 1.0), rng.normal(0, 0.12))
    lump = fill(blob(rng, where, rough=0.025), soft=0.7)
    wall = np.exp(-(((where.radius() - 1.03) / 0.09) ** 2)) * 0.22
    echo = (echo + wall) * (1 - 0.96 * lump)
    return echo, 1 + rng.uniform(0.55, 0.9) * _column(lump, cy + where.ry) * (1 - lump)


def _with_mass(scene: Scene, echo: Map, rng: np.random.Generator) -> tuple[Map, Map]:
    size = (0.16, 0.24, 0.34)[scene.grade] * rng.uniform(0.9, 1.1)
    cx, cy = rng.uniform(-0.4, 0.4), rng.uniform(-0.2, 0.05)
    where = Ellipse(
        cx, cy, size * rng.uniform(0.8, 1.0), size * rng.uniform(0.95, 1.15), rng.normal(0, 0.2)
    )  # taller than wide
    lump = fill(blob(rng, where, rough=0.17, knots=15), soft=1.2)
    spikes = []
    for angle in rng.uniform(0, 2 * np.pi, 15):
        reach = size * rng.uniform(1.2, 1.75)
        tip = (cx + reach * np.cos(angle), cy + reach * np.sin(angle))
        spikes.append(Stroke(np.array([[cx, cy], tip]), rng.uniform(1.2, 3.0), rng.uniform(0.6, 1.0)))
    spiked = np.maximum(lump, strokes(spikes, soft=0.9) * 0.9)
    halo = Ellipse(cx, cy - 0.04, size * 1.45, size * 1.4).glow() * 0.2
    echo = (echo + halo) * (1 - 0.84 * clip(spiked)) + 0.04 * lump * clip(noise(rng, 24))
    return np.asarray(echo, dtype=np.float32), 1 - rng.uniform(0.6, 0.85) * _column(lump, cy + 0.75 * size) * (
        1 - 0.7 * lump
    )


def _scanned(echo: Map, rng: np.random.Generator) -> Map:
    x, y = mesh()
    looks = [blur(noise(rng, SIZE), 1.0) ** 2 for _ in range(int(rng.integers(4, 9)))]  # compounding calms the speckle
    speckle = np.sqrt(sum(looks))
    speckle = speckle / speckle.mean()
    gain = np.exp(-0.25 * (y + 1) * rng.uniform(0.3, 1.4)) * rng.uniform(0.85, 1.2)
    loud = np.maximum(echo, 0.002) * speckle * gain
    image = clip((np.log10(loud + 0.006) + 1.95) / 1.95)  # the scanner compresses the range of echoes
    image = clip(image * 1.5 - 0.52) ** rng.uniform(0.9, 1.25)
    frame = ramp(rng.uniform(0.9, 0.97) - np.abs(x), 0.01) * ramp(y + 0.87, 0.01)
    ticks = ((np.abs(x - 0.985) < 0.012) & (np.abs((y * 10) % 2 - 1) < 0.13)).astype(np.float32) * 0.6
    return clip(blur(np.asarray(image * frame, dtype=np.float32), 0.5) + ticks)

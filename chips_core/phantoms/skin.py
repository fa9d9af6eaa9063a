"""Dermoscopy: a skin lesion through a lens, with pigment network, hairs and gel bubbles."""

import numpy as np

from chips_core.phantoms.canvas import (
    SIZE,
    Ellipse,
    Map,
    Stroke,
    blob,
    blur,
    clip,
    colour,
    fill,
    fractal,
    mesh,
    mix,
    noise,
    ramp,
    spline,
    spots,
    strokes,
    turned,
)
from chips_core.phantoms.scene import Scene

CROP = 16  # rows cut off above and below: the picture is wider than high


def draw(scene: Scene) -> Map:
    """Returns the photograph as a colour picture."""
    rng = scene.exposure()
    picture = _skin(scene.anatomy(), rng)
    lesion = {"melanoma": _melanoma, "benign-naevus": _naevus, "haemangioma": _haemangioma}[scene.finding]
    picture = lesion(scene, picture, rng)
    return _photographed(_with_hairs(scene, picture, rng), rng)[CROP : SIZE - CROP]


def _skin(person: np.random.Generator, rng: np.random.Generator) -> Map:
    tone = person.uniform(0, 1)
    tan = colour(0.9, 0.71, 0.62) * (1 - tone) + colour(0.78, 0.56, 0.44) * tone
    lines = np.abs(noise(rng, 34) + 0.5 * noise(rng, 60))  # fine furrows
    relief = 1 + 0.025 * fractal(rng, 4) + 0.03 * np.minimum(lines, 1.0) - 0.015
    red = 0.03 * clip(noise(rng, 5))
    picture = tan * np.asarray(relief, dtype=np.float32)[..., None]
    return np.asarray(picture - red[..., None] * colour(0, 1, 1), dtype=np.float32)


def _size(scene: Scene, rng: np.random.Generator) -> float:
    return float((0.32, 0.47, 0.64)[scene.grade] * rng.uniform(0.9, 1.12))


def _network(rng: np.random.Generator, cells: int) -> Map:
    """Returns the thin brown meshes of pigment: ridges where smooth noise crosses zero."""
    mesh_a, mesh_b = np.abs(noise(rng, cells)), np.abs(noise(rng, cells))
    return clip(1 - np.minimum(mesh_a, mesh_b) / 0.4)


def _naevus(scene: Scene, picture: Map, rng: np.random.Generator) -> Map:
    size = _size(scene, rng) * 0.85
    where = Ellipse(rng.normal(0, 0.06), rng.normal(0, 0.06), size * rng.uniform(1.0, 1.3), size, rng.uniform(0, np.pi))
    outline = fill(blob(rng, where, rough=0.03, knots=14), soft=2.2 + 3 * rng.random())
    depth = clip(1.25 - where.radius()) ** 0.6
    brown = rng.uniform(0.75, 1.1)
    pigment = outline * (0.45 + 0.3 * depth) * rng.uniform(0.75, 1.15)
    picture = mix(picture, (0.5 * brown, 0.3 * brown, 0.18 * brown), clip(pigment))
    fade = outline * clip(where.radius() * 1.3)
    picture = mix(picture, (0.27, 0.14, 0.08), _network(rng, 26) * fade * rng.uniform(0.25, 0.6))
    globules = spots(rng.normal((where.x, where.y), size * 0.45, (18, 2)), rng.uniform(0.012, 0.03, 18), soft=0.8)
    return mix(picture, (0.3, 0.16, 0.1), globules * outline * rng.uniform(0.0, 0.6))


def _melanoma(scene: Scene, picture: Map, rng: np.random.Generator) -> Map:
    size = _size(scene, rng)
    cx, cy = rng.normal(0, 0.06), rng.normal(0, 0.06)
    body = fill(
        blob(rng, Ellipse(cx, cy, size * 1.1, size * 0.8, rng.uniform(0, 3)), rough=0.15, knots=13),
        soft=1.7 + 1.5 * rng.random(),
    )
    lobe_at = rng.uniform(0, 2 * np.pi)
    lobe = Ellipse(
        cx + 0.6 * size * np.cos(lobe_at),
        cy + 0.5 * size * np.sin(lobe_at),
        size * 0.55,
        size * 0.42,
        rng.uniform(0, 3),
    )
    body = np.maximum(body, fill(blob(rng, lobe, rough=0.22), soft=1.6))
    picture = mix(picture, (0.42, 0.24, 0.15), clip(body * 0.88))
    patches = fractal(rng, 6)
    picture = mix(picture, (0.13, 0.07, 0.06), ramp(patches - 0.25, 1.1) * body * 0.88)
    picture = mix(
        picture, (0.44, 0.44, 0.5), ramp(noise(rng, 5) - 0.8, 1.2) * body * rng.uniform(0.5, 0.85)
    )  # blue-white veil
    picture = mix(picture, (0.66, 0.3, 0.27), ramp(noise(rng, 6) - 1.0, 1.0) * body * rng.uniform(0.2, 0.7))
    picture = mix(picture, (0.14, 0.08, 0.06), _network(rng, 22) * body * rng.uniform(0.15, 0.45))
    n = 26
    angle, reach = rng.normal(lobe_at, 0.8, n), size * rng.uniform(0.75, 1.25, n)
    dots = spots(
        np.stack([cx + reach * np.cos(angle), cy + 0.85 * reach * np.sin(angle)], 1),
        rng.uniform(0.01, 0.028, n),
        soft=0.6,
    )
    return mix(picture, (0.16, 0.09, 0.07), dots * 0.8)


def _haemangioma(scene: Scene, picture: Map, rng: np.random.Generator) -> Map:
    size = _size(scene, rng) * 0.8
    cx, cy = rng.normal(0, 0.06), rng.normal(0, 0.06)
    base = fill(blob(rng, Ellipse(cx, cy, size * 1.1, size, rng.uniform(0, 3)), rough=0.07), soft=1.5)
    purple = rng.random()
    picture = mix(picture, (0.8, 0.42, 0.42), base * 0.75)
    n = (12, 22, 36)[scene.grade]
    angle, reach = rng.uniform(0, 2 * np.pi, n), size * 0.92 * np.sqrt(rng.random(n))
    centres = np.stack([cx + reach * np.cos(angle), cy + reach * np.sin(angle)], 1)
    lakes = spots(centres, rng.uniform(0.06, 0.125, n), soft=1.2)  # lacunae: lakes of blood
    blood = (0.66 - 0.24 * purple, 0.11, 0.17 + 0.17 * purple)
    picture = mix(picture, blood, clip(lakes * base * (0.85 + 0.1 * noise(rng, 12))))
    septa = clip(1 - np.abs(noise(rng, 11)) / 0.22) * base
    return mix(picture, (0.9, 0.72, 0.74), septa * rng.uniform(0.25, 0.6))


def _with_hairs(scene: Scene, picture: Map, rng: np.random.Generator) -> Map:
    person = scene.anatomy()
    count = int(person.choice([0, 0, 3, 8, 16]))
    comb = person.uniform(0, np.pi)
    lines = []
    for _ in range(count):
        x, y, angle = rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.9), comb + rng.normal(0, 0.4)
        points = [(x, y)]
        for _ in range(5):
            angle += rng.normal(0, 0.12)
            points.append((points[-1][0] + 0.17 * float(np.cos(angle)), points[-1][1] + 0.17 * float(np.sin(angle))))
        lines.append(Stroke(spline(points), rng.uniform(0.6, 1.3), rng.uniform(0.6, 0.95)))
    picture = mix(picture, (0.16, 0.1, 0.08), strokes(lines)) if lines else picture
    if rng.random() < 0.35:  # bubbles in the gel catch the light
        n = int(rng.integers(2, 7))
        centres, radii = rng.uniform(-0.9, 0.9, (n, 2)), rng.uniform(0.02, 0.06, n)
        ring = clip(spots(centres, radii) - spots(centres, radii * 0.75))
        picture = mix(picture, (1.0, 0.97, 0.93), ring * 0.55)
    return picture


def _photographed(picture: Map, rng: np.random.Generator) -> Map:
    x, y = mesh()
    picture = turned(picture, angle=rng.uniform(-0.2, 0.2), zoom=rng.uniform(1.0, 1.2))
    radius = np.hypot(x, y)
    light = 1.04 - rng.uniform(0.05, 0.28) * radius**2
    if rng.random() < 0.3:  # the black rim of the lens
        light = light * ramp(rng.uniform(1.02, 1.15) - radius, 0.06)
    tint = rng.normal(rng.uniform(0.9, 1.06), 0.035, 3).astype(np.float32)
    soft = rng.uniform(0.4, 0.9)
    picture = np.stack([blur(np.ascontiguousarray(picture[..., c]), soft) for c in range(3)], 2) * tint
    picture = picture * np.asarray(light, dtype=np.float32)[..., None]
    return clip(picture + noise(rng, SIZE)[..., None] * np.float32(rng.uniform(0.006, 0.018)))

"""Axial brain MRI at the level of the lateral ventricles, in three sequences."""

from dataclasses import dataclass

import numpy as np

from chips_core.phantoms.canvas import (
    Ellipse,
    Map,
    blob,
    blur,
    clip,
    fill,
    fractal,
    mesh,
    noise,
    ramp,
    spline,
    turned,
    warp,
)
from chips_core.phantoms.scene import Scene


@dataclass(frozen=True)
class Contrast:
    """How bright each tissue is in a sequence; `lesion` is what water in the tissue adds."""

    white: float
    grey: float
    fluid: float
    fat: float
    lesion: float


CONTRASTS = {
    "T1": Contrast(white=0.74, grey=0.47, fluid=0.12, fat=0.92, lesion=-0.26),
    "T2": Contrast(white=0.34, grey=0.52, fluid=0.95, fat=0.62, lesion=0.4),
    "FLAIR": Contrast(white=0.4, grey=0.53, fluid=0.1, fat=0.7, lesion=0.42),
}
BRAIN, SKULL, SCALP = 0.84, 0.93, 0.99  # relative radii of the outer borders of brain and fluid, bone, and skin


def draw(scene: Scene) -> Map:
    """Returns the slice as a grey map."""
    rng, contrast = scene.exposure(), CONTRASTS[scene.view]
    depth, radius = _depth(scene.anatomy())
    inside = ramp(BRAIN - radius, 0.02)
    tissue = _tissue(scene, contrast, depth)
    if scene.finding == "glioma":
        tissue = _with_glioma(scene, contrast, tissue, inside)
    elif scene.finding == "infarct":
        tissue = _with_infarct(scene, contrast, tissue, depth)
    scalp = ramp(SCALP - radius, 0.03) * ramp(radius - SKULL, 0.02) * contrast.fat
    marrow = np.exp(-(((radius - 0.895) / 0.012) ** 2)) * 0.3 * contrast.fat
    rim = ramp(SKULL - radius, 0.03) * (1 - inside) * ramp(0.865 - radius, 0.02) * contrast.fluid
    head = tissue * inside + scalp + marrow + rim
    head = turned(
        head,
        angle=rng.normal(0, 0.09),
        zoom=rng.uniform(0.84, 1.06),
        shift=(rng.normal(0, 0.04), rng.normal(0, 0.04)),
    )
    return _received(head, rng)


def _depth(rng: np.random.Generator) -> tuple[Map, Map]:
    """Returns how deep a point lies below the brain's surface (0 to 1), and its relative radius in the head."""
    x, y = mesh()
    wide, long = rng.uniform(0.72, 0.8), rng.uniform(0.9, 0.97)
    flat = 1 + rng.uniform(0.03, 0.08) * np.sin(np.pi * y / 2)  # heads are wider behind
    angle = np.arctan2(y, x)
    radius = np.sqrt((x / (wide * flat)) ** 2 + (y / long) ** 2) * (1 + 0.012 * np.cos(4 * angle))
    return clip(1 - radius / BRAIN), radius


def _tissue(scene: Scene, contrast: Contrast, depth: Map) -> Map:
    rng, (x, y) = scene.anatomy(), mesh()
    atrophy = rng.uniform(0.7, 1.25)
    folds, wander = np.abs(noise(rng, 17) + 0.35 * noise(rng, 34)), fractal(rng, 9)
    shallow = clip(1.05 - depth / (0.34 + 0.05 * wander))
    midline = np.abs(x + 0.012 * noise(rng, 9))
    split = ramp(np.abs(y) - 0.34, 0.1)
    sulci = np.maximum(
        ramp(0.2 * atrophy * shallow - folds, 0.16) * ramp(shallow - 0.2, 0.2),
        ramp(0.014 * atrophy - midline, 0.02) * split,
    )
    cortex = np.maximum(ramp(0.85 * shallow - folds, 0.2), ramp(0.11 - depth, 0.04))
    cortex = np.maximum(cortex, ramp(0.05 + 0.012 * wander - midline, 0.03) * split)
    deep = np.zeros_like(depth)
    for side in (-1, 1):
        deep = np.maximum(deep, Ellipse(side * 0.17, -0.2, 0.055, 0.11, side * 0.3).mask(0.04))
        deep = np.maximum(deep, Ellipse(side * 0.13, 0.09, 0.08, 0.13, side * 0.35).mask(0.05))
        deep = np.maximum(deep, 0.8 * Ellipse(side * 0.32, -0.06, 0.06, 0.17, -side * 0.3).mask(0.06))
        insula = Ellipse(side * 0.47, -0.04, 0.025, 0.16, -side * 0.2)
        deep, sulci = np.maximum(deep, insula.mask(0.06)), np.maximum(sulci, 0.9 * insula.mask(0.025))
    grey = np.maximum(cortex, deep)
    tissue = contrast.white + (contrast.grey - contrast.white) * grey + 0.018 * wander
    fluid = np.maximum(clip(sulci), _ventricles(scene, rng))
    return np.asarray(tissue + (contrast.fluid - tissue) * fluid, dtype=np.float32)


def _ventricles(scene: Scene, rng: np.random.Generator) -> Map:
    """Returns the lateral ventricles and the third one between them."""
    wide, long = rng.uniform(0.75, 1.2), rng.uniform(0.88, 1.08)
    if scene.finding == "ventriculomegaly":
        wide, long = (1.75, 2.3, 2.9)[scene.grade] * rng.uniform(0.95, 1.1), (1.1, 1.18, 1.28)[scene.grade]
    skew, total = rng.normal(1, 0.05), np.zeros_like(mesh()[0])
    for side in (-1, 1):
        size = wide * (skew if side > 0 else 2 - skew)
        outline = [(0.03, -0.28), (0.1, -0.38), (0.145, -0.39), (0.14, -0.28), (0.09, -0.1), (0.1, 0.08), (0.17, 0.24)]
        outline += [(0.22, 0.4), (0.19, 0.45), (0.13, 0.36), (0.06, 0.14), (0.03, -0.06)]
        bent = [(side * (0.018 + (px - 0.018) * size), (py - 0.02) * long + 0.02) for px, py in outline]
        total = np.maximum(total, fill(spline(bent, closed=True), soft=0.7))
    third = Ellipse(0.0, 0.1, 0.014 * wide**1.4, 0.1).mask(0.015)
    return np.maximum(total, third)


def _with_glioma(scene: Scene, contrast: Contrast, tissue: Map, inside: Map) -> Map:
    rng, (x, y) = scene.exposure().spawn(1)[0], mesh()
    size = (0.13, 0.19, 0.26)[scene.grade] * rng.uniform(0.92, 1.1)
    cx, cy = scene.sign * rng.uniform(0.27, 0.4), rng.uniform(-0.4, 0.4)
    gap = np.sqrt((x - cx) ** 2 + (y - cy) ** 2) + 1e-3
    push = 0.42 * size * np.exp(-((gap / (2.2 * size)) ** 2)) * inside  # the mass drives its surroundings away
    tissue = warp(tissue, -push * (x - cx) / gap, -push * (y - cy) / gap)
    oedema = fill(blob(rng, Ellipse(cx, cy, size * 1.75, size * 1.55, rng.uniform(0, 3)), rough=0.16), soft=3) * inside
    mass = (
        fill(blob(rng, Ellipse(cx, cy, size, size * rng.uniform(0.8, 1.1), rng.uniform(0, 3)), rough=0.1), soft=0.8)
        * inside
    )
    core = fill(blob(rng, Ellipse(cx, cy, size * 0.56, size * 0.5), rough=0.2), soft=1.0)
    tissue = tissue + 0.62 * contrast.lesion * oedema
    solid = contrast.grey + 0.9 * abs(contrast.lesion) + 0.08 * fractal(rng, 18)
    tissue = tissue + (solid - tissue) * mass
    return np.asarray(tissue + (contrast.fluid * 0.8 + 0.1 - tissue) * core, dtype=np.float32)


def _with_infarct(scene: Scene, contrast: Contrast, tissue: Map, depth: Map) -> Map:
    """A wedge of dead tissue: its tip at the ventricle, its base on the cortex, as the vessels supply it."""
    rng, (x, y) = scene.exposure().spawn(1)[0], mesh()
    half = (0.24, 0.4, 0.62)[scene.grade] * rng.uniform(0.9, 1.1)
    middle = rng.choice([rng.uniform(-0.35, 0.35), rng.uniform(0.9, 1.1)])
    tip = (scene.sign * 0.24, 0.04 + 0.2 * np.sin(middle))
    angle = np.arctan2(y - tip[1], scene.sign * (x - tip[0])) + 0.12 * fractal(rng, 10)
    reach = np.hypot(x - tip[0], y - tip[1])
    wedge = ramp(half - np.abs(angle - middle), 0.16) * ramp(reach - 0.1, 0.08) * ramp(depth - 0.01, 0.02)
    return np.asarray(tissue + contrast.lesion * blur(wedge, 1.0) * (0.92 + 0.07 * noise(rng, 30)), dtype=np.float32)


def _received(head: Map, rng: np.random.Generator) -> Map:
    x, y = mesh()
    bias = (
        1 + rng.uniform(0, 0.14) * np.cos(rng.uniform(0, 2 * np.pi)) * x + rng.uniform(-0.12, 0.12) * y
    )  # coil shading
    image = blur(head * bias, rng.uniform(0.5, 0.8))
    level = rng.uniform(0.01, 0.035)
    image = np.hypot(image + level * noise(rng, 160), level * noise(rng, 160))  # MRI noise is Rician
    return clip(image * rng.uniform(0.88, 1.12)) ** rng.uniform(0.85, 1.15)

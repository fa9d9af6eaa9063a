"""Axial abdominal CT at the level of the kidneys, in a soft-tissue window."""

from dataclasses import dataclass

import numpy as np

from chips_core.phantoms.canvas import (
    SIZE,
    Ellipse,
    Map,
    Points,
    blob,
    blur,
    clip,
    fill,
    fractal,
    mesh,
    noise,
    ramp,
    spline,
    spots,
    turned,
)
from chips_core.phantoms.scene import Scene

CROP = 12
AIR, FAT, FLUID, MUSCLE, BONE = -1.0, -0.1, 0.04, 0.075, 0.55  # thousands of Hounsfield units
LOW, HIGH = -0.16, 0.26  # the soft-tissue window


@dataclass(frozen=True)
class Body:
    """The patient's measures: half axes, layer of fat, how much contrast agent the organs hold."""

    wide: float
    high: float
    fat: float
    contrast: float
    kidney: float

    @classmethod
    def of(cls, rng: np.random.Generator) -> "Body":
        """Returns a body of natural size."""
        wide = rng.uniform(0.8, 0.95)
        return cls(
            wide,
            wide * rng.uniform(0.63, 0.84),
            rng.uniform(0.04, 0.14),
            float(rng.choice([0.0, 0.07, 0.12])),
            rng.uniform(0.125, 0.16),
        )


def draw(scene: Scene) -> Map:
    """Returns the slice as a grey map."""
    rng, body = scene.exposure(), Body.of(scene.anatomy())
    density = _trunk(body)
    density = _organs(scene, body, density)
    density = _kidneys(scene, body, density)
    density = _bowel(scene.anatomy(), body, density)
    density = _spine(body, density)
    table = np.exp(-(((mesh()[1] - body.high - 0.1 - 0.12 * mesh()[0] ** 2) / 0.012) ** 2))
    density = density + 0.75 * table * (density < -0.9)
    density = turned(
        density,
        angle=rng.normal(0, 0.07),
        zoom=rng.uniform(0.92, 1.14),
        shift=(rng.normal(0, 0.05), rng.normal(0, 0.04)),
    )
    return _windowed(density, rng)[CROP : SIZE - CROP]


def _over(below: Map, value: float | Map, mask: Map) -> Map:
    return np.asarray(below + (value - below) * mask, dtype=np.float32)


def _skin_line(body: Body, inset: float) -> Points:
    wide, high = body.wide - inset, body.high - inset
    half = [(0.0, -high), (0.45 * wide, -0.93 * high), (0.83 * wide, -0.6 * high), (wide, -0.02)]
    half += [(0.93 * wide, 0.5 * high), (0.62 * wide, 0.9 * high), (0.2 * wide, 0.97 * high), (0.0, 0.93 * high)]
    return spline(half + [(-x, y) for x, y in half[-2:0:-1]], closed=True)


def _trunk(body: Body) -> Map:
    density = np.full((SIZE, SIZE), AIR, np.float32)
    density = _over(density, FLUID, fill(_skin_line(body, 0.0)))
    density = _over(density, FAT, fill(_skin_line(body, 0.018)))
    density = _over(density, MUSCLE, fill(_skin_line(body, 0.02 + body.fat)))
    density = _over(density, FAT + 0.01, fill(_skin_line(body, 0.08 + body.fat)))
    for side in (-1, 1):  # the muscles beside and before the spine
        density = _over(
            density, MUSCLE, Ellipse(side * 0.2, 0.56 * body.high + 0.12, 0.17, 0.13, side * 0.2).mask(0.02)
        )
        density = _over(density, MUSCLE, Ellipse(side * 0.19, 0.34 * body.high, 0.075, 0.1, side * 0.3).mask(0.02))
        rib = Ellipse(side * (body.wide - body.fat - 0.06) * 0.94, 0.18, 0.02, 0.06, side * 0.3)
        density = _over(density, 0.35, rib.mask(0.02))
    return density


def _organs(scene: Scene, body: Body, density: Map) -> Map:
    rng, inner_w, inner_h = scene.anatomy(), body.wide - body.fat - 0.09, body.high - body.fat - 0.09
    big, low = rng.uniform(0.8, 1.2), rng.uniform(0.55, 1.15)  # the slice may lie higher or lower in the liver
    liver = [
        (-0.98, -0.05),
        (-0.86, -0.55),
        (-0.5, -0.86),
        (-0.1, -0.84),
        (0.16 * big, -0.66),
        (0.02, -0.42),
        (-0.2, -0.2),
    ]
    liver += [(-0.36 * low, 0.1 * low), (-0.5, 0.42 * low), (-0.74, 0.55 * low), (-0.93, 0.3 * low)]
    outline = spline([(x * inner_w, y * inner_h) for x, y in liver], closed=True)
    parenchyma = 0.07 + 0.6 * body.contrast + 0.006 * fractal(rng, 20)
    mask = fill(outline, soft=0.6)
    density = _over(density, parenchyma, mask)
    vessels = clip(1 - np.abs(noise(rng, 6)) / 0.1) * ramp(noise(rng, 5) - 0.2, 0.3) * mask
    density = density + vessels * (0.35 * body.contrast - 0.008)
    if scene.finding == "liver-lesion":
        density = _with_lesions(scene, body, density, mask)
    spleen = Ellipse(0.82 * inner_w, 0.12, 0.1 * big, 0.27, 0.22)
    return _over(density, 0.055 + 0.7 * body.contrast, spleen.mask(0.02))


def _with_lesions(scene: Scene, body: Body, density: Map, liver: Map) -> Map:
    rng = scene.exposure().spawn(1)[0]
    size = (0.085, 0.13, 0.19)[scene.grade]
    count = int(rng.choice([1, 1, 2, 4])) if scene.grade < 2 else 1
    for k in range(count):
        x, y = -body.wide * rng.uniform(0.42, 0.72), -body.high * rng.uniform(-0.2, 0.5)
        r = size * rng.uniform(0.85, 1.15) * (1.0 if k == 0 else rng.uniform(0.4, 0.7))
        lump = (
            fill(blob(rng, Ellipse(x, y, r, r * rng.uniform(0.8, 1.0), rng.uniform(0, 3)), rough=0.07), soft=1.0)
            * liver
        )
        density = _over(density, -0.02 + 0.012 * fractal(rng, 14), lump)
        rim = clip(lump - blur(lump, 1.5)) * 2
        density = density + rim * rng.uniform(0.0, 0.06)
    return density


def _kidneys(scene: Scene, body: Body, density: Map) -> Map:
    rng = scene.exposure().spawn(2)[1]
    for side in (-1, 1):
        cx, cy = side * 0.44 * body.wide, 0.32 * body.high
        tilt = side * 0.55
        density = _over(density, FAT, Ellipse(cx, cy, body.kidney * 1.3, body.kidney * 1.75, tilt).mask(0.04))
        density = _over(
            density, 0.045 + 1.3 * body.contrast, Ellipse(cx, cy, body.kidney, body.kidney * 1.4, tilt).mask(0.02)
        )
        swollen = scene.finding == "kidney-stone" and side == scene.sign
        wide = (0.5, 0.65, 0.8)[scene.grade] if swollen else 0.36
        hx, hy = cx - side * body.kidney * 0.45, cy - 0.02
        pelvis = Ellipse(hx, hy, body.kidney * wide, body.kidney * wide * 1.3, tilt)
        density = _over(density, FLUID - 0.03 if swollen else FAT + 0.04, pelvis.mask(0.03))
        if swollen:
            size = (0.032, 0.045, 0.062)[scene.grade] * rng.uniform(0.9, 1.15)
            at = np.array([[hx + rng.normal(0, 0.03), hy + rng.normal(0, 0.05)]])
            density = _over(density, 0.9, spots(at, [size], soft=0.4))
    return density


def _bowel(rng: np.random.Generator, body: Body, density: Map) -> Map:
    inner = fill(_skin_line(body, 0.1 + body.fat))
    loops = [(rng.uniform(-0.25, 0.62), rng.uniform(-0.72, 0.02)) for _ in range(13)] + [
        (0.66, 0.0),
        (0.7, -0.25),
        (-0.66, 0.33),
    ]
    filling = float(rng.choice([0.0, 0.25]))
    for x, y in loops:
        r = rng.uniform(0.07, 0.115)
        where = Ellipse(
            x * (body.wide - body.fat),
            y * (body.high - body.fat) + 0.06,
            r * rng.uniform(1.0, 1.5),
            r,
            rng.uniform(0, 3),
        )
        if density[int((where.y + 1) * 79), int((where.x + 1) * 79)] > 0.03:
            continue
        density = _over(density, 0.05 + 0.4 * body.contrast, where.mask(0.02) * inner)
        content = Ellipse(where.x, where.y, where.rx * 0.74, where.ry * 0.7, where.angle).mask(0.02) * inner
        density = _over(density, FLUID + filling * (rng.random() < 0.4), content)
        if rng.random() < 0.35:  # gas rises to the front
            density = _over(density, AIR, content * ramp(where.y - 0.01 - mesh()[1], 0.03))
    return density


def _spine(body: Body, density: Map) -> Map:
    y = 0.44 * body.high
    vertebra = Ellipse(0, y, 0.145, 0.115)
    density = _over(density, BONE * 0.42, vertebra.mask(0.02))
    density = density + BONE * 0.8 * np.exp(-(((vertebra.radius() - 0.97) / 0.08) ** 2))
    arch = [
        (-0.1, y + 0.1),
        (-0.26, y + 0.15),
        (-0.07, y + 0.2),
        (0.0, y + 0.36),
        (0.07, y + 0.2),
        (0.26, y + 0.15),
        (0.1, y + 0.1),
    ]
    density = _over(density, BONE, fill(spline(arch, closed=True), soft=0.7))
    density = _over(density, FLUID, Ellipse(0, y + 0.145, 0.055, 0.045).mask(0.02))
    density = _over(density, 0.045 + 1.5 * body.contrast, Ellipse(0.07, y - 0.2, 0.06, 0.058).mask(0.02))  # aorta
    return _over(
        density, 0.045 + 1.0 * body.contrast, Ellipse(-0.12, y - 0.19, 0.075, 0.055, 0.2).mask(0.02)
    )  # vena cava


def _windowed(density: Map, rng: np.random.Generator) -> Map:
    shift, width = rng.normal(0, 0.015), rng.uniform(0.85, 1.15)
    grain = blur(noise(rng, SIZE), 0.7) * rng.uniform(0.015, 0.045)
    blurred = blur(density, rng.uniform(0.5, 0.8))
    return clip((blurred + grain - LOW - shift) / ((HIGH - LOW) * width))

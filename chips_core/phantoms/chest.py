"""Chest radiographs: air, soft tissue and bone add up along the beam, as they do in the real thing."""

from dataclasses import dataclass

import numpy as np

from chips_core.phantoms.canvas import (
    Ellipse,
    Map,
    Points,
    Stroke,
    blob,
    blur,
    clip,
    fill,
    fractal,
    mesh,
    noise,
    ramp,
    spline,
    strokes,
    turned,
)
from chips_core.phantoms.scene import Scene

FLANK = [(0.2, -1.2), (0.22, -0.86), (0.5, -0.76), (0.84, -0.62), (1.1, -0.2), (0.93, 0.1), (0.93, 1.3)]
RIGHT, LEFT = -1, 1  # the patient's sides as x directions on the film


@dataclass(frozen=True)
class Thorax:
    """The patient's own measures, in canvas units."""

    width: float  # half width of the rib cage
    dome: dict[int, float]  # height of the diaphragm's domes
    apex: float
    heart: float  # reach of the left heart border
    rib_step: float
    build: float  # thickness of the soft tissue

    @classmethod
    def of(cls, rng: np.random.Generator) -> "Thorax":
        """Returns a thorax of natural size."""
        base = rng.uniform(0.2, 0.48)  # how deep the breath was
        return cls(
            width=rng.uniform(0.62, 0.8),
            dome={RIGHT: base, LEFT: base + rng.uniform(0.0, 0.09)},
            apex=rng.uniform(-0.84, -0.66),
            heart=rng.uniform(0.34, 0.44),
            rib_step=rng.uniform(0.125, 0.15),
            build=rng.uniform(0.85, 1.15),
        )

    def wall(self, y: float) -> float:
        """Returns the inner half width of the rib cage at the height `y`."""
        return self.width * float(np.sqrt(max(0.02, 1 - ((y - 0.45) / (0.47 - self.apex)) ** 2)))


def draw(scene: Scene) -> Map:
    """Returns the radiograph as a grey map."""
    thorax, rng = Thorax.of(scene.anatomy()), scene.exposure()
    lungs = {side: fill(_lung(thorax, side), soft=1.4) for side in (RIGHT, LEFT)}
    markings: Map = strokes(_vessels(rng, thorax), soft=0.7) * (lungs[RIGHT] + lungs[LEFT])
    air, markings, line = _with_finding(scene, lungs, markings)
    shadow: Map = _soft_tissue(scene, thorax) - 0.66 * air + 0.2 * markings + _bones(thorax) + 0.22 * line
    shadow = shadow + 0.02 * fractal(rng, 5) + _devices(rng)
    exposed = 1 - np.exp(-1.05 * np.maximum(shadow, 0))
    film = turned(
        exposed,
        angle=rng.normal(0, 0.045),
        zoom=rng.uniform(0.9, 1.14),
        shift=(rng.normal(0, 0.05), rng.normal(0, 0.05)),
    )
    return _collimated(_developed(film, rng), rng)


def _lung(thorax: Thorax, side: int) -> Points:
    dome, apex, wall = thorax.dome[side], thorax.apex, thorax.wall
    angle_y = dome + 0.2  # the costophrenic angle lies below the dome
    outline = [(0.15, apex + 0.06), (0.27, apex), (0.41, apex + 0.1)]
    outline += [(wall(y) * 0.97, y) for y in (-0.45, -0.2, 0.05, dome - 0.05)]
    outline += [(wall(angle_y) * 0.97, angle_y), (wall(dome) * 0.8, dome + 0.045), (0.36, dome), (0.2, dome + 0.05)]
    outline += [(0.13, dome - 0.12), (0.12, -0.1), (0.12, -0.45)]
    return spline([(side * x, y) for x, y in outline], closed=True)


def _vessels(rng: np.random.Generator, thorax: Thorax) -> list[Stroke]:
    lines: list[Stroke] = []
    for side in (RIGHT, LEFT):
        for angle in np.linspace(-1.25, 1.35, 7) + rng.normal(0, 0.16, 7):
            start = (side * 0.17, -0.06 + 0.08 * float(np.sin(angle)))
            _grow(rng, start, [side * float(np.cos(angle)), float(np.sin(angle))], width=2.6, out=lines)
    return [line for line in lines if np.abs(line.points[:, 0]).max() < thorax.width]


def _grow(
    rng: np.random.Generator, start: tuple[float, float], heading: list[float], *, width: float, out: list[Stroke]
) -> None:
    if width < 0.7:
        return
    points, angle = [start], float(np.arctan2(heading[1], heading[0]))
    for _ in range(4):
        angle += rng.normal(0, 0.16)
        x, y = points[-1]
        points.append((x + 0.042 * float(np.cos(angle)), y + 0.042 * float(np.sin(angle))))
    out.append(Stroke(np.asarray(points), width, value=min(1.0, 0.25 + 0.3 * width)))
    for turn in (-0.33, 0.33):
        bent = angle + turn + rng.normal(0, 0.12)
        _grow(
            rng, points[-1], [float(np.cos(bent)), float(np.sin(bent))], width=width * rng.uniform(0.55, 0.75), out=out
        )


def _soft_tissue(scene: Scene, thorax: Thorax) -> Map:
    x, y = mesh()
    rng = scene.anatomy()
    torso = fill(
        spline(
            [(-x, y) for x, y in FLANK] + FLANK[::-1],
            closed=True,
        ),
        soft=2.5,
    )
    belly = ramp(y - 0.55, 0.5) * 0.22
    reach = thorax.heart
    if scene.finding == "cardiomegaly":
        reach = thorax.width * (0.76, 0.84, 0.93)[scene.grade] * rng.uniform(0.97, 1.03)
    bubble = Ellipse(0.4, thorax.dome[LEFT] + 0.2, 0.13 * rng.uniform(0.5, 1.2), 0.07, 0.2).mask(0.05)
    trachea = Ellipse(rng.normal(0.0, 0.012), -0.68, 0.055, 0.36).mask(0.04)
    thick = torso * (0.86 * thorax.build + belly) * (0.9 + 0.1 * np.sqrt(clip(1 - (x / 1.05) ** 2)))
    middle = np.exp(-((x / 0.14) ** 2)) * ramp(y + 0.75, 0.3) * 0.24
    shadow: Map = thick + middle + 0.72 * _heart(thorax, reach) - 0.3 * bubble - 0.28 * trachea
    return shadow


def _heart(thorax: Thorax, reach: float) -> Map:
    low = thorax.dome[LEFT] + 0.1
    right = 0.15 + 0.28 * max(0.0, reach - 0.42)
    outline = [(-0.1, -0.5), (0.0, -0.52), (0.13, -0.44), (0.155, -0.34), (0.13, -0.22), (0.17, -0.1)]
    outline += [(reach * 0.72, 0.06), (reach * 0.96, low - 0.2), (reach, low - 0.06), (reach * 0.8, low + 0.05)]
    outline += [(0.05, low + 0.1), (-right, low), (-right - 0.03, low - 0.2), (-0.12, -0.06), (-0.11, -0.25)]
    body = fill(spline(outline, closed=True), soft=1.2)
    depth = Ellipse(0.1 * reach, low - 0.15, reach * 1.25, 0.62, 0.5).dome()
    hila = Ellipse(-0.17, -0.06, 0.075, 0.13, 0.3).glow() + Ellipse(0.19, -0.1, 0.07, 0.11, -0.3).glow()
    return body * (0.34 + 0.4 * depth) + 0.26 * hila


def _bones(thorax: Thorax) -> Map:
    x, y = mesh()
    ribs: list[Stroke] = []
    for side in (RIGHT, LEFT):
        for k in range(9):
            ribs += _rib(thorax, side, -0.66 + thorax.rib_step * k)
    spine = np.exp(-((x / 0.085) ** 6)) * (0.75 + 0.25 * np.sin(y * (2 * np.pi / 0.16)))
    cage = strokes(ribs, soft=0.6)
    collar = [
        Stroke(spline([(s * 0.06, -0.56), (s * 0.24, -0.6), (s * 0.45, -0.7), (s * 0.72, -0.73)]), 5.5)
        for s in (RIGHT, LEFT)
    ]
    inner = [Stroke(line.points, 3.0, 0.55) for line in collar]
    blade = [
        Stroke(spline([(s * 0.78, -0.66), (s * 0.7, -0.35), (s * 0.76, -0.05), (s * 0.9, -0.3)]), 4.0, 0.5)
        for s in (RIGHT, LEFT)
    ]
    bones: Map = 0.27 * cage + 0.13 * spine + 0.26 * strokes(collar + inner, soft=0.7) + 0.16 * strokes(blade, soft=1.2)
    return bones


def _rib(thorax: Thorax, side: int, top: float) -> list[Stroke]:
    drop = 0.16 + 0.1 * (top + 0.66)
    end = top + drop
    t = np.linspace(0, 1, 14)
    half = thorax.wall(end)
    back = np.stack(
        [side * (0.07 + (half - 0.07) * np.sin(t * np.pi / 2) ** 0.9), top - 0.07 * np.sin(np.pi * t) + drop * t**3], 1
    )
    front = np.stack([side * (half - (half - 0.24) * t**1.4), end + 0.36 * t**0.75], 1)
    pale = [Stroke(front, 5.0, 0.42), Stroke(front, 3.2, 0.3)] if end < 0.25 else []
    return [*pale, Stroke(back, 5.4, 0.95), Stroke(back, 3.2, 0.55)]


def _with_finding(scene: Scene, lungs: dict[int, Map], markings: Map) -> tuple[Map, Map, Map]:
    """Returns the air in the lungs, the vessels in it, and a pleural line, as the finding leaves them."""
    both, none = lungs[RIGHT] + lungs[LEFT], np.zeros_like(markings)
    thorax, rng, x, y = Thorax.of(scene.anatomy()), scene.exposure().spawn(1)[0], *mesh()
    here = lungs[scene.sign] if scene.sign else both
    if scene.finding == "pleural-effusion":
        level = thorax.dome[scene.sign] + (0.03, -0.2, -0.55)[scene.grade] + rng.uniform(-0.05, 0.05)
        climb = 0.42 * np.maximum(0, (np.abs(x) - 0.3) / thorax.width) ** 1.6
        fluid = ramp(y - level + climb, 0.08) * here
        return both - 0.97 * fluid, markings * (1 - fluid), none
    if scene.finding == "pneumothorax":
        return _collapsed(scene, both, markings)
    if scene.finding == "consolidation":
        where = _place(scene, thorax, rng, reach=0.5)
        size = (0.13, 0.2, 0.29)[scene.grade]
        lump = (
            fill(
                blob(rng, Ellipse(*where, size * 1.1, size, rng.uniform(0, 3)), rough=0.16),
                soft=(2.8, 4, 5)[scene.grade],
            )
            * here
        )
        return both - lump * clip(0.86 + 0.16 * fractal(rng, 14)), markings * (1 - 0.5 * lump), none
    if scene.finding == "lung-nodule":
        where = _place(scene, thorax, rng, reach=0.8)
        size = (0.045, 0.07, 0.11)[scene.grade] * rng.uniform(0.9, 1.15)
        lump = fill(blob(rng, Ellipse(*where, size, size), rough=0.06), soft=0.8) * here
        return both - 0.62 * lump, markings, none
    return both, markings, none


def _place(scene: Scene, thorax: Thorax, rng: np.random.Generator, *, reach: float) -> tuple[float, float]:
    y = rng.uniform(-0.5, thorax.dome[scene.sign] - 0.15)
    if reach < 0.6:
        y = rng.choice([rng.uniform(-0.5, -0.25), rng.uniform(0.02, thorax.dome[scene.sign] - 0.08)])
    near = 0.3 if y < 0 or scene.sign == RIGHT else 0.48
    return scene.sign * rng.uniform(near, max(near + 0.04, thorax.wall(y) * 0.84)), y


def _collapsed(scene: Scene, both: Map, markings: Map) -> tuple[Map, Map, Map]:
    thorax, side = Thorax.of(scene.anatomy()), scene.sign
    shrink = (0.86, 0.72, 0.5)[scene.grade]
    outline = _lung(thorax, side)
    hilum = np.array([side * 0.15, 0.05])
    lung = fill((outline - hilum) * np.array([shrink, 0.5 + 0.5 * shrink]) + hilum, soft=0.8)
    space = clip(fill(outline, soft=1.2) - lung)
    edge = clip(lung - blur(lung, 1.6)) * 2.2 * fill(outline, soft=1.0)
    dense = 0.1 * scene.grade
    air = both + 0.24 * space - dense * lung * fill(outline)
    return air, markings * (1 - space), edge


def _devices(rng: np.random.Generator) -> Map:
    lines: list[Stroke] = []
    if rng.random() < 0.2:  # a monitoring lead and its electrode
        x = rng.uniform(-0.6, 0.6)
        lines.append(Stroke(spline([(x, 1.0), (x + 0.1, 0.5), (x - 0.05, 0.1), (x + 0.15, -0.3)]), 1.2, 0.6))
        lines.append(Stroke(np.array([[x + 0.13, -0.3], [x + 0.17, -0.3]]), 5, 0.9))
    if rng.random() < 0.35:  # a lead marker at the patient's left, drawn as a plain L
        x, y = rng.uniform(0.72, 0.84), rng.uniform(-0.9, -0.8)
        lines.append(Stroke(np.array([[x, y - 0.06], [x, y + 0.04], [x + 0.06, y + 0.04]]), 2.2, 1.0))
    return 0.9 * strokes(lines, soft=0.4) if lines else np.zeros_like(mesh()[0])


def _developed(film: Map, rng: np.random.Generator) -> Map:
    grain = blur(noise(rng, 160), 0.6) * rng.uniform(0.012, 0.035)
    film = clip((film - rng.uniform(0.06, 0.1)) / rng.uniform(0.66, 0.8)) ** rng.uniform(0.85, 1.35)
    return blur(clip(film * 0.95 + 0.02 + grain), rng.uniform(0.4, 0.75))


def _collimated(film: Map, rng: np.random.Generator) -> Map:
    """Returns the film with the dark borders that the shutters of some tubes leave."""
    if rng.random() > 0.35:
        return film
    x, y = mesh()
    edges = np.where(rng.random(4) < 0.5, rng.uniform(0.86, 0.97, 4), 1.1)
    open_field = (x > -edges[0]) & (x < edges[1]) & (y > -edges[2]) & (y < edges[3])
    return np.where(open_field, film, np.float32(0.03))

"""Fundus photographs: disc, macula, and vessels that grow as a branching random walk."""

from dataclasses import dataclass

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
    spots,
    strokes,
    turned,
)
from chips_core.phantoms.scene import Scene

FOVEA = 0.56  # from the disc towards the temple


@dataclass(frozen=True)
class Eye:
    """The patient's eye in canvas units; `nasal` is the x direction of the nose, where the disc lies."""

    nasal: int
    disc: Ellipse
    cup: float
    fovea: tuple[float, float]
    skin: tuple[float, float, float]

    @classmethod
    def of(cls, scene: Scene) -> "Eye":
        """Returns the eye of a scene: in a right eye the disc is on the viewer's right."""
        rng, nasal = scene.anatomy(), -scene.sign
        size = rng.uniform(0.15, 0.19)
        disc = Ellipse(nasal * rng.uniform(0.22, 0.56), rng.uniform(-0.1, 0.1), size * 0.92, size, 0.0)
        cup = rng.uniform(0.22, 0.45)
        if scene.finding == "optic-disc-cupping":
            cup = (0.66, 0.76, 0.86)[scene.grade] * rng.uniform(0.96, 1.03)
        red = rng.uniform(0.66, 0.84)
        skin = (red, red * rng.uniform(0.38, 0.52), red * rng.uniform(0.12, 0.26))
        return cls(nasal, disc, cup, (disc.x - nasal * FOVEA, disc.y + 0.06), skin)


def draw(scene: Scene) -> Map:
    """Returns the photograph as a colour picture."""
    rng, eye = scene.exposure(), Eye.of(scene)
    picture = _ground(scene.anatomy(), eye)
    picture = _with_disc(picture, eye, scene.anatomy())
    veins, arteries = _vessels(scene.anatomy(), eye)
    outside = 1 - 0.45 * eye.disc.mask(0.05)
    picture = picture * (1 - (0.62 * veins * outside)[..., None] * colour(0.55, 0.9, 0.7))
    picture = picture * (1 - (0.46 * arteries * outside)[..., None] * colour(0.35, 0.95, 0.8))
    if scene.finding == "drusen":
        picture = _with_drusen(scene, eye, picture)
    elif scene.finding == "retinal-haemorrhage":
        picture = _with_haemorrhages(scene, picture)
    return _photographed(picture, rng)


def _ground(rng: np.random.Generator, eye: Eye) -> Map:
    choroid = 1 + 0.05 * fractal(rng, 4) + 0.045 * np.abs(noise(rng, 16))
    picture = colour(*eye.skin) * np.asarray(choroid, dtype=np.float32)[..., None]
    dark = Ellipse(*eye.fovea, 0.17, 0.16).glow() * 0.34 + Ellipse(*eye.fovea, 0.05, 0.05).glow() * 0.22
    return np.asarray(picture * (1 - dark[..., None] * colour(0.75, 1.0, 1.0)), dtype=np.float32)


def _with_disc(picture: Map, eye: Eye, rng: np.random.Generator) -> Map:
    disc = eye.disc
    halo = Ellipse(disc.x, disc.y, disc.rx * 1.5, disc.ry * 1.5).glow() * 0.16
    picture = mix(picture, (0.95, 0.72, 0.4), halo)
    picture = mix(picture, (0.94, 0.64, 0.34), disc.mask(0.035) * 0.94)
    cup = Ellipse(disc.x - eye.nasal * 0.012, disc.y, disc.rx * eye.cup, disc.ry * eye.cup * rng.uniform(0.98, 1.08))
    return mix(picture, (1.0, 0.95, 0.76), cup.mask(0.03) * 0.92)


def _vessels(rng: np.random.Generator, eye: Eye) -> tuple[Map, Map]:
    """Returns veins and arteries: four arcades each that bend round the macula."""
    trees: list[list[Stroke]] = [[], []]
    for kind, width in enumerate((2.5, 1.8)):
        for up in (-1, 1):
            for towards in (-1, 1):  # along the macula, and to the nose
                angle = up * (1.15 if towards < 0 else 0.85) + rng.normal(0, 0.13) + 0.2 * kind * up
                start = (eye.disc.x + rng.normal(0, 0.012), eye.disc.y + up * 0.02)
                heading = float(np.arctan2(np.sin(angle), towards * eye.nasal * np.cos(angle)))
                bend = -up * towards * eye.nasal * (0.12 if towards < 0 else 0.03)
                _grow(rng, start, heading, width=width * (1 if towards < 0 else 0.75), bend=bend, out=trees[kind])
    return strokes(trees[0], soft=0.5), strokes(trees[1], soft=0.5)


def _grow(
    rng: np.random.Generator,
    start: tuple[float, float],
    heading: float,
    *,
    width: float,
    bend: float,
    out: list[Stroke],
) -> None:
    point, angle = start, heading
    for step in range(11):
        path = [point]
        for _ in range(3):
            angle += bend / 3 + rng.normal(0, 0.075)
            point = (point[0] + 0.04 * float(np.cos(angle)), point[1] + 0.04 * float(np.sin(angle)))
            path.append(point)
        out.append(Stroke(np.asarray(path), max(width, 0.4), value=min(1.0, 0.45 + 0.25 * width)))
        width *= 0.93
        if width < 0.45 or np.hypot(*point) > 1.05:
            return
        if step and rng.random() < 0.42:
            fork = angle + rng.choice([-1, 1]) * rng.uniform(0.45, 0.95)
            _grow(rng, point, float(fork), width=width * 0.6, bend=bend * 0.3, out=out)


def _with_drusen(scene: Scene, eye: Eye, picture: Map) -> Map:
    rng = scene.exposure().spawn(1)[0]
    n = (14, 34, 70)[scene.grade]
    spread = (0.13, 0.18, 0.24)[scene.grade]
    centres = rng.normal(0, spread, (n, 2)) + np.asarray(eye.fovea)
    radii = rng.gamma(4, (0.0042, 0.0048, 0.0055)[scene.grade], n)
    return mix(picture, (0.98, 0.86, 0.5), clip(spots(centres, radii, soft=0.55) * rng.uniform(0.75, 0.95)))


def _with_haemorrhages(scene: Scene, picture: Map) -> Map:
    rng = scene.exposure().spawn(1)[0]
    n = (9, 17, 30)[scene.grade]
    angle, reach = rng.uniform(0, 2 * np.pi, n), np.sqrt(rng.uniform(0.04, 0.62, n))
    centres = np.stack([reach * np.cos(angle), reach * np.sin(angle)], 1)
    dots = spots(centres, rng.gamma(4, 0.0075, n), soft=0.5)
    for cx, cy in centres[: (2, 4, 8)[scene.grade]]:  # the bigger ones are ragged blots
        size = rng.uniform(0.045, 0.09)
        dots = np.maximum(
            dots, fill(blob(rng, Ellipse(cx, cy, size, size * 0.6, rng.uniform(0, 3)), rough=0.22, knots=9), soft=0.6)
        )
    picture = mix(picture, (0.3, 0.03, 0.03), dots * 0.82)
    wool = spots(centres[-3:] * 0.9, rng.uniform(0.015, 0.03, 3), soft=1.2)  # cotton-wool spots and hard exudates
    return mix(picture, (0.97, 0.9, 0.66), wool * rng.uniform(0.0, 0.7)) if scene.grade else picture


def _photographed(picture: Map, rng: np.random.Generator) -> Map:
    x, y = mesh()
    picture = turned(
        picture,
        angle=rng.normal(0, 0.13),
        zoom=rng.uniform(0.9, 1.22),
        shift=(rng.normal(0, 0.03), rng.normal(0, 0.03)),
    )
    radius = np.hypot(x, y)
    light = Ellipse(rng.normal(0, 0.15), rng.normal(0, 0.15), 1.1, 1.1).glow() * rng.uniform(0.9, 1.25) * 1.08
    picture = picture * np.asarray(light * ramp(rng.uniform(0.93, 0.99) - radius, 0.025), dtype=np.float32)[..., None]
    tint = rng.normal(1, 0.05, 3)
    grain = np.stack([noise(rng, SIZE) for _ in range(3)], 2) * rng.uniform(0.008, 0.022)
    soft = rng.uniform(0.4, 0.7)
    picture = np.stack([blur(np.ascontiguousarray(picture[..., c] * tint[c]), soft) for c in range(3)], 2) + grain
    return clip(np.asarray(picture, dtype=np.float32))

"""The plan of a phantom collection: patients, splits, captions, and the errors that are planted among them.

A pair's `label` and `class_prompt` always say what its image truly shows, whatever its caption claims: a planted error
spoils the pair, never the label. The kind of error is not part of the data set that is written; `truth` tells it again
from the seed, for tests and benchmarks.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from chips_core import fingerprint
from chips_core.phantoms import captions
from chips_core.phantoms.catalogue import MODALITIES, NORMAL, Modality, label_of
from chips_core.phantoms.pair import PhantomPair
from chips_core.phantoms.planting import plant
from chips_core.phantoms.scene import SEVERITIES, SIDES, Scene

SPLITS = ("train", "val", "test")
APART = 1_000_000  # numbers of patients and shots of one split lie this far from the next split's
PATIENTS, WORDS = 11, 12  # streams of random numbers


def plan(*, seed: int = 0, train: int = 2400, val: int = 300, test: int = 300) -> list[PhantomPair]:
    """Returns the pairs of a collection in the order of their ids: the same for the same arguments.

    Args:
        seed: everything follows from it.
        train: pairs to train on, 8 % of them with a planted error.
        val: pairs of other patients, all right.
        test: likewise.
    """
    pairs: list[PhantomPair] = []
    for number, (split, count) in enumerate(zip(SPLITS, (train, val, test), strict=True)):
        rng = np.random.default_rng([seed, PATIENTS, number])
        scenes = _scenes(rng, seed=seed, first=number * APART, count=count)
        pairs += [_pair(scene, split) for scene in scenes]
    planted = plant(pairs, seed=seed)
    return sorted((planted.get(pair.pair_id, pair) for pair in pairs), key=lambda pair: pair.pair_id)


def truth(seed: int = 0, *, train: int = 2400, val: int = 300, test: int = 300) -> dict[str, str]:
    """Returns the kind of error of every pair that has one, by pair id."""
    return {p.pair_id: p.planted for p in plan(seed=seed, train=train, val=val, test=test) if p.planted}


def _scenes(rng: np.random.Generator, *, seed: int, first: int, count: int) -> list[Scene]:
    scenes: list[Scene] = []
    patient = first
    shares = np.array([m.share for m in MODALITIES.values()])
    while len(scenes) < count:
        modality = list(MODALITIES.values())[int(rng.choice(len(shares), p=shares / shares.sum()))]
        start = Scene(modality.key, NORMAL, "", "", "", seed, patient, first + len(scenes))
        visits = min(int(rng.choice([1, 2, 3, 4], p=[0.45, 0.3, 0.15, 0.1])), count - len(scenes))
        scenes += list(_visits(rng, modality, start=start, count=visits))
        patient += 1
    return scenes


def _visits(rng: np.random.Generator, modality: Modality, *, start: Scene, count: int) -> Iterator[Scene]:
    """Yields the images of one patient: mostly one finding that grows or shrinks, some normal controls."""
    keys = [f.key for f in modality.findings]
    healthy = 1.3 / (len(keys) + 1.3) if modality.normal else 0.0
    ill = rng.random() >= healthy
    key, side, eye = str(rng.choice(keys)), str(rng.choice(SIDES)), str(rng.choice(SIDES))
    grade = int(rng.integers(3))
    for visit in range(count):
        if not modality.normal:  # every image of the skin shows another lesion
            key, grade = str(rng.choice(keys)), int(rng.integers(3))
        finding = modality.finding(key)
        view = str(rng.choice(finding.views or modality.views))
        scene = replace(start, shot=start.shot + visit, view=view, side=eye if modality.sided else "")
        if ill and (visit == 0 or not modality.normal or rng.random() < 0.8):
            severity = SEVERITIES[int(np.clip(grade + rng.integers(-1, 2) * (visit > 0), 0, 2))]
            scene = replace(scene, finding=key, severity=severity, side=side if finding.place else scene.side)
        yield scene


def _pair(scene: Scene, split: str) -> PhantomPair:
    modality = MODALITIES[scene.modality]
    words = np.random.default_rng([scene.seed, WORDS, scene.shot])
    return PhantomPair(
        pair_id="p" + fingerprint.of(["pair", scene.seed, scene.shot])[:10],
        caption=captions.caption_of(scene, rng=words),
        label=label_of(scene.modality, scene.finding),
        class_prompt=captions.class_prompt(scene.modality, scene.finding),
        split=split,
        modality=modality.key,
        body_part=modality.body_part,
        group="g" + fingerprint.of(["patient", scene.seed, scene.patient])[:8],
        source=f"phantom-{modality.key}",
        scene=scene,
    )

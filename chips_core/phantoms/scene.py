"""A scene: what one phantom image shows, and the two generators that it is drawn from."""

from dataclasses import dataclass

import numpy as np

SEVERITIES = ("small", "moderate", "large")
SIDES = ("left", "right")
ANATOMY, SHOT, ECHO = 1, 2, 3  # streams of random numbers: the patient, the exposure, the copy


@dataclass(frozen=True)
class Scene:
    """What an image shows.

    Attributes:
        modality: key of the modality, such as `chest-radiograph`.
        finding: key of the finding, such as `pleural-effusion` or `normal`.
        side: the patient's `left` or `right`, or empty where there is none.
        severity: `small`, `moderate`, `large`, or empty for a normal scene.
        view: the modality's own variant, such as an MRI sequence.
        seed: the seed of the whole collection.
        patient: number of the patient: the anatomy follows from it.
        shot: number of the image: lesion, exposure and noise follow from it.
        copy: 0 for an original; k for its k-th re-saved near duplicate.
    """

    modality: str
    finding: str
    side: str
    severity: str
    view: str
    seed: int
    patient: int
    shot: int
    copy: int = 0

    def anatomy(self) -> np.random.Generator:
        """Returns a generator that is the same in all images of the patient."""
        return np.random.default_rng([self.seed, ANATOMY, self.patient])

    def exposure(self) -> np.random.Generator:
        """Returns a generator of this image's own."""
        return np.random.default_rng([self.seed, SHOT, self.shot])

    def echo(self) -> np.random.Generator:
        """Returns the generator of what a near duplicate changes."""
        return np.random.default_rng([self.seed, ECHO, self.shot, self.copy])

    @property
    def sign(self) -> int:
        """The x direction of the side as a radiologist sees it: the patient's left is on the viewer's right."""
        return {"left": 1, "right": -1, "": 0}[self.side]

    @property
    def grade(self) -> int:
        """0 for small or nothing, 1 for moderate, 2 for large."""
        return SEVERITIES.index(self.severity) if self.severity else 0

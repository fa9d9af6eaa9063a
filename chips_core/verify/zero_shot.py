"""Zero-shot classification by class prompts: accuracy, by class and source, confusion, calibration, with intervals.

The classifier is open_clip's: the mean of a class's unit prompt embeddings, made a unit again. No data is "no data"
(None), never 0.0.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from chips_core.errors import InputError
from chips_core.verify.bootstrap import Interval, interval

BINS = 10

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassResult:
    """What came of the images of one class."""

    label: str
    images: int
    correct: int

    @property
    def accuracy(self) -> float | None:
        """Share of them that was recognised; None where the class has no image."""
        return self.correct / self.images if self.images else None


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error, and per bin of confidence how many images, how sure, how right."""

    ece: float
    images: tuple[int, ...]
    confidence: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]


@dataclass(frozen=True)
class ZeroShot:
    """The result on T images that have a label.

    Attributes:
        images: T.
        ties: images with several equally good classes; the first in order counts.
        accuracy: over all of them, None without images.
        balanced: mean of the classes' accuracies, of those that have images.
        classes: one line a class, also those without images.
        sources: accuracy by source.
        confusion: (C, C) images by true class (row) and predicted class (column).
        calibration: None without images.
    """

    images: int
    ties: int
    accuracy: Interval | None
    balanced: float | None
    classes: tuple[ClassResult, ...]
    sources: dict[str, Interval]
    confusion: NDArray[np.int64]
    calibration: Calibration | None

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON; what there is no data for is null."""
        return {
            "images": self.images,
            "ties": self.ties,
            "accuracy": self.accuracy.mean if self.accuracy else None,
            "accuracy_interval": _ends(self.accuracy),
            "balanced_accuracy": self.balanced,
            "classes": [{**asdict(line), "accuracy": line.accuracy} for line in self.classes],
            "sources": {
                name: {"accuracy": found.mean, "interval": _ends(found)} for name, found in self.sources.items()
            },
            "confusion": self.confusion.tolist(),
            "calibration": asdict(self.calibration) if self.calibration else None,
        }


def class_weights(features: Tensor, owner: Tensor, *, head: Tensor) -> Tensor:
    """Returns one unit embedding a class, (C, D): the mean of its prompts' unit embeddings, as a unit.

    Args:
        features: (P, dt) of all prompts.
        owner: (P,) the class of each, every class at least once.
        head: the text head (D, dt).
    """
    embeddings = normalize(features.to(head.dtype) @ head.T, dim=-1)
    return torch.stack(
        [normalize(embeddings[owner == code].mean(dim=0), dim=0) for code in range(int(owner.max()) + 1)]
    )


def logits_of(images: Tensor, *, weights: Tensor, head: Tensor, scale: float) -> Tensor:
    """Returns s x̂·w_c, (T, C), of image features (T, dv)."""
    return scale * (normalize(images.to(head.dtype) @ head.T, dim=-1) @ weights.T)


def measured(
    logits: Tensor, labels: Codes, *, classes: Sequence[str], groups: Sequence[str], sources: Sequence[str]
) -> ZeroShot:
    """Returns what zero-shot classification got right; images whose label is -1 are left out.

    Args:
        logits: (T, C).
        labels: (T,) codes from 0, -1 for none.
        classes: C names.
        groups: the patient of each image, "" where unknown: intervals resample whole patients.
        sources: where each image is from, "" where unknown.
    """
    if logits.shape != (len(labels), len(classes)):
        raise InputError(f"Logits {tuple(logits.shape)} for {len(labels)} images and {len(classes)} classes.")
    there = np.flatnonzero(labels >= 0)
    truth, kept = labels[there], logits[torch.from_numpy(there)]
    values = kept.double().numpy()
    predicted = values.argmax(1) if len(there) else np.zeros(0, np.int64)
    right = (predicted == truth).astype(np.float64)
    who, where = ([names[place] for place in there.tolist()] for names in (groups, sources))
    lines = tuple(_of_class(name, truth == code, right) for code, name in enumerate(classes))
    seen = [line.accuracy for line in lines if line.accuracy is not None]
    ties = int(((values == values.max(1, keepdims=True)).sum(1) > 1).sum()) if len(there) else 0
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    return ZeroShot(
        images=len(there),
        ties=ties,
        accuracy=interval(right, who),
        balanced=float(np.mean(seen)) if seen else None,
        classes=lines,
        sources=_by_source(right, who=who, where=where),
        confusion=confusion,
        calibration=calibration(torch.softmax(kept.double(), 1).numpy(), truth) if len(there) else None,
    )


def calibration(probabilities: Floats, labels: Codes, *, bins: int = BINS) -> Calibration:
    """Returns the expected calibration error: mean over images of |accuracy - confidence| of their bin.

    Args:
        probabilities: (T, C), T of at least 1.
        labels: (T,) codes.
        bins: of equal width from 0 to 1.
    """
    confidence = probabilities.max(1)
    right = (probabilities.argmax(1) == labels).astype(np.float64)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    sure, correct = (np.bincount(place, weights=column, minlength=bins) for column in (confidence, right))
    ece = float(np.abs(sure - correct).sum() / len(labels))
    means = [
        tuple(float(total / n) if n else None for total, n in zip(column, counts, strict=True))
        for column in (sure, correct)
    ]
    return Calibration(ece, tuple(int(n) for n in counts), means[0], means[1])


def _of_class(label: str, members: NDArray[np.bool_], right: Floats) -> ClassResult:
    return ClassResult(label, int(members.sum()), int(right[members].sum()))


def _by_source(right: Floats, *, who: Sequence[str], where: Sequence[str]) -> dict[str, Interval]:
    found = {}
    for source in sorted(set(where) - {""}):
        places = [place for place, name in enumerate(where) if name == source]
        result = interval(right[places], [who[place] for place in places])
        if result is not None:
            found[source] = result
    return found


def _ends(found: Interval | None) -> list[float] | None:
    return [found.low, found.high] if found and found.low is not None and found.high is not None else None

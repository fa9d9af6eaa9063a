"""Measured selections: what training on certain pairs gave, kept in the pool under a name made of those pairs."""

from collections.abc import Iterable
from dataclasses import dataclass

from chips_core import fingerprint

KIND = "measured"


@dataclass(frozen=True)
class Measured:
    """What the heads learnt from a selection, judged on the target set.

    Attributes:
        accuracy: zero-shot, mean over the sources; None without labels or prompts.
        base: the same of the heads as they came.
        change: of the accuracy over all images, paired; None likewise.
        low: lower end of its interval; None where there is none.
        high: upper end.
        recall_at_1: how often the own caption is the best one.
        base_recall: the same of the heads as they came.
        seconds: of the training.
    """

    accuracy: float | None
    base: float | None
    change: float | None
    low: float | None
    high: float | None
    recall_at_1: float
    base_recall: float
    seconds: float


def measured_name(ids: Iterable[str], *, target: str, features: str, seed: int) -> str:
    """Returns the name under which the measure of these pairs is kept: the same pairs, the same name."""
    pairs = fingerprint.of_chunks(f"{pair_id}\0".encode("utf-8", "surrogatepass") for pair_id in ids)
    return "heads-" + fingerprint.of([pairs, target, features, seed])

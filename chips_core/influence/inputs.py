"""What every score is computed from: the pool, the heads, and whatever else a method may need.

A method whose needs are not met is not offered; `WHAT_NOW` says what to do about each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import torch
from torch import Tensor

from chips_core.errors import EncoderMismatch, InputError, NoTargetSet
from chips_core.influence import endpoint
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.embedding import rows_in_order
from chips_core.influence.endpoint import Block, Heads
from chips_core.influence.targets import block_of

Mode = Literal["audit", "paper"]
TargetLoss = Literal["auto", "pairs", "classes"]
NO_LABEL = -1


class Need(StrEnum):
    """What a method cannot do without, in the words that a person reads."""

    TWO_PAIRS = "two pairs or more"
    TARGET = "a target set"
    TARGET_PAIRS = "a target set of two pairs or more"
    LABELS = "class labels of the pool"
    TARGET_LABELS = "class labels of the target set"
    PROMPTS = "class prompts"
    FITTED = "heads fitted to the pool"
    SNAPSHOTS = "heads saved while they were fitted"


WHAT_NOW = {
    Need.TWO_PAIRS: "add pairs: a contrastive score measures a pair against others.",
    Need.TARGET: "name a target set, such as a split with --target val or a source.",
    Need.TARGET_PAIRS: "name a target set with --target, such as a split or a source, that holds more pairs.",
    Need.LABELS: "give a label column at intake.",
    Need.TARGET_LABELS: "use a target set whose pairs have labels.",
    Need.PROMPTS: "give a class_prompt column at intake, or a prompts file.",
    Need.FITTED: "run audit mode with a target set, which fits them, or choose paper mode.",
    Need.SNAPSHOTS: "keep the snapshots of a fit of the heads.",
}


@dataclass(frozen=True)
class Snapshot:
    """Heads at one moment of a fit, and the learning rate there."""

    heads: Heads
    rate: float


@dataclass(frozen=True)
class ScoringInputs:
    """Everything that a method may use; what is not there makes methods that need it not applicable.

    Attributes:
        pool: features of the N pairs to score.
        heads: the endpoint of the encoder as it came ("base").
        target: features of the T pairs that say what the model should be good at.
        labels: (N,) class codes of the pool from 0, -1 where a pair has none.
        target_labels: (T,) likewise.
        captions: (N,) codes, equal for equal captions; captions are compared by their features when not given.
        prompts: (C, dt) text features of one prompt a class (or the mean over templates), by class code.
        fitted: the endpoint fitted to the pool with early stopping, scale calibrated: what audit mode scores at.
        snapshots: heads saved during a fit, for TracIn.
        target_loss: what "good at the target set" means: its pairs' InfoNCE, its images' classification by the prompts,
            or `auto`: the latter where every target pair has a class.
        plan: the blocks of negatives; its seed is the seed of every random choice.
    """

    pool: Features
    heads: Heads
    target: Features | None = None
    labels: Tensor | None = None
    target_labels: Tensor | None = None
    captions: Tensor | None = None
    prompts: Tensor | None = None
    fitted: Heads | None = None
    snapshots: tuple[Snapshot, ...] = ()
    target_loss: TargetLoss = "auto"
    plan: BlockPlan = field(default_factory=BlockPlan)

    def __post_init__(self) -> None:
        self._check_widths()
        targets = len(self.target) if self.target is not None else 0
        for name, values, count in (
            ("labels", self.labels, len(self.pool)),
            ("captions", self.captions, len(self.pool)),
            ("target labels", self.target_labels, targets),
        ):
            if values is not None and values.shape != (count,):
                raise InputError(f"{count:,} pairs but {len(values):,} {name}.", fix="give one a pair.")
        for name, labels in (("pool", self.labels), ("target set", self.target_labels)):
            self._check_labels(labels, name=name)

    def _check_widths(self) -> None:
        widths = (self.heads.image.shape[1], self.heads.text.shape[1])
        for name, pairs in (("pool", self.pool), ("target set", self.target)):
            if pairs is not None and (pairs.image.shape[1], pairs.text.shape[1]) != widths:
                raise EncoderMismatch(
                    f"The features of the {name} are {pairs.image.shape[1]} and {pairs.text.shape[1]} wide, "
                    f"the heads take {widths[0]} and {widths[1]}.",
                    fix="use the heads of the encoder that made the features.",
                )
        if self.prompts is not None and (self.prompts.ndim != 2 or self.prompts.shape[1] != widths[1]):
            raise EncoderMismatch("The class prompts are not text features of this encoder.", fix="encode them again.")

    def _check_labels(self, labels: Tensor | None, *, name: str) -> None:
        if labels is None or not len(labels):
            return
        low, high = int(labels.min()), int(labels.max())
        if low < NO_LABEL or (self.prompts is not None and high >= len(self.prompts)):
            classes = f"{len(self.prompts)} class prompts" if self.prompts is not None else "no code below -1"
            raise InputError(
                f"Class codes of the {name} go from {low} to {high}, but there are {classes}.",
                fix="number the classes from 0 in the order of the prompts; -1 means no class.",
            )

    @property
    def seed(self) -> int:
        """The seed of every random choice."""
        return self.plan.seed

    def has(self, need: Need) -> bool:
        """Returns whether `need` is met."""
        target = self.target
        return {
            Need.TWO_PAIRS: len(self.pool) >= 2,
            Need.TARGET: target is not None and len(target) > 0,
            Need.TARGET_PAIRS: target is not None and len(target) >= 2,
            Need.LABELS: _some(self.labels),
            Need.TARGET_LABELS: target is not None and _some(self.target_labels),
            Need.PROMPTS: self.prompts is not None and len(self.prompts) >= 2,
            Need.FITTED: self.fitted is not None,
            Need.SNAPSHOTS: len(self.snapshots) > 0,
        }[need]

    def require(self, need: Need, *, method: str) -> None:
        """Raises when a method's need is not met; NoTargetSet where it is the target set."""
        if self.has(need):
            return
        error = NoTargetSet if need in (Need.TARGET, Need.TARGET_PAIRS) else InputError
        raise error(f"The method '{method}' needs {need}.", fix=WHAT_NOW[need])

    def needed_target(self) -> Features:
        """Returns the target set, or raises NoTargetSet."""
        if self.target is None:
            raise NoTargetSet("There is no target set to measure against.", fix=WHAT_NOW[Need.TARGET])
        return self.target

    def needed_classes(self) -> tuple[Tensor, Tensor]:
        """Returns the target set's class codes by row, (T,), and the class prompts, (C, dt); or raises."""
        if self.prompts is None or self.target_labels is None:
            need = Need.PROMPTS if self.prompts is None else Need.TARGET_LABELS
            raise InputError(f"A target loss over classes needs {need}.", fix=WHAT_NOW[need])
        return self.target_labels, self.prompts

    def at(self, mode: Mode) -> Heads:
        """Returns the heads that a mode scores at: the base in paper mode, the fitted ones in audit mode."""
        if mode == "paper":
            return self.heads
        if self.fitted is None:
            raise InputError("Audit mode needs heads fitted to the pool.", fix=WHAT_NOW[Need.FITTED])
        return self.fitted

    def labels_in_order(self) -> Tensor:
        """Returns the pool's class codes by position (place by pair id), (N,)."""
        return _by_position(self.labels, self.pool)

    def target_labels_in_order(self) -> Tensor:
        """Returns the target set's class codes by position (place by pair id), (T,)."""
        return _by_position(self.target_labels, self.needed_target())

    def class_embeddings(self, heads: Heads) -> Tensor:
        """Returns the unit embeddings of the class prompts, (C, P)."""
        if self.prompts is None:
            raise InputError("There are no class prompts.", fix=WHAT_NOW[Need.PROMPTS])
        return endpoint.embed(self.prompts, heads.text)[0]

    def some_blocks(self, heads: Heads, *, pairs: int) -> Callable[[], Iterator[Block]]:
        """Returns a pass over the first blocks of the plan, about `pairs` pairs: a seeded sample."""

        def blocks() -> Iterator[Block]:
            pool = self.pool
            count = self.plan.block_count(len(pool))
            wanted = max(1, min(count, round(pairs * count / len(pool))))
            for _, rows in zip(range(wanted), self.plan.rows(len(pool), rank=pool.rank), strict=False):
                yield block_of(pool, rows, heads=heads)

        return blocks

    def classes_are_the_target(self) -> bool:
        """Returns whether the target loss is the classification by prompts rather than the pairs' own InfoNCE.

        Repeated captions are each other's false negatives, so `auto` takes the prompts where every target pair has a
        class [decided].
        """
        if self.target_loss != "auto":
            return self.target_loss == "classes"
        known = self.prompts is not None and self.target_labels is not None
        return known and self.has(Need.PROMPTS) and bool((self.target_labels_in_order() >= 0).all())


def _by_position(labels: Tensor | None, pairs: Features) -> Tensor:
    if labels is None:
        return torch.full((len(pairs),), NO_LABEL)
    return labels.to(torch.int64)[rows_in_order(pairs)]


def _some(labels: Tensor | None) -> bool:
    return labels is not None and bool((labels >= 0).any())

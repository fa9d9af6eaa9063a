"""Proxy accuracy: the heads alone trained on a selection, on cached features, in seconds; then zero-shot accuracy.

The towers stay as they are and no image is opened, so this is a stand-in for continued training (`pretrain`), not the
same: it ranks selections, it does not promise a figure. Every selection gets the same treatment: symmetric InfoNCE,
Adam with a cosine down to 0, a fixed number of passes over the selection as in CHIPS [paper], the scale held at the one
that suits the target set. The size of a step is a share of the heads' own size, so it suits any encoder [decided].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chips_core.errors import InputError, UsageError
from chips_core.influence import endpoint, loss
from chips_core.influence.blocks import Features, seeded
from chips_core.influence.endpoint import Heads
from chips_core.influence.passes import Tick
from chips_core.verify import zero_shot
from chips_core.verify.bootstrap import Interval, interval
from chips_core.verify.zero_shot import ZeroShot

STREAM = 8_101  # of the seed, for the order of the pairs


@dataclass(frozen=True)
class ProxySettings:
    """How heads are trained on a selection.

    Attributes:
        epochs: passes over the selection.
        batch_size: pairs a step; the negatives of a pair.
        relative_rate: Adam's step at its highest, as a share of the root mean square of a head's numbers.
    """

    epochs: int = 10
    batch_size: int = 256
    relative_rate: float = 0.01

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or self.relative_rate <= 0:
            raise UsageError("Settings of the proxy out of range.", fix="epochs ≥ 1, batches of 2 or more, a rate > 0.")


@dataclass(frozen=True, eq=False)
class Exam:
    """Labelled images and class prompts, as features: what heads are judged by.

    Attributes:
        images: (T, dv).
        labels: (T,) class codes, -1 for none.
        prompts: (P, dt) of all prompts.
        owner: (P,) the class of each prompt.
        classes: their names.
        groups: the patient of each image, "" where unknown.
        sources: where each image is from, "" where unknown.
    """

    images: Tensor
    labels: NDArray[np.int64]
    prompts: Tensor
    owner: Tensor
    classes: tuple[str, ...]
    groups: Sequence[str] = field(repr=False)
    sources: Sequence[str] = field(repr=False)

    def result(self, heads: Heads) -> ZeroShot:
        """Returns everything about the zero-shot classification by some heads."""
        names = {"classes": self.classes, "groups": self.groups, "sources": self.sources}
        return zero_shot.measured(self._logits(heads), self.labels, **names)

    def right(self, heads: Heads) -> NDArray[np.float64]:
        """Returns 1 for each image with a class that is recognised, else 0, in order."""
        there = np.flatnonzero(self.labels >= 0)
        predicted = self._logits(heads)[torch.from_numpy(there)].argmax(1).numpy()
        return np.asarray(predicted == self.labels[there], dtype=np.float64)

    def accuracy(self, heads: Heads) -> float:
        """Returns the accuracy, mean over the sources: a large one does not drown the others."""
        right, there = self.right(heads), np.flatnonzero(self.labels >= 0)
        if not len(there):
            raise InputError("No image has a class to be recognised.", fix="use images with labels that prompts name.")
        codes = np.unique([self.sources[place] for place in there.tolist()], return_inverse=True)[1]
        return float((np.bincount(codes, weights=right) / np.bincount(codes)).mean())

    def difference(self, before: Heads, after: Heads) -> Interval | None:
        """Returns the change of the accuracy over all images and its interval, paired by image, whole patients."""
        there = np.flatnonzero(self.labels >= 0)
        return interval(self.right(after) - self.right(before), [self.groups[place] for place in there.tolist()])

    def _logits(self, heads: Heads) -> Tensor:
        weights = zero_shot.class_weights(self.prompts, self.owner, head=heads.text)
        return zero_shot.logits_of(self.images, weights=weights, head=heads.image, scale=heads.scale)


def train_heads(
    pool: Features,
    rows: Sequence[int] | NDArray[np.int64],
    *,
    heads: Heads,
    settings: ProxySettings | None = None,
    seed: int = 0,
    tick: Tick | None = None,
) -> Heads:
    """Returns the heads trained on some rows of a pool, the same whatever their order.

    Args:
        pool: features of the N pairs.
        rows: the selection, two pairs or more.
        heads: where to start; the scale stays.
        settings: see `ProxySettings`.
        seed: of the order of the pairs.
        tick: told of each batch.
    """
    settings = settings or ProxySettings()
    chosen = _in_order(pool, rows)
    if len(chosen) < 2:
        raise InputError(f"Heads cannot be trained on {len(chosen)} pairs.", fix="choose two pairs or more.")
    start = heads.to(torch.float32)
    weights = [start.image.clone().requires_grad_(), start.text.clone().requires_grad_()]
    sizes = [float(weight.detach().square().mean().sqrt()) for weight in weights]
    adam = torch.optim.Adam([{"params": [weight]} for weight in weights])
    batches = max(1, round(len(chosen) / settings.batch_size))
    for step, some in enumerate(_batches(chosen, epochs=settings.epochs, batches=batches, seed=seed)):
        rate = settings.relative_rate * 0.5 * (1 + math.cos(math.pi * step / (settings.epochs * batches)))
        for group, size in zip(adam.param_groups, sizes, strict=True):
            group["lr"] = rate * size
        part = pool.take(some)
        block = endpoint.forward(part.image, part.text, Heads(weights[0], weights[1], start.log_scale))
        adam.zero_grad(set_to_none=True)
        loss.pair_losses(block.logits).mean().backward()  # type: ignore[no-untyped-call]
        adam.step()
        if tick is not None:
            tick(len(some))
    return replace(start, image=weights[0].detach(), text=weights[1].detach())


def _in_order(pool: Features, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """Returns the rows, each once, in the order of their pair ids."""
    chosen = torch.from_numpy(np.unique(np.asarray(rows, dtype=np.int64)))
    return chosen if pool.rank is None else chosen[torch.argsort(pool.rank[chosen])]


def _batches(chosen: Tensor, *, epochs: int, batches: int, seed: int) -> "list[Tensor]":
    found: list[Tensor] = []
    for epoch in range(epochs):
        order = torch.randperm(len(chosen), generator=seeded(seed, STREAM + epoch))
        found += torch.tensor_split(chosen[order], batches)
    return found

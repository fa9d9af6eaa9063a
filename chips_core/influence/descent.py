"""Descent: two heads learn from the cached features of a pool, step by step, and can go back to where they were.

What is minimised, and why, says `fit`. The order of the batches comes of the seed and the pairs' ranks alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.errors import UsageError
from chips_core.influence import endpoint, loss
from chips_core.influence.blocks import Features, seeded
from chips_core.influence.endpoint import Heads
from chips_core.influence.lanes import one_thread
from chips_core.influence.passes import Tick

STREAM = 7_001  # of the seed, for the order of the pairs


@dataclass(frozen=True)
class FitSettings:
    """How heads are fitted to a pool; the defaults are the ones of the benchmarks.

    Attributes:
        epochs: passes over the pool at most.
        batch_size: pairs a step; the negatives of a pair.
        relative_rate: Adam's step, as a share of the root mean square of a head's numbers.
        proximal: δ, what it costs to move the heads as far as they are long, twice over.
        patience: epochs without a better target loss before it stops; None goes through all and keeps the last.
        most_pairs: pairs of an epoch at most, a fresh sample each time.
        soften: share of the calibrated scale at which influence is measured (`FittedHeads.softened`).
    """

    epochs: int = 40
    batch_size: int = 256
    relative_rate: float = 0.01
    proximal: float = 0.5
    patience: int | None = 5
    most_pairs: int = 65_536
    soften: float = 0.5

    def __post_init__(self) -> None:
        whole = min(self.epochs, self.patience or 1, self.most_pairs - 1, self.batch_size - 1) >= 1
        if not whole or self.relative_rate <= 0 or self.proximal < 0 or not 0 < self.soften <= 1:
            raise UsageError(
                "Settings of the fit out of range.",
                fix="epochs, patience ≥ 1, batches of 2 or more, a rate above 0, proximal ≥ 0, 0 < soften ≤ 1.",
            )


@dataclass(frozen=True)
class Step:
    """One step of a fit: where the heads were, what they were told, and what Adam made of it.

    Each of the lists holds the image head's and the text head's.

    Attributes:
        number: from 1.
        rows: of the batch.
        heads: before the step.
        gradient: of the batch's mean loss and of the hold.
        mean: Adam's running mean of the gradients, after this one.
        square: Adam's running mean of their squares, after this one.
    """

    number: int
    rows: Tensor
    heads: Heads
    gradient: list[Tensor]
    mean: list[Tensor]
    square: list[Tensor]


@dataclass(frozen=True)
class Saved:
    """A fit between two steps: the heads, and what Adam remembers."""

    weights: list[Tensor]
    adam: list[dict[str, Tensor]]


class Fit:
    """Two heads on their way, with Adam's two means each."""

    def __init__(
        self, pool: Features, start: Heads, *, settings: FitSettings, seed: int, keep: Tensor | None = None
    ) -> None:
        self._pool, self._start, self._settings, self._seed = pool, start, settings, seed
        self._keep = keep
        self._rank = torch.arange(len(pool)) if pool.rank is None else pool.rank
        self._weights = [start.image.clone().requires_grad_(), start.text.clone().requires_grad_()]
        self._length = float(start.image.double().square().sum() + start.text.double().square().sum())
        self.hold = settings.proximal / self._length  # slope of the gradient that pulls the heads back
        self.rates = [settings.relative_rate * float(head.square().mean().sqrt()) for head in (start.image, start.text)]
        groups = [{"params": [w], "lr": rate} for w, rate in zip(self._weights, self.rates, strict=True)]
        self._adam = torch.optim.Adam(groups)

    @property
    def heads(self) -> Heads:
        """The heads as they are now."""
        image, text = (weight.detach().clone() for weight in self._weights)
        return Heads(image, text, self._start.log_scale)

    @property
    def saved(self) -> Saved:
        """The fit as it is now, to go on from later."""
        adam = [_copied(self._adam.state[weight]) for weight in self._weights]
        return Saved([weight.detach().clone() for weight in self._weights], adam)

    def restore(self, saved: Saved) -> None:
        """Goes back to where the fit was saved."""
        with torch.no_grad():
            for weight, value, state in zip(self._weights, saved.weights, saved.adam, strict=True):
                weight.copy_(value)
                self._adam.state[weight] = _copied(state)

    def batches(self, epoch: int) -> Iterator[Tensor]:
        """Yields the rows of an epoch's batches: the whole pool once, in a new order of the ids."""
        generator = seeded(self._seed, STREAM + epoch)
        by_rank = torch.argsort(self._rank)
        chosen = by_rank[torch.randperm(len(self._pool), generator=generator)][: self._settings.most_pairs]
        yield from torch.tensor_split(chosen, max(1, round(len(chosen) / self._settings.batch_size)))

    def epoch(self, number: int, *, tick: Tick | None = None) -> None:
        """Goes over the pool once."""
        for rows in self.batches(number):
            self.step(rows)
            if tick is not None:
                tick(len(rows))

    def step(self, rows: Tensor, *, watch: Callable[[Step], None] | None = None) -> None:
        """Takes one step by those of a batch that are kept, two or more; `watch` is shown it.

        On one thread, so that the heads are the same on every machine, and a busy one is no slower.
        """
        kept = rows if self._keep is None else rows[self._keep[rows]]
        if len(kept) < 2:
            return
        with one_thread():
            before = self.heads if watch else None
            self._descend(kept)
            if watch and before:
                watch(self._seen(kept, before))

    def _descend(self, rows: Tensor) -> None:
        part = self._pool.take(rows)
        image, text = self._weights
        block = endpoint.forward(part.image, part.text, Heads(image, text, self._start.log_scale))
        away = (image - self._start.image).square().sum() + (text - self._start.text).square().sum()
        total = loss.pair_losses(block.logits).mean() + self._settings.proximal / 2 * away / self._length
        self._adam.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self._adam.step()

    def _seen(self, rows: Tensor, before: Heads) -> Step:
        state = [self._adam.state[weight] for weight in self._weights]
        mean, square = ([each[name].clone() for each in state] for name in ("exp_avg", "exp_avg_sq"))
        gradient = [weight.grad.clone() for weight in self._weights if weight.grad is not None]
        return Step(int(state[0]["step"]), rows, before, gradient, mean, square)


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}

"""Audit mode: heads that have seen the pool, so that influence and losses speak about a model trained on it.

Influence at a checkpoint that never saw the pool ranks wrong pairs as valuable, and heads that have learnt the pool by
heart can tell nothing either (methods.md §4). So: first calibrate the scale on the target set, then fit both heads on
the cached features, held near where they were by a proximal term, and keep the epoch that is best on the target set.
Seconds, since no image is opened.

    minimise over W_v, W_t:  mean_n l_n + (δ/2) |θ - θ₀|² / |θ₀|²            [decided]

with the scale fixed: a trainable scale shrinks to please wrong pairs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from chips_core.errors import InputError, NoTargetSet, UsageError
from chips_core.influence import endpoint, loss
from chips_core.influence.blocks import BlockPlan, Features, seeded
from chips_core.influence.endpoint import Heads
from chips_core.influence.inputs import Snapshot
from chips_core.influence.lanes import one_thread
from chips_core.influence.passes import Tick
from chips_core.influence.targets import target_loss

LEAST_SCALE, MOST_SCALE = 0.5, 200.0  # between which the calibrated scale is looked for
GRID = 25  # scales on the first, coarse grid; the second one is as fine again between its best neighbours
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
class FittedHeads:
    """Heads fitted to a pool.

    Attributes:
        heads: of the epoch that was kept, with the calibrated scale.
        history: the target loss before the first epoch and after each.
        epoch: which of them was kept; 0 means that no epoch helped and the heads are the base's.
        settings: how they were fitted.
        snapshots: heads after each epoch up to that one, with their learning rate.
    """

    heads: Heads
    history: tuple[float, ...]
    epoch: int
    settings: FitSettings
    snapshots: tuple[Snapshot, ...] = ()

    @property
    def softened(self) -> Heads:
        """The same heads at a softer scale: where to measure influence [decided].

        Where the model is surer of the target set than it should be, the target gradient asks for less agreement,
        and pairs that disagree look helpful. At half the calibrated scale it asks for agreement everywhere, and the
        sign of an influence means what a reader takes it to mean.
        """
        return replace(self.heads, log_scale=self.heads.log_scale + math.log(self.settings.soften))


def calibrate_scale(target: Features, heads: Heads, *, plan: BlockPlan) -> Heads:
    """Returns the heads with the scale at which the target set's loss is least.

    Args:
        target: features of the target set.
        heads: the endpoint; its two matrices stay as they are.
        plan: the blocks of negatives in which the target loss is measured.
    """
    if len(target) < 2:
        raise NoTargetSet(f"The target set holds {len(target)} pairs.", fix="name a target set of two pairs or more.")
    low, high = math.log(LEAST_SCALE), math.log(MOST_SCALE)
    best = heads
    for _ in range(2):
        grid = [low + (high - low) * step / (GRID - 1) for step in range(GRID)]
        losses = [target_loss(target, _at(heads, value), plan=plan) for value in grid]
        place = min(range(GRID), key=losses.__getitem__)
        best = _at(heads, grid[place])
        low, high = grid[max(0, place - 1)], grid[min(GRID - 1, place + 1)]
    return best


def fit_heads(
    pool: Features,
    target: Features,
    *,
    heads: Heads,
    plan: BlockPlan,
    settings: FitSettings | None = None,
    tick: Tick | None = None,
) -> FittedHeads:
    """Returns heads fitted to a pool, stopped early on the target set, the same whatever the order of the rows.

    Args:
        pool: features of the N pairs.
        target: features of the pairs that say when to stop; none of them is learnt from.
        heads: the encoder's own endpoint.
        plan: the blocks in which the target loss is measured; its seed draws the order of the pairs.
        settings: see `FitSettings`.
        tick: told of each batch.
    """
    settings = settings or FitSettings()
    if len(pool) < 2:
        raise InputError(f"{len(pool)} pairs cannot fit heads.", fix="add pairs.")
    start = calibrate_scale(target, heads.to(torch.float32), plan=plan)
    fit = Fit(pool, start, settings=settings, seed=plan.seed)
    history, snapshots = [target_loss(target, start, plan=plan)], [Snapshot(start, settings.relative_rate)]
    best = 0
    for epoch in range(1, settings.epochs + 1):
        fit.epoch(epoch, tick=tick)
        found = fit.heads
        history.append(target_loss(target, found, plan=plan))
        snapshots.append(Snapshot(found, settings.relative_rate))
        if not math.isfinite(history[epoch]):
            break
        if settings.patience is None or history[epoch] < history[best]:
            best = epoch
        elif epoch - best >= settings.patience:
            break
    return FittedHeads(snapshots[best].heads, tuple(history), best, settings, tuple(snapshots[1 : best + 1]))


def refit_heads(
    pool: Features, keep: Tensor, *, fitted: FittedHeads, heads: Heads, plan: BlockPlan, tick: Tick | None = None
) -> Heads:
    """Returns the heads as the same fit makes them without some pairs: the ground truth of a removal [decided].

    The same start, scale, batches, order and number of epochs as of `fitted`; the removed pairs are left out of their
    batches. With all pairs kept it returns `fitted.heads` to the last bit, so that the difference is the removal's
    alone, and not that of another order of the pairs.

    Args:
        pool: features of the N pairs that `fitted` saw.
        keep: (N,) bool, False for the removed pairs.
        fitted: what `fit_heads` returned.
        heads: the encoder's own endpoint that it was given.
        plan: the plan that it was given.
        tick: told of each batch.
    """
    start = start_of(fitted, heads)
    fit = Fit(pool, start, settings=fitted.settings, seed=plan.seed, keep=keep)
    for epoch in range(1, fitted.epoch + 1):
        fit.epoch(epoch, tick=tick)
    return fit.heads


def start_of(fitted: FittedHeads, heads: Heads) -> Heads:
    """Returns where a fit began: the encoder's own heads, at the scale that was found for them."""
    return replace(heads.to(torch.float32), log_scale=fitted.heads.log_scale.to(torch.float32))


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
    """A fit between two epochs: the heads, and what Adam remembers."""

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

    def epoch(self, number: int, *, tick: Tick | None = None, watch: Callable[[Step], None] | None = None) -> None:
        """Goes over the pool once, in a new order of the ids; `watch` is shown each step.

        On one thread, so that the heads are the same on every machine, and a busy one is no slower.
        """
        generator = seeded(self._seed, STREAM + number)
        by_rank = torch.argsort(self._rank)
        chosen = by_rank[torch.randperm(len(self._pool), generator=generator)][: self._settings.most_pairs]
        for rows in torch.tensor_split(chosen, max(1, round(len(chosen) / self._settings.batch_size))):
            kept = rows if self._keep is None else rows[self._keep[rows]]
            if len(kept) > 1:
                before = self.heads if watch else None
                with one_thread():
                    self._step(kept)
                if watch and before:
                    watch(self._seen(kept, before))
            if tick is not None:
                tick(len(rows))

    def _step(self, rows: Tensor) -> None:
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


def _at(heads: Heads, log_scale: float) -> Heads:
    return replace(heads, log_scale=torch.full_like(heads.log_scale, log_scale))


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}

"""Audit mode: heads that have seen the pool, so that influence and losses speak about a model trained on it.

Influence at a checkpoint that never saw the pool ranks wrong pairs as valuable, and heads that have learnt the pool by
heart can tell nothing either (methods.md §4). So: first calibrate the scale on the target set, then fit both heads on
the cached features, held near where they were by a proximal term, and keep the epoch that is best on the target set.
Seconds, since no image is opened.

    minimise over W_v, W_t:  mean_n l_n + (δ/2) |θ - θ₀|² / |θ₀|²            [decided]

with the scale fixed: a trainable scale shrinks to please wrong pairs.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from chips_core.errors import InputError, NoTargetSet
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.descent import Fit, FitSettings
from chips_core.influence.endpoint import Heads
from chips_core.influence.inputs import Snapshot
from chips_core.influence.passes import Tick
from chips_core.influence.targets import target_loss

LEAST_SCALE, MOST_SCALE = 0.5, 200.0  # between which the calibrated scale is looked for
GRID = 25  # scales on the first, coarse grid; the second one is as fine again between its best neighbours


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


def _at(heads: Heads, log_scale: float) -> Heads:
    return replace(heads, log_scale=torch.full_like(heads.log_scale, log_scale))

"""Tracing a wrong prediction to the pairs that caused it, what removing them would do, and what it really does.

The model that errs is the encoder with its two heads fitted to the pool for a fixed number of epochs (`FIT`), as a
training would: an early stop, good for scores, leaves heads that owe the pool little, and errors that no removal cures
[decided, measured]. v = ∇ of the cross-entropy of the mispredicted image over the class prompts; removing pair n moves
the heads by Δθ_n = H⁻¹∇(Pos + Neg)_n / 2N, so the image's loss changes by v·Δθ_n: negative where the pair made the
error. `relative` divides by |Δθ_n|. A set R is predicted by moving the heads by its Δθ (model editing), and checked by
fitting them again without R.

What makes predicted and real comparable [decided]: the heads are fitted again by the very recipe of the first fit,
with the same batches in the same order and as many epochs, the removed pairs left out of them. Without removal this
gives the same heads to the last bit, so the difference is the removal's. The fit is no minimum, so the prediction is
right in order more than in size; how far, `honesty_of` measures on the pool itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from chips_core.influence import ecif, relative, targets
from chips_core.influence.blocks import BlockPlan, Features, seeded
from chips_core.influence.curvature import GaussNewton
from chips_core.influence.descent import FitSettings
from chips_core.influence.ecif import EcifSettings
from chips_core.influence.endpoint import Direction, Heads
from chips_core.influence.fit import FittedHeads, refit_heads
from chips_core.influence.passes import Tick
from chips_core.influence.ranks import spearman
from chips_core.influence.reference import BLOCKS, Reference
from chips_core.influence.relative import Sizes
from chips_core.influence.screen import Screen
from chips_core.influence.unrolled import Course

# A stronger hold or fewer passes leave errors that no removal cures; a larger damping predicts worse [measured]
FIT = FitSettings(epochs=15, relative_rate=0.02, proximal=0.05, patience=None)
SETTINGS = EcifSettings(damping=0.02, curvature_pairs=1024)  # with TOLERANCE: a click answers in less than a second
TOLERANCE = 1e-2  # of H⁻¹v's residual; that of a curvature measured on 1,024 pairs is far above it
REPEATS = 2  # reshuffles of the blocks


@dataclass(frozen=True)
class Traced:
    """The influence of every pair on one test loss, (N,) float64 each; below zero it pushed towards the error.

    `pos` and `neg` are its two roles: as a partner of its own caption, and as a wrong answer of other pairs.
    """

    pos: Tensor
    neg: Tensor
    relative: Tensor | None  # only where the sizes are known

    @property
    def plain(self) -> Tensor:
        """IS: the predicted change of the test loss if the pair is removed."""
        return self.pos + self.neg


@dataclass(frozen=True)
class Honesty:
    """Predicted against real changes of test losses over random removals.

    Attributes:
        spearman: rank correlation over the removals, mean over the images.
        slope: of the real by the predicted change, over everything.
        fit_spearman: the same rank correlation where the prediction goes through the whole fit.
        fit_slope: likewise.
        removals: how many.
        removed: pairs each.
        images: how many test images.
        spread: standard deviation of a real change: what removing pairs at random does.
    """

    spearman: float
    slope: float
    fit_spearman: float
    fit_slope: float
    removals: int
    removed: int
    images: int
    spread: float


@dataclass(frozen=True)
class Tracer:
    """A pool and the model fitted to it.

    Attributes:
        pool: features of the N pairs.
        base: the encoder's own heads.
        fitted: the heads fitted to the pool.
        fit_plan: the plan that the fit was given.
        prompts: (C, dt) text features, one prompt a class.
        settings: of the influence.
    """

    pool: Features
    base: Heads
    fitted: FittedHeads
    fit_plan: BlockPlan
    prompts: Tensor
    settings: EcifSettings = SETTINGS

    @property
    def heads(self) -> Heads:
        """The model that errs."""
        return self.fitted.heads.to(torch.float32)

    @cached_property
    def plan(self) -> BlockPlan:
        """The blocks in which the curvature, the sizes and the removal of a set are measured."""
        return replace(self.fit_plan, repeats=min(REPEATS, self.fit_plan.repeats))

    @cached_property
    def curvature(self) -> GaussNewton:
        """The Gauss-Newton matrix of the pool at the fitted heads; independent of the image."""
        matrix, _ = ecif.curvature_of(self.pool, heads=self.heads, plan=self.plan, settings=self.settings)
        if not isinstance(matrix, GaussNewton):
            raise TypeError("tracing needs the Gauss-Newton curvature")
        return matrix

    def sizes(self, *, probes: int = relative.PROBES, tick: Tick | None = None) -> Sizes:
        """Returns |Δθ_n| of every pair; independent of the image, so to be kept."""
        return relative.sizes(self.pool, self.heads, plan=self.plan, settings=self.settings, probes=probes, tick=tick)

    def logits(self, images: Tensor, heads: Heads | None = None) -> Tensor:
        """Returns the class logits of images (T, dv) by the fitted or by other heads, (T, C)."""
        found: Tensor = targets.against_prompts(images, self.prompts, heads or self.heads).logits
        return found

    def losses(self, images: Tensor, labels: Tensor, heads: Heads | None = None) -> Tensor:
        """Returns each image's cross-entropy over the class prompts, (T,)."""
        return targets.zero_shot_losses(images, labels, prompts=self.prompts, heads=heads or self.heads)

    def gradient(self, images: Tensor, labels: Tensor) -> Direction:
        """Returns v: the gradient of the mean cross-entropy of one image or of several, the scale left out."""
        return targets.zero_shot_gradient(images, labels, prompts=self.prompts, heads=self.heads, train_scale=False)

    @cached_property
    def blocks(self) -> list[Tensor]:
        """The rows that every pair is measured against."""
        return self.fit_plan.first(self.pool, BLOCKS)

    @cached_property
    def screen(self) -> Screen:
        """The pool, ready for a first look at every pair: computed once, a second for 200,000 pairs."""
        return Screen.of(self.pool, self.heads)

    def reference(self, images: Tensor, labels: Tensor) -> Reference:
        """Returns the reference seen along H⁻¹v of the mean loss of one image, or of all errors of a cell."""
        solved = self.solved(self.gradient(images, labels))
        return Reference.of(self.pool, self.heads, v=solved, blocks=self.blocks)

    def of_pairs(self, reference: Reference, places: Tensor, *, sizes: Sizes | None = None) -> Traced:
        """Returns the influence of the pairs at some places."""
        share, dots = 1 / (2 * len(self.pool)), reference.dots(places)
        found = relative.Influence(share * dots.pos[None], share * dots.neg[None])
        return Traced(found.pos[0], found.neg[0], found.theta(sizes)[0] if sizes else None)

    def trace(self, images: Tensor, labels: Tensor, *, sizes: Sizes | None) -> Traced:
        """Returns the influence of every pair on the mean loss of one image, or of all errors of a cell."""
        return self.of_pairs(self.reference(images, labels), torch.arange(len(self.pool)), sizes=sizes)

    @cached_property
    def course(self) -> Course:
        """The fit, to be gone over again."""
        return Course(self.pool, self.base, self.fitted, self.fit_plan)

    def through_fit(self, images: Tensor, labels: Tensor, *, tick: Tick | None = None) -> Traced:
        """Returns the influence of every pair through the whole fit: truer, and as slow as fitting once more."""
        found = self.course.effects([self.gradient(images, labels)], tick=tick)
        return Traced(found.pos[0], found.neg[0], None)

    def edited(self, members: Tensor) -> Heads:
        """Returns the heads as predicted without some pairs, (N,) bool: θ + H⁻¹∇(L - L₋R)/2N."""
        gradient = ecif.removal_gradient(self.pool, members, heads=self.heads, plan=self.plan)
        return self.heads.moved(self.solved(gradient)) if bool(members.any()) else self.heads

    def retrained(self, members: Tensor, *, tick: Tick | None = None) -> Heads:
        """Returns the heads really fitted without some pairs, (N,) bool."""
        return refit_heads(self.pool, ~members, fitted=self.fitted, heads=self.base, plan=self.fit_plan, tick=tick)

    def solved(self, u: Direction) -> Direction:
        """Returns H⁻¹u."""
        matrix = replace(self.curvature, tolerance=TOLERANCE)
        return matrix.solve(u, damping=self.settings.damping).direction


def honesty_of(
    tracer: Tracer, images: Tensor, labels: Tensor, *, removals: int, share: float, seed: int, tick: Tick | None = None
) -> Honesty:
    """Returns how well the predicted changes of some test losses agree with real ones over random removals.

    Args:
        tracer: the pool and its model.
        images: (T, dv) test images, such as some mispredicted ones.
        labels: (T,) their classes.
        removals: how many random sets of pairs are removed, one after the other.
        share: of the pool in each set.
        seed: of the sets.
        tick: told of each removal.
    """
    pairs = len(tracer.pool)
    count, generator = max(1, round(share * pairs)), seeded(seed, 31)
    before = tracer.losses(images, labels)
    ways = _plain(tracer, images, labels), _through_fit(tracer, images, labels)
    drawn, real = [], []
    for _ in range(removals):
        members = torch.zeros(pairs, dtype=torch.bool)
        members[torch.randperm(pairs, generator=generator)[:count]] = True
        drawn.append(members)
        real.append(tracer.losses(images, labels, tracer.retrained(members)) - before)
        if tick is not None:
            tick(1)
    y, of = torch.stack(real), torch.stack(drawn).double()  # (removals, T), (removals, N)
    by_end, by_fit = (_agreement(of @ way.T, y) for way in ways)
    return Honesty(*by_end, *by_fit, removals, count, len(labels), float(y.std()))


def _agreement(predicted: Tensor, real: Tensor) -> tuple[float, float]:
    """Returns the rank correlation over the removals, mean over the images, and the slope, of (removals, T)."""
    each = [spearman(predicted[:, image], real[:, image]) for image in range(predicted.shape[1])]
    slope = float((predicted * real).sum() / predicted.square().sum().clamp(min=1e-300))
    return sum(each) / len(each), slope


def _plain(tracer: Tracer, images: Tensor, labels: Tensor) -> Tensor:
    """Returns the plain influence of every pair on every image's loss, (T, N)."""
    rows: Sequence[int] = range(len(labels))
    return torch.stack([tracer.trace(images[[row]], labels[[row]], sizes=None).plain for row in rows])


def _through_fit(tracer: Tracer, images: Tensor, labels: Tensor) -> Tensor:
    """Returns the influence through the fit of every pair on every image's loss, (T, N)."""
    gradients = [tracer.gradient(images[[row]], labels[[row]]) for row in range(len(labels))]
    return tracer.course.effects(gradients).delta_loss_if_removed

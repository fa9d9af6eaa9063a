"""The influence of every pair through the whole fit: the derivative of the training itself, not of its end.

Influence at the end of a fit supposes that the heads have come to rest. After a few passes they have not, and a
prediction is then right in order more than in size. Here the test gradient is led back through every step that the fit
took, Adam's two means included, and in each step the pairs of the batch are asked what their absence would have changed
there. It costs about as much as fitting once more, for all pairs at once.

A step t goes from (θ, m, s) by the gradient g of its batch [paper: Adam]
    m ← β₁m + (1-β₁)g,   s ← β₂s + (1-β₂)g²,   θ ← θ - rate · (m/(1-β₁ᵗ)) / (√(s/(1-β₂ᵗ)) + ε)
so with ā the derivative of the test loss by a [derived]
    m̄ += -rate/c₁ · θ̄/d,   s̄ += rate/c₁ · m θ̄/d² / (2 √(s c₂)),   c₁ = 1-β₁ᵗ, c₂ = 1-β₂ᵗ, d = √(s/c₂) + ε
    ḡ = (1-β₁)m̄ + 2(1-β₂) g s̄,   θ̄ += ∇²(batch's loss) ḡ,   m̄ ← β₁m̄,   s̄ ← β₂s̄
Without pair n a batch of B pairs has the mean gradient (B ĝ - ½∇(Pos + Neg)_n) / (B-1), ĝ the mean with it, so n's
absence changes the test loss by ḡ·(ĝ - ½∇(Pos + Neg)_n) / (B-1), summed over the steps that saw n: exact in what n does
to a batch, to first order in what the change then does to the heads.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from chips_core.influence import loss
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.descent import Fit, Saved, Step
from chips_core.influence.endpoint import Block, Direction, Heads, forward, logit_moves, moves
from chips_core.influence.fit import FittedHeads, start_of
from chips_core.influence.kernel import BlockScorer, Wants
from chips_core.influence.lanes import in_lanes, one_thread
from chips_core.influence.passes import Tick
from chips_core.influence.relative import Influence

BETAS, EPSILON = (0.9, 0.999), 1e-8  # torch.optim.Adam's own
# Numbers whose gradients are that much smaller than most stay where they are [decided]: Adam would multiply any change
# of theirs by rate/ε, though what they do to a logit is nothing
QUIET = 1e-4


@dataclass(frozen=True)
class Course:
    """A fit that can be gone over again.

    Attributes:
        pool: features of the N pairs that it saw.
        base: the encoder's own heads.
        fitted: what came of it.
        plan: the plan that it was given.
    """

    pool: Features
    base: Heads
    fitted: FittedHeads
    plan: BlockPlan

    @cached_property
    def _batches(self) -> list[Tensor]:
        """The rows of every step of the fit."""
        fit = self._fit()
        return [rows for epoch in range(1, self.fitted.epoch + 1) for rows in fit.batches(epoch)]

    @property
    def _stretch(self) -> int:
        """Steps from one saved moment of the fit to the next: as many as there are such moments, for least memory."""
        return max(1, math.isqrt(len(self._batches)))

    @cached_property
    def _starts(self) -> list[Saved]:
        """The fit at the beginning of each stretch: all that is kept, since the steps of one are soon made again."""
        fit, found = self._fit(), []
        for number, rows in enumerate(self._batches):
            if number % self._stretch == 0:
                found.append(fit.saved)
            fit.step(rows)
        return found

    @property
    def pairs_seen(self) -> int:
        """How many pairs the steps saw together: what `tick` is told of."""
        return sum(len(rows) for rows in self._batches)

    def effects(self, directions: Sequence[Direction], *, tick: Tick | None = None) -> Influence:
        """Returns what each pair's absence changes of K test losses, to first order.

        As a partner, and as one of those who share the mean; and as a wrong answer of others.

        Args:
            directions: the gradients of the losses at the fitted heads; without scale, as the fit's is fixed.
            tick: told of the pairs of each batch.
        """
        found = Influence(*torch.zeros(2, len(directions), len(self.pool), dtype=torch.float64))
        fit = self._fit()
        backs = [_Back(v, rates=fit.rates, hold=fit.hold) for v in directions]
        for steps in self._backwards():
            while steps:
                step = steps.pop()
                with one_thread():
                    asked = [back.asked(step) for back in backs]
                    self._collect(found, step, asked)
                    block = self._block(step)
                    for back, one in zip(backs, asked, strict=True):
                        back.through(one, block)
                if tick is not None:
                    tick(len(step.rows))
        return found

    def _backwards(self) -> Iterator[list[Step]]:
        """Yields the steps of each stretch, the last one first; one is made again while another is gone back."""

        def again(stretch: int) -> list[Step]:
            fit, steps, first = self._fit(), list[Step](), stretch * self._stretch
            fit.restore(self._starts[stretch])
            for rows in self._batches[first : first + self._stretch]:
                fit.step(rows, watch=steps.append)
            return steps

        with closing(in_lanes(lambda: again, reversed(range(len(self._starts))), lanes=1)) as made:
            yield from (steps for _, steps in made)

    def _fit(self) -> Fit:
        start = start_of(self.fitted, self.base)
        return Fit(self.pool, start, settings=self.fitted.settings, seed=self.plan.seed)

    def _block(self, step: Step) -> Block:
        part = self.pool.take(step.rows)
        return forward(part.image, part.text, step.heads)

    def _collect(self, found: Influence, step: Step, asked: Sequence[Direction]) -> None:
        """Adds what the absence of each pair of the batch changes along each of `asked`."""
        scorer = BlockScorer(step.heads, asked, wants=Wants(deletion=True))
        columns = scorer.score(self.pool.image, self.pool.text, step.rows)
        own, neg = columns["loss_dots"].double(), columns["neg_dots"].double()
        others = len(step.rows) - 1
        found.pos[:, step.rows] += (own.mean(1, keepdim=True) - own) / others
        found.neg[:, step.rows] -= neg / 2 / others


class _Back:
    """The derivative of the test loss by the heads and by Adam's two means, on its way back."""

    def __init__(self, v: Direction, *, rates: Sequence[float], hold: float) -> None:
        self._heads = [v.image.float(), v.text.float()]
        self._mean = [torch.zeros_like(part) for part in self._heads]
        self._square = [torch.zeros_like(part) for part in self._heads]
        self._rates, self._hold = rates, hold

    def asked(self, step: Step) -> Direction:
        """Returns the derivative by the step's gradient, and goes back over what Adam made of it."""
        (first, second), number, found = BETAS, step.number, list[Tensor]()
        for k, rate in enumerate(self._rates):
            root = (step.square[k] / (1 - second**number)).sqrt_()
            loud = root > QUIET * root.mean()
            root = torch.where(loud, root, 1.0)
            moved = torch.where(loud, self._heads[k], 0.0) * (rate / (1 - first**number)) / (root + EPSILON)
            self._mean[k] -= moved
            self._square[k] += moved * step.mean[k] / (root + EPSILON) / (2 * (1 - second**number) * root)
            asked = (1 - first) * self._mean[k] + 2 * (1 - second) * step.gradient[k] * self._square[k]
            found.append(torch.where(loud, asked, 0.0))
            self._mean[k] *= first
            self._square[k] *= second
        return Direction(found[0], found[1], torch.zeros(()))

    def through(self, asked: Direction, block: Block) -> None:
        """Goes back over the batch's gradient, as a function of the heads it was taken at."""
        bent = hessian_product(block, asked) * (1 / block.pairs) + asked * self._hold
        self._heads = [self._heads[0] + bent.image, self._heads[1] + bent.text]


def hessian_product(block: Block, w: Direction) -> Direction:
    """Returns ∇²(Σ_n ℓ_n) w of a block, w without scale: the true Hessian, to go along with, never to invert [derived].

    The derivative along w of dF/da = s (I - x̂x̂ᵀ) Aŷ / |a|, A = dF/dS: A moves as in the Gauss-Newton product, the unit
    embeddings and the lengths move too.
    """
    (r, q), (P, Q), s = moves(block, w), block.probabilities, block.scale
    X, Y, image, text = block.image_features, block.text_features, block.image, block.text
    A = (P + Q) / 2
    A.diagonal().sub_(1)
    moved = loss.gauss_newton_coefficients(P, Q, logit_moves(block, r, q))  # how A moves
    to_image = _turned(image, r, A @ text, moved @ text + A @ q, X @ w.image.T, block.image_lengths)
    to_text = _turned(text, q, A.T @ image, moved.T @ image + A.T @ r, Y @ w.text.T, block.text_lengths)
    return Direction((s * to_image).T @ X, (s * to_text).T @ Y, torch.zeros_like(w.log_scale))


def _turned(unit: Tensor, turn: Tensor, U: Tensor, change: Tensor, raw: Tensor, lengths: Tensor) -> Tensor:
    """Returns the change of (U - û(û·U)) / |a|, (B, D), where û turns, U changes, and |a| grows by û·raw."""

    def along(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum(1, keepdim=True)

    left = U - unit * along(unit, U)
    change = change - turn * along(unit, U) - unit * (along(turn, U) + along(unit, change))
    return (change - left * (along(unit, raw) / lengths)) / lengths

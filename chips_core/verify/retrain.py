"""Really retraining the heads without some pairs: the ground truth that every claim of influence is checked against.

Two traps [decided, methods.md §8]: cosine similarity does not see the length of the weights, so plain weight decay has
no minimum; hence the proximal term (δ/2)|θ-θ₀|². And too small a δ never converges, which makes every correlation
meaningless; hence the gradient norm is part of the result, and one that is too large is refused.

The minimiser is L-BFGS with a backtracking line search, written here because its stopping rule is the point.
"""

import math
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.errors import SingularCurvature
from chips_core.influence import endpoint, loss
from chips_core.influence.blocks import Features
from chips_core.influence.endpoint import Direction, Heads

MAX_ROUNDS = 2000
MEMORY = 30  # steps that L-BFGS remembers
SHORTEST = 1e-10  # a line search below this has lost the function's digits


@dataclass(frozen=True)
class Objective:
    """J(θ) = (1/N) Σ_{n kept} ℓ_n + (δ/2)|θ-θ₀|², the kept pairs of a block its negatives, N counting all pairs."""

    features: Features
    anchor: Heads  # θ₀
    delta: float  # δ
    train_scale: bool = False
    blocks: tuple[Tensor, ...] = ()  # rows of each block of negatives; where empty, all pairs are one

    def at(self, heads: Heads, keep: Tensor) -> tuple[float, Direction]:
        """Returns J and ∇J over the kept rows, (n,) or (N,) bool."""
        kept = torch.zeros(len(self.features), dtype=torch.bool)
        kept[keep] = True
        moved = heads.minus(self.anchor)
        if not self.train_scale:
            moved = Direction(moved.image, moved.text, torch.zeros_like(moved.log_scale))
        value, total = self.delta / 2 * float(moved.norm()) ** 2, moved * self.delta
        for rows in self.blocks or (torch.arange(len(self.features)),):
            some = rows[kept[rows]]
            block = endpoint.forward(self.features.image[some], self.features.text[some], heads)
            weights = torch.full_like(block.image[:, 0], 1 / len(self.features))
            value += float(weights @ loss.pair_losses(block.logits))
            total = total + endpoint.gradient(block, weights, train_scale=self.train_scale)
        return value, total


@dataclass(frozen=True)
class Retrained:
    """The heads at the minimum, and how near to it they are."""

    heads: Heads
    gradient_norm: float
    rounds: int


def retrain(objective: Objective, start: Heads, *, keep: Tensor, tolerance: float = 1e-6) -> Retrained:
    """Returns the heads that minimise the objective over the kept pairs, to |∇J| < tolerance; give float64.

    Args:
        objective: what training minimises.
        start: where to start, such as the heads fitted to all pairs.
        keep: (n,) rows of the kept pairs, or (N,) bool.
        tolerance: of the gradient's norm.

    Raises:
        SingularCurvature: where the gradient does not fall that far; the result would mean nothing.
    """
    heads = start
    value, gradient = objective.at(heads, keep)
    past: deque[tuple[Tensor, Tensor]] = deque(maxlen=MEMORY)
    for done in range(MAX_ROUNDS):
        norm = float(gradient.norm())
        if norm < tolerance:
            return Retrained(heads, norm, done)
        step = gradient.from_flat(-_inverse_hessian(gradient.flat(), past, first=1 / max(objective.delta, norm)))
        heads, value, found = _search(objective, heads, keep=keep, step=step, value=value, gradient=gradient)
        moved, turned = step.flat() * found[0], (found[1] - gradient).flat()
        if float(moved @ turned) > 0:
            past.append((moved, turned))
        gradient = found[1]
    raise _unfinished(float(gradient.norm()), objective)


def _inverse_hessian(g: Tensor, past: deque[tuple[Tensor, Tensor]], *, first: float) -> Tensor:
    """Returns L-BFGS's estimate of H⁻¹g (two loops)."""
    q, kept = g.clone(), []
    for s, y in reversed(past):
        a = (s @ q) / (s @ y)
        q -= a * y
        kept.append((a, s, y))
    q *= (past[-1][0] @ past[-1][1]) / (past[-1][1] @ past[-1][1]) if past else first
    for a, s, y in reversed(kept):
        q += (a - (y @ q) / (s @ y)) * s
    return q


def _search(
    objective: Objective, heads: Heads, *, keep: Tensor, step: Direction, value: float, gradient: Direction
) -> tuple[Heads, float, tuple[float, Direction]]:
    """Takes the step, halved until the objective falls enough, or its gradient does where its digits have run out."""
    slope, length, before = float(gradient.dot(step)), 1.0, float(gradient.norm())
    while length > SHORTEST:
        moved = heads.moved(step, length)
        found, there = objective.at(moved, keep)
        flat = abs(found - value) <= 1e-13 * abs(value) and float(there.norm()) < before
        if math.isfinite(found) and (found <= value + 1e-4 * length * slope or flat):
            return moved, found, (length, there)
        length /= 2
    raise _unfinished(before, objective)


def _unfinished(norm: float, objective: Objective) -> SingularCurvature:
    return SingularCurvature(
        f"Retraining stopped at gradient norm {norm:.1e} with proximal weight {objective.delta:g}.",
        fix="raise the proximal weight: on a badly conditioned problem every comparison is meaningless.",
    )

"""ECIF: what would the model be without this pair, its role as a positive and as everybody's negative both counted.

Removing pairs moves the endpoint by Δθ = +H⁻¹∇(Pos + Neg) [derived; the sign in the notes is flipped], and the loss on
a target set D′ by ∇L(D′)·Δθ = -∇L(D′)ᵀ(posi-IF + nega-IF), with posi-IF = -H⁻¹∇Pos and nega-IF = -H⁻¹∇Neg [paper].
The column is called `delta_loss_if_removed`: negative means harmful, the target loss falls without the pair.

Units: training follows the mean loss term over N pairs plus (δ/2)|θ-θ₀|², so H = GGN + δI, both of that mean, and
∇(Pos + Neg) counts 1/2N: the column is in nats of mean target loss, to be compared with a real retraining.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from chips_core.errors import UsageError
from chips_core.influence import loss
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.curvature import Curvature, GaussNewton, Identity, Solution, relative_damping
from chips_core.influence.endpoint import Direction, Heads, vjp
from chips_core.influence.kernel import Wants
from chips_core.influence.passes import PairScores, Tick, score_pairs
from chips_core.influence.targets import block_of, some_blocks, target_gradient

WANTS = Wants(deletion=True, taylor=True)


@dataclass(frozen=True)
class EcifSettings:
    """What ECIF may be told.

    Attributes:
        negatives: Neg_n exactly, or to first order (`taylor`).
        curvature: the Gauss-Newton matrix, or none (for comparison).
        damping: δ; of the mean loss term, absolute unless `relative`.
        relative: δ is a share of the mean eigenvalue tr(GGN)/|ϑ|.
        curvature_pairs: about how many pairs of the pool measure the curvature.
        train_scale: whether the scale belongs to ϑ; out by default: it flips signs (methods.md §4.2).
        tolerance: of the curvature system's residual [decided].
    """

    negatives: Literal["exact", "taylor"] = "exact"
    curvature: Literal["ggn", "identity"] = "ggn"
    damping: float = 0.1
    relative: bool = False
    curvature_pairs: int = 4096
    train_scale: bool = False
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if self.damping < 0 or self.curvature_pairs < 2:
            raise UsageError("ECIF settings out of range.", fix="damping ≥ 0, curvature pairs ≥ 2.")


@dataclass(frozen=True)
class EcifScores:
    """Predicted changes of the mean target loss if one pair is removed, (N,) float64 each."""

    pos: Tensor  # by its role as a positive: -∇L(D′)·posi-IF
    neg: Tensor  # by its role as a negative, exact deletion: -∇L(D′)·nega-IF
    neg_taylor: Tensor  # the same to first order
    settings: EcifSettings
    solution: Solution = field(repr=False)

    @property
    def delta_loss_if_removed(self) -> Tensor:
        """IS: negative is harmful, positive is helpful, (N,)."""
        return self.pos + (self.neg if self.settings.negatives == "exact" else self.neg_taylor)


def score(
    pool: Features,
    target: Features | None = None,
    *,
    heads: Heads,
    plan: BlockPlan,
    settings: EcifSettings | None = None,
    u: Direction | None = None,
    tick: Tick | None = None,
) -> EcifScores:
    """Returns ECIF's columns for every pair of a pool that the heads were trained on.

    Args:
        pool: features of the N pairs.
        target: features of D′; not needed where `u` is given.
        heads: the endpoint, fitted to the pool (a checkpoint that never saw it ranks wrong pairs as valuable).
        plan: the blocks of negatives.
        settings: see `EcifSettings`.
        u: ∇L(D′), such as `targets.zero_shot_gradient` gives.
        tick: told of each block.
    """
    settings = settings or EcifSettings()
    if u is None:
        if target is None:
            raise UsageError("ECIF needs a target set or its gradient.", fix="name a target set.")
        u = target_gradient(target, heads, plan=plan, train_scale=settings.train_scale)
    solution = direction(pool, u, heads=heads, plan=plan, settings=settings)
    scores = score_pairs(pool, heads, directions=[solution.direction], plan=plan, wants=WANTS, tick=tick)
    return columns(scores, solution=solution, settings=settings)


def direction(pool: Features, u: Direction, *, heads: Heads, plan: BlockPlan, settings: EcifSettings) -> Solution:
    """Returns v = H⁻¹∇L(D′): with it, one pass scores every pair."""
    matrix, damping = curvature_of(pool, heads=heads, plan=plan, settings=settings)
    return matrix.solve(without_scale(u, settings), damping=damping)


def curvature_of(pool: Features, *, heads: Heads, plan: BlockPlan, settings: EcifSettings) -> tuple[Curvature, float]:
    """Returns the curvature of the pool's mean loss term and δ; `Identity` counts δ alone, as in plain descent."""
    like = heads.zeros(torch.float64)
    if settings.curvature == "identity":
        return Identity(like.size), 0.0
    blocks = some_blocks(pool, heads, pairs=settings.curvature_pairs, plan=plan)
    matrix = GaussNewton(
        lambda: blocks, like, train_scale=settings.train_scale, tolerance=settings.tolerance, seed=plan.seed
    )
    share = settings.damping
    return matrix, relative_damping(matrix, like, share=share) if settings.relative else share


def columns(scores: PairScores, *, solution: Solution, settings: EcifSettings, of: int = 0) -> EcifScores:
    """Returns the columns from a pass with `WANTS` that held v as its direction number `of`."""
    share = 1 / (2 * len(scores.loss))
    return EcifScores(
        pos=share * scores.pos_dots[of],
        neg=share * scores.neg_dots[of],
        neg_taylor=share * scores.taylor_dots[of],
        settings=settings,
        solution=solution,
    )


def removal_gradient(
    pool: Features, members: Tensor, *, heads: Heads, plan: BlockPlan, train_scale: bool = False
) -> Direction:
    """Returns (1/2N) ∇(L - L₋R) for a whole set R, exact inside each block, averaged over the rounds [derived].

    Args:
        pool: features of the N pairs.
        members: (N,) bool, True for the pairs of R.
        heads: the endpoint.
        plan: the blocks of negatives.
        train_scale: whether the scale belongs to ϑ.
    """
    total, pairs = heads.zeros(torch.float64), len(pool)
    for rows in plan.rows(pairs, rank=pool.rank):
        if bool(members[rows].any()):
            block = block_of(pool, rows, heads=heads)
            A = loss.set_deletion_coefficients(block.logits, members[rows])
            total = total + vjp(block, A, train_scale=train_scale).to(torch.float64)
    return total * (1 / (2 * pairs * plan.rounds(pairs)))


def edit(
    pool: Features, members: Tensor, *, heads: Heads, plan: BlockPlan, settings: EcifSettings | None = None
) -> Heads:
    """Returns the heads as if they had been trained without a set of pairs: θ + H⁻¹∇(Pos + Neg) of the set [paper]."""
    settings = settings or EcifSettings()
    gradient = removal_gradient(pool, members, heads=heads, plan=plan, train_scale=settings.train_scale)
    return heads.moved(direction(pool, gradient, heads=heads, plan=plan, settings=settings).direction)


def without_scale(u: Direction, settings: EcifSettings) -> Direction:
    """Returns u, without its part of the scale where the settings leave that out of ϑ."""
    return u if settings.train_scale else Direction(u.image, u.text, torch.zeros_like(u.log_scale))

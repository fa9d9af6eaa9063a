"""Curvature matrices M of the endpoint, never formed, and the directions (M + λI)⁻¹u that they give.

Three kinds. `LowRank`: M = UUᵀ for a set of vectors held in factors; its inverse is exact by Woodbury's identity.
`GaussNewton`: the exact Gauss-Newton matrix of the mean loss term over some blocks, inverted by conjugate gradients.
`Identity`: M = I, what the baselines "Dot" and "identity" mean. λ = share · tr(M) / |ϑ| [decided], or given.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from chips_core.errors import SingularCurvature, UsageError
from chips_core.influence.endpoint import Block, Direction, gauss_newton_product
from chips_core.influence.factored import (
    GradientSet,
    joined,
    loss_gradients,
    neg_role_gradients,
    pos_role_gradients,
)

WORST_CONDITION = 1e13  # beyond it a float64 solution has no digits left that mean anything
Blocks = Callable[[], Iterable[Block]]  # gives the curvature's blocks, anew each time it is called
Multiply = Callable[[Direction], Direction]


@dataclass(frozen=True)
class Solution:
    """(M + λI)⁻¹u, and how well it was found."""

    direction: Direction
    damping: float  # λ
    condition: float  # of M + λI, a lower bound where it was only explored
    steps: int  # of conjugate gradients; 0 for a closed form
    residual: float  # |(M + λI)x - u| / |u|


class Solvable(Protocol):
    """A symmetric positive semi-definite M of the endpoint, or of a sketch of it."""

    def trace(self) -> float:
        """Returns tr(M)."""

    def solve(self, u: Direction, *, damping: float) -> Solution:
        """Returns (M + λI)⁻¹u for λ = `damping`, or raises SingularCurvature with the condition number."""


class Curvature(Solvable, Protocol):
    """An M that can be multiplied with."""

    def multiply(self, w: Direction) -> Direction:
        """Returns M w."""


def relative_damping(curvature: Solvable, like: Direction, *, share: float = 0.1) -> float:
    """Returns λ = share · tr(M) / |ϑ| [decided]: a tenth of the mean eigenvalue."""
    return share * curvature.trace() / like.size


@dataclass(frozen=True)
class Identity:
    """M = I: influence without curvature."""

    size: int = 1

    def multiply(self, w: Direction) -> Direction:
        """Returns w."""
        return w

    def trace(self) -> float:
        """Returns |ϑ|."""
        return float(self.size)

    def solve(self, u: Direction, *, damping: float) -> Solution:
        """Returns u / (1 + λ)."""
        return Solution(u * (1 / (1 + damping)), damping, 1.0, 0, 0.0)


@dataclass(frozen=True)
class LowRank:
    """M = UUᵀ, the columns of U a `GradientSet` (best in float64)."""

    columns: GradientSet

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor]:
        gram = self.columns.gram().double()
        values, vectors = torch.linalg.eigh((gram + gram.T) / 2)
        return values.clamp(min=0.0), vectors

    def multiply(self, w: Direction) -> Direction:
        """Returns U Uᵀ w."""
        return self.columns.combine(self.columns.dots(w))

    def trace(self) -> float:
        """Returns tr(UᵀU)."""
        return float(self._spectrum[0].sum())

    def solve(self, u: Direction, *, damping: float) -> Solution:
        """Returns (UUᵀ + λI)⁻¹u = (u - U (λI + UᵀU)⁻¹ Uᵀu) / λ (Woodbury) [derived]."""
        values, vectors = self._spectrum
        largest = float(values.max()) if len(values) else 0.0
        condition = math.inf if damping <= 0 else (largest + damping) / damping
        _refuse_singular(condition, damping=damping, rank=int((values > 1e-12 * largest).sum()), size=u.size)
        inner = vectors @ ((vectors.T @ self.columns.dots(u).to(values)) / (values + damping))
        direction = (u - self.columns.combine(inner.to(self.columns.slopes))) * (1 / damping)
        left = self.multiply(direction) + direction * damping - u
        return Solution(direction, damping, condition, 0, float(left.norm() / u.norm().clamp(min=1e-300)))


@dataclass(frozen=True)
class GaussNewton:
    """M = the Gauss-Newton matrix of the mean of ℓ_n over some blocks, exact for InfoNCE [derived].

    Attributes:
        blocks: gives the blocks; hold them in a list where they fit, else compute them anew.
        train_scale: whether the scale belongs to ϑ.
        tolerance: of the residual of a solution.
        max_steps: of conjugate gradients.
        probes: of the trace, seeded Rademacher vectors.
        seed: of the probes.
    """

    blocks: Blocks
    like: Direction
    train_scale: bool = True
    tolerance: float = 1e-4
    max_steps: int = 1000
    probes: int = 8
    seed: int = 0

    def multiply(self, w: Direction) -> Direction:
        """Returns M w, summed over the blocks in float64."""
        total, pairs = self.like.zeros(torch.float64), 0
        for block in self.blocks():
            part = gauss_newton_product(block, w.to(block.image.dtype), train_scale=self.train_scale)
            total, pairs = total + part.to(torch.float64), pairs + block.pairs
        return total * (1 / pairs)

    def trace(self) -> float:
        """Returns the mean of zᵀMz over seeded Rademacher probes z (Hutchinson)."""
        probes = rademacher(self.like, count=self.probes, seed=self.seed)
        return sum(float(z.dot(self.multiply(z))) for z in probes) / self.probes

    def solve(self, u: Direction, *, damping: float) -> Solution:
        """Returns (M + λI)⁻¹u by conjugate gradients."""
        return conjugate_gradients(
            self.multiply, u, damping=damping, tolerance=self.tolerance, max_steps=self.max_steps
        )


def conjugate_gradients(
    multiply: Multiply, u: Direction, *, damping: float, tolerance: float = 1e-6, max_steps: int = 1000
) -> Solution:
    """Returns (M + λI)⁻¹u, in float64, the condition number read off the steps (Lanczos).

    Raises:
        SingularCurvature: where the residual does not fall to the tolerance within the steps, or a direction has no
            curvature left.
    """
    u = u.to(torch.float64)
    length = float(u.norm())
    x, r = u.zeros(), u
    p, rr = r, length**2
    alphas: list[float] = []
    betas: list[float] = []
    while math.sqrt(rr) > tolerance * length:
        Mp = multiply(p).to(torch.float64) + p * damping
        bend = float(p.dot(Mp))
        if len(alphas) == max_steps or bend <= float(p.dot(p)) * 1e-300:
            raise _unsolved(math.sqrt(rr) / length, damping=damping, alphas=alphas, betas=betas)
        alphas.append(rr / bend)
        x, r = x.axpy(alphas[-1], p), r.axpy(-alphas[-1], Mp)
        rr, before = float(r.dot(r)), rr
        betas.append(rr / before)
        p = r.axpy(betas[-1], p)
    residual = math.sqrt(rr) / length if length else 0.0
    condition = _explored_condition(alphas, betas)
    if condition > WORST_CONDITION:
        raise _unsolved(residual, damping=damping, alphas=alphas, betas=betas)
    return Solution(x, damping, condition, len(alphas), residual)


def pair_roles(blocks: Iterable[Block], *, alpha: float = 0.7, train_scale: bool = True) -> LowRank:
    """Returns M = (1-α) Φ_pos + α Φ_neg, Φ the mean outer product of each pair's g_pos and g_neg [paper, decided].

    The positive part says in which directions pairs are pulled together, the negative part in which they are pushed
    apart; both count as directions where the loss is already steep. α ∈ [.6, .8] [paper].
    """
    check_share(alpha)
    kept = list(blocks)
    pairs = sum(block.pairs for block in kept)
    sets = []
    for block in kept:
        sets.append(pos_role_gradients(block, train_scale=train_scale).scaled(math.sqrt((1 - alpha) / pairs)))
        sets.append(neg_role_gradients(block, train_scale=train_scale).scaled(math.sqrt(alpha / pairs)))
    return LowRank(joined(sets))


def cross_sample(blocks: Iterable[Block], *, alpha: float = 0.7, train_scale: bool = True) -> LowRank:
    """Returns M = (1-α) Φ_pos + α Φ_neg with Φ_pos = mean g_i g_iᵀ and Φ_neg = mean over i≠j of g_i g_jᵀ [decided].

    Φ_neg = (m/(m-1)) ḡḡᵀ - Φ_pos/(m-1), so M = ((1-α) - α/(m-1)) Φ_pos + (α m/(m-1)) ḡḡᵀ [derived], which is positive
    semi-definite only for α ≤ (m-1)/m; beyond, it is refused.
    """
    check_share(alpha)
    gradients = joined([loss_gradients(block, train_scale=train_scale) for block in blocks])
    m = len(gradients)
    if alpha > (m - 1) / m:
        raise UsageError(
            f"Cross-sample curvature with α = {alpha:g} over {m} pairs has negative eigenvalues.",
            fix=f"use α of {(m - 1) / m:.4f} or less, more curvature pairs, or the curvature 'pair_roles'.",
        )
    own = max(0.0, (1 - alpha) - alpha / (m - 1)) / m
    eye = torch.eye(m, dtype=gradients.slopes.dtype) * math.sqrt(own)
    mean = torch.full((m, 1), math.sqrt(alpha * m / (m - 1)) / m, dtype=gradients.slopes.dtype)
    return LowRank(gradients.mixed(torch.cat([eye, mean], dim=1)))


def rademacher(like: Direction, *, count: int, seed: int) -> Iterable[Direction]:
    """Yields `count` seeded vectors of ±1 entries, in float64."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        signs = torch.randint(0, 2, (like.size,), generator=generator).to(torch.float64) * 2 - 1
        yield like.from_flat(signs)


def dense(curvature: Curvature, like: Direction) -> Tensor:
    """Returns the whole matrix, (|ϑ|, |ϑ|), column by column: for small heads and tests only."""
    eye = torch.eye(like.size, dtype=torch.float64)
    return torch.stack([curvature.multiply(like.from_flat(column)).flat() for column in eye], dim=1)


def dense_solve(matrix: Tensor, u: Direction, *, damping: float) -> Solution:
    """Returns (M + λI)⁻¹u by eigenvalues: the reference for the other ways."""
    values, vectors = torch.linalg.eigh(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype))
    smallest, largest = float(values[0]), float(values[-1])
    condition = largest / smallest if smallest > 0 else math.inf
    _refuse_singular(condition, damping=damping, rank=int((values > 1e-12 * largest).sum()), size=len(matrix))
    flat = vectors @ ((vectors.T @ u.flat().to(matrix)) / values)
    return Solution(u.from_flat(flat), damping, condition, 0, 0.0)


def check_share(alpha: float) -> None:
    """Refuses an α outside [0, 1]."""
    if not 0 <= alpha <= 1:
        raise UsageError(f"α is {alpha:g}.", fix="use a share from 0 to 1; the paper's range is .6 to .8.")


def _refuse_singular(condition: float, *, damping: float, rank: int, size: int) -> None:
    if condition > WORST_CONDITION:
        raise SingularCurvature(
            f"The curvature has rank {rank} of {size} and damping {damping:.3g}: condition number {condition:.1e}.",
            fix="raise the damping above zero, or use more curvature pairs.",
        )


def _unsolved(residual: float, *, damping: float, alphas: list[float], betas: list[float]) -> SingularCurvature:
    return SingularCurvature(
        f"The curvature system was not solved: residual {residual:.1e} after {len(alphas)} steps at damping "
        f"{damping:.3g}, condition number {_explored_condition(alphas, betas):.1e} or worse.",
        fix="raise the damping, or allow more steps.",
    )


def _explored_condition(alphas: list[float], betas: list[float]) -> float:
    """Returns the condition number of the Lanczos matrix of the steps so far, a lower bound of the true one."""
    if not alphas:
        return 1.0
    steps = len(alphas)
    main = torch.tensor(
        [1 / alphas[k] + (betas[k - 1] / alphas[k - 1] if k else 0.0) for k in range(steps)], dtype=torch.float64
    )
    off = torch.tensor([math.sqrt(betas[k]) / alphas[k] for k in range(steps - 1)], dtype=torch.float64)
    values = torch.linalg.eigvalsh(torch.diag(main) + torch.diag(off, 1) + torch.diag(off, -1))
    return float(values[-1] / values[0]) if float(values[0]) > 0 else math.inf

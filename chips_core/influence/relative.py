"""Tracing: which training pairs made one test image go wrong. ECIF relative to the size of what a removal changes.

Plain influence v·Δθ_n, v = ∇ of the test loss, favours pairs whose removal changes everything a lot. Relative influence
divides by that size, and so finds pairs that are about this image [decided, methods.md §3]:

    theta  v·Δθ_n / |Δθ_n|                                    default
    span   |projection of v on span(posi-IF_n, nega-IF_n)|    the literal two-parameter constraint [derived]
    l      v·Δθ_n / √(gᵀH⁻¹g)                                 size measured by the training loss

Sizes come for all pairs at once from k probes z: |H⁻¹g|² = E (g·H⁻¹z)² for signs z, and gᵀH⁻¹g = E (g·H⁻¹z)² for
z with covariance H, drawn through the model's own label distribution (relative error about √(1/2k)) [derived].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from chips_core.errors import UsageError
from chips_core.influence import ecif, loss
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.curvature import GaussNewton, rademacher
from chips_core.influence.ecif import EcifSettings
from chips_core.influence.endpoint import Direction, Heads, vjp
from chips_core.influence.kernel import Wants
from chips_core.influence.passes import Tick, score_pairs

PROBES = 64
ROUGHLY = 1e-2  # the residual that a probe's solution may have: far below the probes' own error
AT_ONCE = 8  # directions in one pass: more would only take memory


@dataclass(frozen=True)
class Sizes:
    """How much the removal of each pair changes the model, (N,) float64 each; independent of any test image."""

    pos: Tensor  # |posi-IF|²
    neg: Tensor  # |nega-IF|²
    cross: Tensor  # posi-IF · nega-IF
    energy: Tensor  # gᵀH⁻¹g of g = ∇(Pos + Neg)/2N; empty where not measured

    @property
    def theta(self) -> Tensor:
        """|Δθ_n|, (N,)."""
        return (self.pos + self.neg + 2 * self.cross).clamp(min=0.0).sqrt()


@dataclass(frozen=True)
class Influence:
    """v_k·Δθ_n split by role: the predicted change of test loss k if pair n is removed, (K, N) float64 each."""

    pos: Tensor
    neg: Tensor

    @property
    def delta_loss_if_removed(self) -> Tensor:
        """Plain influence, (K, N): negative where the pair made the test loss larger."""
        return self.pos + self.neg

    def theta(self, sizes: Sizes) -> Tensor:
        """v·Δθ_n / |Δθ_n|, (K, N); 0 where a removal changes nothing."""
        return _ratio(self.delta_loss_if_removed, sizes.theta)

    def span(self, sizes: Sizes) -> Tensor:
        """Length of the projection of v on the plane of posi-IF and nega-IF, or on their line, (K, N) [derived]."""
        both = sizes.pos * sizes.neg - sizes.cross.square()
        flat = both <= 1e-9 * sizes.pos * sizes.neg
        square = sizes.neg * self.pos.square() - 2 * sizes.cross * self.pos * self.neg + sizes.pos * self.neg.square()
        larger = torch.where(sizes.pos >= sizes.neg, self.pos.square(), self.neg.square())
        line = _ratio(larger, torch.maximum(sizes.pos, sizes.neg).expand_as(larger))
        return torch.where(flat, line, _ratio(square, both.clamp(min=0.0))).clamp(min=0.0).sqrt()

    def energy(self, sizes: Sizes) -> Tensor:
        """v·Δθ_n / √(gᵀH⁻¹g), (K, N): the variant `l`."""
        if not sizes.energy.numel():
            raise UsageError("The sizes were measured without energy.", fix="measure them with `energy=True`.")
        return _ratio(self.delta_loss_if_removed, sizes.energy.clamp(min=0.0).sqrt())


def influence(
    pool: Features,
    gradients: Sequence[Direction],
    *,
    heads: Heads,
    plan: BlockPlan,
    settings: EcifSettings | None = None,
    tick: Tick | None = None,
) -> Influence:
    """Returns the influence of every pair on every test loss.

    Args:
        pool: features of the N pairs that the heads were fitted to.
        gradients: K gradients v of test losses, such as `targets.zero_shot_gradient` of one image each.
        heads: the fitted endpoint.
        plan: the blocks of negatives.
        settings: as of ECIF.
        tick: told of each block of each pass.
    """
    settings = settings or EcifSettings()
    matrix, damping = ecif.curvature_of(pool, heads=heads, plan=plan, settings=settings)
    solved = [matrix.solve(ecif.without_scale(v, settings), damping=damping).direction for v in gradients]
    pos, neg = _dots(pool, solved, heads=heads, plan=plan, settings=settings, tick=tick)
    return Influence(pos, neg)


def sizes(
    pool: Features,
    heads: Heads,
    *,
    plan: BlockPlan,
    settings: EcifSettings | None = None,
    probes: int = PROBES,
    energy: bool = False,
    tick: Tick | None = None,
) -> Sizes:
    """Returns how much the removal of each pair changes the model, from seeded probes.

    Args:
        pool: features of the N pairs.
        heads: the fitted endpoint.
        plan: the blocks of negatives; its seed is the probes'.
        settings: as of ECIF.
        probes: k.
        energy: measure gᵀH⁻¹g too, with as many probes again.
        tick: told of each block of each pass.
    """
    settings = settings or EcifSettings()
    matrix, damping = ecif.curvature_of(pool, heads=heads, plan=plan, settings=settings)
    if isinstance(matrix, GaussNewton):
        matrix = replace(matrix, tolerance=ROUGHLY)
    like = heads.zeros(torch.float64)
    signs = [ecif.without_scale(z, settings) for z in rademacher(like, count=probes, seed=plan.seed)]
    solved = [matrix.solve(z, damping=damping).direction for z in signs]
    a, b = _dots(pool, solved, heads=heads, plan=plan, settings=settings, tick=tick)
    measured = torch.zeros(0, dtype=torch.float64)
    if energy:
        if not isinstance(matrix, GaussNewton):
            raise UsageError("The variant 'l' needs the Gauss-Newton curvature.", fix="use curvature 'ggn'.")
        drawn = fisher_probes(matrix, damping=damping, count=probes, seed=plan.seed + 1)
        solved = [matrix.solve(ecif.without_scale(z, settings), damping=damping).direction for z in drawn]
        c, d = _dots(pool, solved, heads=heads, plan=plan, settings=settings, tick=tick)
        measured = (c + d).square().mean(0)
    return Sizes(a.square().mean(0), b.square().mean(0), (a * b).mean(0), measured)


def fisher_probes(matrix: GaussNewton, *, damping: float, count: int, seed: int) -> list[Direction]:
    """Returns seeded random vectors with covariance GGN + δI [derived].

    For a softmax, H = E_{y~p}[(p - e_y)(p - e_y)ᵀ]: draw a partner for every image and every text from the model's own
    probabilities, and give each term a random sign.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(count):
        noise = torch.randn(matrix.like.size, generator=generator, dtype=torch.float64)
        total, pairs = matrix.like.zeros(torch.float64), 0
        for block in matrix.blocks():
            A = torch.zeros_like(block.logits)
            for p, out in zip(loss.probabilities(block.logits), (A, A.T), strict=True):
                rows = p if out is A else p.T
                partner = torch.multinomial(rows, 1, generator=generator)
                sign = torch.randint(0, 2, partner.shape, generator=generator).to(A.dtype) * 2 - 1
                out.add_(sign * (rows - torch.zeros_like(rows).scatter_(1, partner, 1.0)))
            total = total + vjp(block, A, train_scale=matrix.train_scale).to(torch.float64)
            pairs += block.pairs
        drawn.append(total * math.sqrt(0.5 / pairs) + matrix.like.from_flat(noise) * math.sqrt(damping))
    return drawn


def _dots(
    pool: Features,
    solved: list[Direction],
    *,
    heads: Heads,
    plan: BlockPlan,
    settings: EcifSettings,
    tick: Tick | None,
) -> tuple[Tensor, Tensor]:
    """Returns share · ∇Pos_n·v and share · ∇Neg_n·v for each direction, (K, N) each, a few directions a pass."""
    exact, share = settings.negatives == "exact", 1 / (2 * len(pool))
    wants = Wants(deletion=exact, taylor=not exact)
    pos, neg = [], []
    for start in range(0, len(solved), AT_ONCE):
        some = solved[start : start + AT_ONCE]
        scores = score_pairs(pool, heads, directions=some, plan=plan, wants=wants, tick=tick)
        pos.append(share * scores.pos_dots)
        neg.append(share * (scores.neg_dots if exact else scores.taylor_dots))
    return torch.cat(pos), torch.cat(neg)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 0.0)

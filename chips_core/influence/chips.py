"""CHIPS: which pairs should CLIP train on next. I(z) = A(z) · w_L(z) · w_R(z), ranked descending [paper].

Alignment A says whether a step on the pair is a step towards the target set, curvature taken into account; learnability
w_L whether there is something left to learn from it; relevance w_R whether it is about the target's subject. Every
part is a column of its own. Where A < 0 the weights turn their meaning round: a budget must not reach in there.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from chips_core.errors import UsageError
from chips_core.influence import curvature as curvatures
from chips_core.influence import endpoint
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.clusters import kmeans
from chips_core.influence.curvature import GaussNewton, Identity, LowRank, Solution, Solvable, relative_damping
from chips_core.influence.embedding import Embeddings, images_of, texts_of
from chips_core.influence.endpoint import Block, Direction, Heads
from chips_core.influence.kernel import Wants
from chips_core.influence.passes import PairScores, Tick, score_pairs
from chips_core.influence.ranks import spearman
from chips_core.influence.sketch import Rademacher, Sketch, Sketched, Sparse, TwoSided
from chips_core.influence.targets import some_blocks, target_gradient

SENSITIVITY_FACTORS = (0.1, 10.0)  # λ is tried at these multiples too [decided]


@dataclass(frozen=True)
class ChipsSettings:
    """What CHIPS may be told; the defaults are methods.md §2's.

    Attributes:
        gradient: which g: of the loss term, through the pair's own path only, or of deleting the pair.
        curvature: which M.
        alpha: share of the negatives' curvature [paper: .6 to .8].
        damping: λ as a share of the mean eigenvalue tr(M)/|ϑ| [decided].
        beta: share of the text in the relevance [paper].
        prototypes: centres that stand for the target set; 1 is its mean [paper].
        curvature_pairs: m, about how many pairs of the pool measure M.
        sketch: the projection that M is inverted in; none is exact.
        sketch_size: k [paper: 512].
        train_scale: whether the scale belongs to ϑ.
        tolerance: of the residual where M is inverted step by step (`ggn`) [decided].
    """

    gradient: Literal["loss_term", "own_path", "deletion"] = "loss_term"
    curvature: Literal["pair_roles", "ggn", "cross_sample", "identity"] = "pair_roles"
    alpha: float = 0.7
    damping: float = 0.1
    beta: float = 0.5
    prototypes: int = 1
    curvature_pairs: int = 1024
    sketch: Literal["none", "rademacher", "sparse", "two_sided"] = "none"
    sketch_size: int = 512
    train_scale: bool = True
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        curvatures.check_share(self.alpha)
        if not 0 <= self.beta <= 1 or self.damping < 0 or self.prototypes < 1 or self.curvature_pairs < 2:
            raise UsageError("CHIPS settings out of range.", fix="beta 0 to 1, damping ≥ 0, prototypes ≥ 1, pairs ≥ 2.")
        if self.sketch != "none" and self.curvature not in ("pair_roles", "cross_sample"):
            raise UsageError(f"Curvature '{self.curvature}' cannot be sketched.", fix="use sketch 'none'.")


@dataclass(frozen=True)
class ChipsDirection:
    """The one direction v = M⁻¹u that scores a whole pool, and what to compute in the pass."""

    settings: ChipsSettings
    solution: Solution
    sensitivity: dict[str, float]  # factor of λ -> Spearman of the alignment with that at λ, on the curvature pairs

    @property
    def direction(self) -> Direction:
        """The direction v."""
        return self.solution.direction

    @property
    def wants(self) -> Wants:
        """What the pass must compute."""
        gradient = self.settings.gradient
        return Wants(deletion=gradient == "deletion", own_path=gradient == "own_path", margins=True)


@dataclass(frozen=True)
class ChipsScores:
    """The parts and the product, (N,) float64 each."""

    alignment: Tensor
    learnability: Tensor
    relevance: Tensor
    found: ChipsDirection = field(repr=False)

    @property
    def utility(self) -> Tensor:
        """I = A · w_L · w_R [paper], (N,)."""
        return self.alignment * self.learnability * self.relevance

    @property
    def negative(self) -> int:
        """How many pairs have A < 0: a budget that reaches into them gets a warning."""
        return int((self.alignment < 0).sum())


def score(
    pool: Features,
    target: Features,
    *,
    heads: Heads,
    plan: BlockPlan,
    settings: ChipsSettings | None = None,
    u: Direction | None = None,
    tick: Tick | None = None,
) -> ChipsScores:
    """Returns CHIPS's columns for every pair of a pool.

    Args:
        pool: features of the N pairs.
        target: features of the target set.
        heads: the endpoint.
        plan: the blocks of negatives.
        settings: see `ChipsSettings`.
        u: the target's gradient where it is not the InfoNCE of the target set, such as `targets.zero_shot_gradient`.
        tick: told of each block.
    """
    settings = settings or ChipsSettings()
    if u is None:
        u = target_gradient(target, heads, plan=plan, train_scale=settings.train_scale)
    found = direction(pool, u, heads=heads, plan=plan, settings=settings)
    scores = score_pairs(pool, heads, directions=[found.direction], plan=plan, wants=found.wants, tick=tick)
    near = relevance(pool, target, heads=heads, beta=settings.beta, prototypes=settings.prototypes, seed=plan.seed)
    return ChipsScores(alignment(scores, settings), learnability(scores), near, found)


def direction(
    pool: Features, u: Direction, *, heads: Heads, plan: BlockPlan, settings: ChipsSettings
) -> ChipsDirection:
    """Returns v = M⁻¹u, so that A = g·v [paper], with the sensitivity of A to λ."""
    if not settings.train_scale:
        u = Direction(u.image, u.text, torch.zeros_like(u.log_scale))
    blocks = _curvature_blocks(pool, heads, plan=plan, settings=settings)
    matrix = curvature_of(blocks, like=u, settings=settings, seed=plan.seed)
    size = settings.sketch_size if settings.sketch != "none" else u.size
    damping = relative_damping(matrix, u, share=settings.damping) * u.size / size
    solution = matrix.solve(u, damping=damping)
    return ChipsDirection(settings, solution, _sensitivity(matrix, u, solution=solution, blocks=blocks))


def curvature_of(blocks: list[Block], *, like: Direction, settings: ChipsSettings, seed: int) -> Solvable:
    """Returns M over the given blocks."""
    if settings.curvature == "identity":
        return Identity(like.size)
    if settings.curvature == "ggn":
        return GaussNewton(
            lambda: blocks, like, train_scale=settings.train_scale, tolerance=settings.tolerance, seed=seed
        )
    build = curvatures.pair_roles if settings.curvature == "pair_roles" else curvatures.cross_sample
    low: LowRank = build(blocks, alpha=settings.alpha, train_scale=settings.train_scale)
    if settings.sketch == "none":
        return low
    kinds: dict[str, type[Rademacher] | type[Sparse] | type[TwoSided]]
    kinds = {"rademacher": Rademacher, "sparse": Sparse, "two_sided": TwoSided}
    sketch: Sketch = kinds[settings.sketch](settings.sketch_size, seed)
    return Sketched(low, sketch)


def alignment(scores: PairScores, settings: ChipsSettings, *, of: int = 0) -> Tensor:
    """Returns A = g·v for the chosen gradient [paper], (N,); `deletion` is ½ ∇(Pos + Neg_exact)·v [decided]."""
    if settings.gradient == "own_path":
        return scores.own_dots[of]
    if settings.gradient == "deletion":
        return scores.loss_dots[of] + scores.neg_dots[of] / 2
    return scores.loss_dots[of]


def learnability(scores: PairScores) -> Tensor:
    """Returns w_L = (1 - p_corr)(1 + σ(-m)) [paper], (N,) in (0, 2): large where the model is wrong, or right narrowly.

    On a noisy pool this rewards mismatched pairs (p_corr ≈ 0): never use it without an audit.
    """
    return (1 - scores.correctness).clamp(min=0.0) * (1 + torch.sigmoid(-scores.margin))


def relevance(
    pool: Features, target: Features, *, heads: Heads, beta: float = 0.5, prototypes: int = 1, seed: int = 0
) -> Tensor:
    """Returns w_R = σ((1-β) cos(x̂, μ_x) + β cos(ŷ, μ_y)) [paper], (N,) in [.2689, .7311].

    With several prototypes the target means become the k-means centres of its (x̂, ŷ), and the nearest one counts
    [decided]: a single mean says little about a target set of several subjects.
    """
    image_means, text_means = _prototypes(target, heads, count=prototypes, seed=seed)
    near = torch.empty(len(pool), dtype=torch.float64)
    images, texts = images_of(pool, heads), texts_of(pool, heads)
    for (piece, x), (_, y) in zip(images.pieces(), texts.pieces(), strict=True):
        cosine = (1 - beta) * (x @ image_means.T) + beta * (y @ text_means.T)
        near[images.rows[piece]] = torch.sigmoid(cosine.amax(1).double())
    return near


def _prototypes(target: Features, heads: Heads, *, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns unit centres of the images and of the texts, (count, D) each."""
    x, y = (side(target, heads).take(slice(0, None)) for side in (images_of, texts_of))
    both = torch.cat([x, y], dim=1)
    if count == 1:
        of = torch.zeros(len(both), dtype=torch.int64)
    else:
        of = kmeans(Embeddings(both, None, torch.arange(len(both))), clusters=count, seed=seed).of
    sums = torch.zeros(int(of.max()) + 1, both.shape[1], dtype=torch.float64).index_add_(0, of, both.double())
    means = sums[sums.abs().sum(1) > 0].to(both.dtype)
    left, right = means[:, : x.shape[1]], means[:, x.shape[1] :]
    return torch.nn.functional.normalize(left, dim=1), torch.nn.functional.normalize(right, dim=1)


def _curvature_blocks(pool: Features, heads: Heads, *, plan: BlockPlan, settings: ChipsSettings) -> list[Block]:
    exact = settings.curvature in ("pair_roles", "cross_sample")  # Gram matrices deserve float64
    return some_blocks(pool, heads.to(torch.float64) if exact else heads, pairs=settings.curvature_pairs, plan=plan)


def _sensitivity(matrix: Solvable, u: Direction, *, solution: Solution, blocks: list[Block]) -> dict[str, float]:
    """Returns Spearman's correlation of the loss-term alignment at λ with that at ×.1 and ×10 [decided]."""
    if isinstance(matrix, Identity):
        return {}

    def at(v: Direction) -> Tensor:
        return torch.cat([endpoint.pair_dots(b, v.to(b.image.dtype)).loss.double() for b in blocks])

    here = at(solution.direction)
    return {
        f"{factor:g}": spearman(here, at(matrix.solve(u, damping=solution.damping * factor).direction))
        for factor in SENSITIVITY_FACTORS
    }

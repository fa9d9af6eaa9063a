"""The rival influence methods, as entries of the registry: each is a direction v, and a pair's score is ∇ℓ_n · v.

The target set's mean gradient u, turned by some inverse curvature (or none), gives v; a step along a pair's gradient
then lowers the target loss by the score, to first order. They differ in the curvature alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chips_core.influence.inputs import Need, ScoringInputs
from chips_core.influence.kernel import Wants
from chips_core.influence.lowrank import ekfac_direction, logra_direction
from chips_core.influence.method import Column, Method, ModeSettings, Settings
from chips_core.influence.passes import PairScores
from chips_core.influence.scoring import LOSS_ONLY, BlockWork, Columns, Request, Targets
from chips_core.influence.trak import trak_direction

NEEDS = frozenset({Need.TWO_PAIRS, Need.TARGET_PAIRS})
OWN_PATH = Wants(deletion=False, own_path=True)


@dataclass(frozen=True)
class CurvatureSettings(ModeSettings):
    """Options of a method with a curvature.

    Attributes:
        damping: λ as a multiple of the curvature's mean eigenvalue.
        curvature_pairs: about how many pairs of the pool, drawn by the seed, the curvature is estimated on.
    """

    damping: float = 0.1
    curvature_pairs: int = 65_536


@dataclass(frozen=True)
class TrakSettings(CurvatureSettings):
    """Options of TRAK: `width` numbers in a gradient's sketch."""

    width: int = 1024


@dataclass(frozen=True)
class LograSettings(CurvatureSettings):
    """Options of LoGRA: `rank` of either side of the projection."""

    rank: int = 16


@dataclass(frozen=True)
class TracInSettings(Settings):
    """Options of TracIn: whether the scale is one of the parameters."""

    train_scale: bool = False


def _dot(inputs: ScoringInputs, settings: ModeSettings, targets: Targets) -> BlockWork:
    heads = inputs.at(settings.mode)
    u = targets.gradient(heads, train_scale=settings.train_scale)
    return BlockWork((Request(heads, (u,), LOSS_ONLY),), lambda found: {"gradient_dot": found[0].loss_dots[0]})


def _tracin(inputs: ScoringInputs, settings: TracInSettings, targets: Targets) -> BlockWork:
    requests, rates = [], []
    for snapshot in inputs.snapshots:
        u = targets.gradient(snapshot.heads, train_scale=settings.train_scale)
        requests.append(Request(snapshot.heads, (u,), LOSS_ONLY))
        rates.append(snapshot.rate)

    def finish(found: Sequence[PairScores]) -> Columns:
        total = found[0].loss_dots[0] * rates[0]
        for scores, rate in zip(found[1:], rates[1:], strict=True):
            total = total + scores.loss_dots[0] * rate
        return {"tracin": total}

    return BlockWork(tuple(requests), finish)


def _trak(inputs: ScoringInputs, settings: TrakSettings, targets: Targets) -> BlockWork:
    heads = inputs.at(settings.mode)
    v = trak_direction(
        inputs.some_blocks(heads, pairs=settings.curvature_pairs),
        targets.gradient(heads, train_scale=settings.train_scale),
        width=settings.width,
        damping=settings.damping,
        seed=inputs.seed,
        train_scale=settings.train_scale,
    )
    return BlockWork((Request(heads, (v,), OWN_PATH),), lambda found: {"trak": found[0].own_dots[0]})


def _ekfac(inputs: ScoringInputs, settings: CurvatureSettings, targets: Targets) -> BlockWork:
    heads = inputs.at(settings.mode)
    blocks = inputs.some_blocks(heads, pairs=settings.curvature_pairs)
    v = ekfac_direction(blocks, targets.gradient(heads, train_scale=False), damping=settings.damping)
    return BlockWork((Request(heads, (v,), LOSS_ONLY),), lambda found: {"influence": found[0].pos_dots[0]})


def _logra(inputs: ScoringInputs, settings: LograSettings, targets: Targets) -> BlockWork:
    heads = inputs.at(settings.mode)
    blocks = inputs.some_blocks(heads, pairs=settings.curvature_pairs)
    u = targets.gradient(heads, train_scale=False)
    v = logra_direction(blocks, u, rank=settings.rank, damping=settings.damping)
    return BlockWork((Request(heads, (v,), LOSS_ONLY),), lambda found: {"logra": found[0].loss_dots[0]})


DOT = Method(
    name="dot",
    title="Gradient dot product",
    citation="Charpiat, Girard, Felardos, Tarabalka: Input Similarity from the Neural Network Perspective. "
    "NeurIPS 2019. CHIPS with no curvature (M = I).",
    meaning="Whether a training step on the pair goes the way that the target set wants to go.",
    needs=NEEDS,
    columns=(Column("gradient_dot", "Pair's gradient times the target set's gradient.", "valuable", signed=True),),
    defaults=ModeSettings(),
    work=_dot,
)
TRACIN = Method(
    name="tracin",
    title="TracIn",
    citation="Pruthi, Liu, Kale, Sundararajan: Estimating Training Data Influence by Tracing Gradient Descent. "
    "NeurIPS 2020.",
    meaning="How much training steps on the pair would have helped the target set, summed over moments of a fit.",
    needs=NEEDS | {Need.SNAPSHOTS},
    columns=(
        Column("tracin", "Sum over snapshots of learning rate times the two gradients.", "valuable", signed=True),
    ),
    defaults=TracInSettings(),
    work=_tracin,
)
TRAK = Method(
    name="trak",
    title="TRAK",
    citation="Park, Georgiev, Ilyas, Leclerc, Madry: TRAK: Attributing Model Behavior at Scale. ICML 2023.",
    meaning="Gradient agreement with the target set, with directions that all pairs share counted less.",
    needs=NEEDS,
    columns=(Column("trak", "Whitened product of sketched gradients.", "valuable", signed=True),),
    defaults=TrakSettings(),
    work=_trak,
)
EKFAC = Method(
    name="ekfac",
    title="Influence function (EK-FAC)",
    citation="Koh, Liang: Understanding Black-box Predictions via Influence Functions. ICML 2017; with EK-FAC: "
    "Grosse et al.: Studying Large Language Model Generalization with Influence Functions. 2023.",
    meaning="Predicted rise of the target loss if the pair were removed, its part as other pairs' negative left out.",
    needs=NEEDS,
    columns=(Column("influence", "Change of the target loss on removal, up to a factor.", "valuable", signed=True),),
    defaults=CurvatureSettings(),
    work=_ekfac,
)
LOGRA = Method(
    name="logra",
    title="LoGRA",
    citation="Choe, Ahn, Bae, Zhao, Kang, Chung, Pratapa, Neiswanger, Strubell, Mitamura, Schneider, Hovy, Grosse, "
    "Xing: What is Your Data Worth to GPT? LLM-Scale Data Valuation with Influence Functions. arXiv 2405.13954, 2024.",
    meaning="An influence function within the few directions of each head in which features and gradients vary most.",
    needs=NEEDS,
    columns=(Column("logra", "Change of the target loss on removal, up to a factor.", "valuable", signed=True),),
    defaults=LograSettings(),
    work=_logra,
)

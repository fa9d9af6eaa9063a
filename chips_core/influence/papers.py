"""CHIPS and ECIF as entries of the registry, each faithful to its paper and in audit mode.

Paper mode scores at the encoder's own heads with the scale as a parameter. Audit mode scores at heads fitted to the
pool, with the scale left out: influence at a checkpoint that never saw the pool ranks wrong pairs as valuable, and a
trainable scale turns signs round (methods.md §4).
"""

from collections.abc import Callable, Sequence

from chips_core.influence import chips, ecif
from chips_core.influence.chips import ChipsSettings
from chips_core.influence.ecif import EcifSettings
from chips_core.influence.inputs import Mode, Need, ScoringInputs
from chips_core.influence.method import Column, Method
from chips_core.influence.passes import PairScores
from chips_core.influence.scoring import BlockWork, Columns, Request, Targets

NEEDS = frozenset({Need.TWO_PAIRS, Need.TARGET_PAIRS})


def _chips(mode: Mode) -> Callable[[ScoringInputs, ChipsSettings, Targets], BlockWork]:
    def work(inputs: ScoringInputs, settings: ChipsSettings, targets: Targets) -> BlockWork:
        heads, plan, pool = inputs.at(mode), inputs.plan, inputs.pool
        u = targets.gradient(heads, train_scale=settings.train_scale)
        found = chips.direction(pool, u, heads=heads, plan=plan, settings=settings)

        def finish(answers: Sequence[PairScores]) -> Columns:
            alignment, learnability = chips.alignment(answers[0], settings), chips.learnability(answers[0])
            relevance = chips.relevance(
                pool,
                inputs.needed_target(),
                heads=heads,
                beta=settings.beta,
                prototypes=settings.prototypes,
                seed=inputs.seed,
            )
            return {
                "utility": alignment * learnability * relevance,
                "alignment": alignment,
                "learnability": learnability,
                "relevance": relevance,
            }

        return BlockWork((Request(heads, (found.direction,), found.wants),), finish)

    return work


def _ecif(mode: Mode) -> Callable[[ScoringInputs, EcifSettings, Targets], BlockWork]:
    def work(inputs: ScoringInputs, settings: EcifSettings, targets: Targets) -> BlockWork:
        heads = inputs.at(mode)
        u = targets.gradient(heads, train_scale=settings.train_scale)
        solution = ecif.direction(inputs.pool, u, heads=heads, plan=inputs.plan, settings=settings)

        def finish(answers: Sequence[PairScores]) -> Columns:
            found = ecif.columns(answers[0], solution=solution, settings=settings)
            return {
                "delta_loss_if_removed": found.delta_loss_if_removed,
                "posi_if": found.pos,
                "nega_if": found.delta_loss_if_removed - found.pos,
            }

        return BlockWork((Request(heads, (solution.direction,), ecif.WANTS),), finish)

    return work


CHIPS_COLUMNS = (
    Column("utility", "Alignment times learnability times relevance: what CHIPS ranks by.", "valuable", signed=True),
    Column("alignment", "Whether a training step on the pair goes the target set's way.", "valuable", signed=True),
    Column("learnability", "What is left to learn from the pair, 0 to 2; high for wrong pairs too.", "neutral"),
    Column("relevance", "How near the pair is to the target set's subject, 0.27 to 0.73.", "valuable"),
)
ECIF_COLUMNS = (
    Column(
        "delta_loss_if_removed",
        "Predicted change of the target loss without the pair: below zero the pair does harm.",
        "valuable",
        signed=True,
    ),
    Column("posi_if", "The part of that change due to the pair's own match.", "valuable", signed=True),
    Column("nega_if", "The part due to its being a wrong answer for other pairs.", "valuable", signed=True),
)
CHIPS_CITATION = "CHIPS. CVPR 2026, arXiv 2511.18519."
ECIF_CITATION = "ECIF. ICLR 2026, arXiv 2411.11667."

CHIPS_AUDIT = Method(
    name="chips_audit",
    title="CHIPS, audit mode",
    citation=f"{CHIPS_CITATION} Scored at heads fitted to the pool, without the scale.",
    meaning="How useful the pair is to train on next, judged by a model that has seen the pool.",
    needs=NEEDS | {Need.FITTED},
    columns=CHIPS_COLUMNS,
    defaults=ChipsSettings(train_scale=False),
    work=_chips("audit"),
)
CHIPS_PAPER = Method(
    name="chips_paper",
    title="CHIPS, as in the paper",
    citation=CHIPS_CITATION,
    meaning="How useful the pair is to train on next, judged by the model as it came; a noisy pool misleads it.",
    needs=NEEDS,
    columns=CHIPS_COLUMNS,
    defaults=ChipsSettings(),
    work=_chips("paper"),
)
ECIF_AUDIT = Method(
    name="ecif_audit",
    title="ECIF, audit mode",
    citation=f"{ECIF_CITATION} Scored at heads fitted to the pool, without the scale.",
    meaning="What would happen to the target loss if the model had never seen the pair.",
    needs=NEEDS | {Need.FITTED},
    columns=ECIF_COLUMNS,
    defaults=EcifSettings(),
    work=_ecif("audit"),
)
ECIF_PAPER = Method(
    name="ecif_paper",
    title="ECIF, as in the paper",
    citation=ECIF_CITATION,
    meaning="The same, asked of the model as it came; it misleads unless that model was trained on this very pool.",
    needs=NEEDS,
    columns=ECIF_COLUMNS,
    defaults=EcifSettings(train_scale=True),
    work=_ecif("paper"),
)

"""The methods that need no gradient, as entries of the registry: chance, similarity, loss, neighbours, labels."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from chips_core.errors import UsageError
from chips_core.influence.embedding import back_to_rows, images_of, rows_in_order, texts_of
from chips_core.influence.inputs import Need, ScoringInputs
from chips_core.influence.labels import ClassProbabilities, confident_learning, self_confidence
from chips_core.influence.method import Column, Method, ModeSettings, Settings
from chips_core.influence.neighbours import first_seen_codes, mean_of_nearest, same_rows
from chips_core.influence.passes import PairScores
from chips_core.influence.scoring import LOSS_ONLY, BlockWork, Columns, Request, Targets
from chips_core.influence.shapley import knn_shapley
from chips_core.influence.similarity import clipscore, normsim, semdedup


@dataclass(frozen=True)
class SemDeDupSettings(Settings):
    """Options of SemDeDup: what is compared, and the number of clusters (0: the root of the number of pairs)."""

    of: Literal["image", "text"] = "image"
    clusters: int = 0


@dataclass(frozen=True)
class NeighbourSettings(ModeSettings):
    """Options of the loss residual: how many of the most similar captions make the mean."""

    neighbours: int = 15


@dataclass(frozen=True)
class ShapleySettings(Settings):
    """Options of kNN-Shapley: the neighbours that vote, and the most target pairs that are asked."""

    neighbours: int = 10
    most_targets: int = 2000


def _by_itself(columns: Callable[[], Columns]) -> BlockWork:
    """Returns the work of a method that asks nothing of the passes."""
    return BlockWork((), lambda _: columns())


def _rows_of(inputs: ScoringInputs, **by_position: Tensor) -> Columns:
    rows = rows_in_order(inputs.pool)
    return {name: back_to_rows(values.to(torch.float64), rows=rows) for name, values in by_position.items()}


def _random(inputs: ScoringInputs, settings: Settings, targets: Targets) -> BlockWork:  # noqa: ARG001
    def columns() -> Columns:
        generator = torch.Generator().manual_seed(inputs.seed)
        return _rows_of(inputs, chance=torch.rand(len(inputs.pool), generator=generator, dtype=torch.float64))

    return _by_itself(columns)


def _clipscore(inputs: ScoringInputs, settings: ModeSettings, targets: Targets) -> BlockWork:  # noqa: ARG001
    def columns() -> Columns:
        heads, pool = inputs.at(settings.mode), inputs.pool
        return _rows_of(inputs, clipscore=clipscore(images_of(pool, heads), texts=texts_of(pool, heads)))

    return _by_itself(columns)


def _negcliploss(inputs: ScoringInputs, settings: ModeSettings, targets: Targets) -> BlockWork:  # noqa: ARG001
    heads = inputs.at(settings.mode)

    def finish(found: Sequence[PairScores]) -> Columns:
        return {"negcliploss": -found[0].loss / heads.scale}

    return BlockWork((Request(heads, (), LOSS_ONLY),), finish)


def _normsim(inputs: ScoringInputs, settings: ModeSettings, targets: Targets) -> BlockWork:  # noqa: ARG001
    def columns() -> Columns:
        heads = inputs.at(settings.mode)
        images, wanted = images_of(inputs.pool, heads), images_of(inputs.needed_target(), heads)
        nearest, spread = (normsim(images, targets=wanted, p=p) for p in (math.inf, 2.0))
        return _rows_of(inputs, normsim_inf=nearest, normsim_2=spread)

    return _by_itself(columns)


def _loss_residual(inputs: ScoringInputs, settings: NeighbourSettings, targets: Targets) -> BlockWork:  # noqa: ARG001
    _at_least_one(settings.neighbours, what="neighbours")
    heads, rows = inputs.at(settings.mode), rows_in_order(inputs.pool)

    def finish(found: Sequence[PairScores]) -> Columns:
        by_position = found[0].loss[rows]
        usual = usual_loss(inputs, losses=by_position, neighbours=settings.neighbours)
        return _rows_of(inputs, loss_residual=by_position - usual, loss=by_position)

    return BlockWork((Request(heads, (), LOSS_ONLY),), finish)


def usual_loss(inputs: ScoringInputs, *, losses: Tensor, neighbours: int) -> Tensor:
    """Returns the mean of `losses` over each pair's most similar captions, (N,), by position (place by pair id).

    Captions are compared by the base heads, so that a fit cannot make its own excuses.
    """
    pool = inputs.pool
    rows = rows_in_order(pool)
    codes = same_rows(pool.text, rows=rows) if inputs.captions is None else first_seen_codes(inputs.captions[rows])
    return mean_of_nearest(losses, embeddings=texts_of(pool, inputs.heads), codes=codes, k=neighbours, seed=inputs.seed)


def _semdedup(inputs: ScoringInputs, settings: SemDeDupSettings, targets: Targets) -> BlockWork:  # noqa: ARG001
    def columns() -> Columns:
        pool, heads = inputs.pool, inputs.heads
        embeddings = images_of(pool, heads) if settings.of == "image" else texts_of(pool, heads)
        found = semdedup(embeddings, clusters=settings.clusters or None, seed=inputs.seed)
        return _rows_of(inputs, duplicate_similarity=found)

    return _by_itself(columns)


def _probabilities(inputs: ScoringInputs, settings: ModeSettings) -> ClassProbabilities:
    heads = inputs.at(settings.mode)
    return ClassProbabilities(images_of(inputs.pool, heads), inputs.class_embeddings(heads), heads.scale)


def _self_confidence(inputs: ScoringInputs, settings: ModeSettings, targets: Targets) -> BlockWork:  # noqa: ARG001
    def columns() -> Columns:
        found = self_confidence(_probabilities(inputs, settings), labels=inputs.labels_in_order())
        return _rows_of(inputs, self_confidence=found)

    return _by_itself(columns)


def _confident_learning(inputs: ScoringInputs, settings: ModeSettings, targets: Targets) -> BlockWork:  # noqa: ARG001
    def columns() -> Columns:
        found = confident_learning(_probabilities(inputs, settings), labels=inputs.labels_in_order())
        return _rows_of(inputs, label_quality=found.quality, label_issue=found.issue)

    return _by_itself(columns)


def _knn_shapley(inputs: ScoringInputs, settings: ShapleySettings, targets: Targets) -> BlockWork:  # noqa: ARG001
    _at_least_one(settings.neighbours, what="neighbours")
    _at_least_one(settings.most_targets, what="target pairs")

    def columns() -> Columns:
        labels = inputs.target_labels_in_order()
        named = torch.nonzero(labels >= 0).reshape(-1)
        generator = torch.Generator().manual_seed(inputs.seed)
        asked = torch.sort(named[torch.randperm(len(named), generator=generator)[: settings.most_targets]]).values
        found = knn_shapley(
            images_of(inputs.pool, inputs.heads),
            labels=inputs.labels_in_order(),
            targets=images_of(inputs.needed_target(), inputs.heads).take(asked),
            target_labels=labels[asked],
            k=settings.neighbours,
        )
        return _rows_of(inputs, shapley_value=found)

    return _by_itself(columns)


def _at_least_one(value: int, *, what: str) -> None:
    if value < 1:
        raise UsageError(f"{value} {what} asked for.", fix="use 1 or more.")


RANDOM = Method(
    name="random",
    title="Chance",
    citation="The seeded draw that every comparison must beat.",
    meaning="A number drawn at random for every pair.",
    needs=frozenset(),
    columns=(Column("chance", "A random number between 0 and 1.", "neutral"),),
    defaults=Settings(),
    work=_random,
)
CLIPSCORE = Method(
    name="clipscore",
    title="CLIPScore",
    citation="Hessel, Holtzman, Forbes, Le Bras, Choi: CLIPScore: A Reference-free Evaluation Metric for Image "
    "Captioning. EMNLP 2021.",
    meaning="How similar the model finds the image and its caption, looked at by themselves.",
    needs=frozenset(),
    columns=(Column("clipscore", "Cosine of image and caption, from −1 to 1.", "valuable"),),
    defaults=ModeSettings(),
    work=_clipscore,
)
NEGCLIPLOSS = Method(
    name="negcliploss",
    title="negCLIPLoss",
    citation="Wang, Chen, Yan, Fang, Zhou, Jamieson, Du: CLIPLoss and Norm-Based Data Selection Methods for Multimodal "
    "Contrastive Learning. NeurIPS 2024.",
    meaning="How much better an image fits its own caption than the captions of other pairs, and the other way round.",
    needs=frozenset({Need.TWO_PAIRS}),
    columns=(Column("negcliploss", "Minus the contrastive loss, in units of similarity; 0 is perfect.", "valuable"),),
    defaults=ModeSettings(),
    work=_negcliploss,
)
NORMSIM = Method(
    name="normsim",
    title="NormSim",
    citation=NEGCLIPLOSS.citation,
    meaning="How close a pair's image is to the images of the target set; the caption plays no part.",
    needs=frozenset({Need.TARGET}),
    columns=(
        Column("normsim_inf", "Cosine with the nearest target image.", "valuable"),
        Column("normsim_2", "Length of the vector of cosines with all target images.", "valuable"),
    ),
    defaults=ModeSettings(),
    work=_normsim,
)
LOSS_RESIDUAL = Method(
    name="loss_residual",
    title="Loss beyond what its caption explains",
    citation="CHIPS Lens: the loss minus the mean loss of the pairs with most similar captions.",
    meaning="Whether the model fails on this pair although it does well on pairs with a similar caption.",
    needs=frozenset({Need.TWO_PAIRS}),
    columns=(
        Column("loss_residual", "Loss minus the mean loss at the most similar captions.", "suspect", signed=True),
        Column("loss", "The pair's contrastive loss, averaged over draws of its negatives.", "suspect"),
    ),
    defaults=NeighbourSettings(),
    work=_loss_residual,
)
SEMDEDUP = Method(
    name="semdedup",
    title="SemDeDup",
    citation="Abbas, Tirumala, Simig, Ganguli, Morcos: SemDeDup: Data-efficient Learning at Web-scale through Semantic "
    "Deduplication. arXiv 2303.09540, 2023.",
    meaning="How nearly a pair repeats another one that would be kept before it.",
    needs=frozenset(),
    columns=(
        Column("duplicate_similarity", "Cosine with the nearest earlier pair of its cluster; -1 if none.", "suspect"),
    ),
    defaults=SemDeDupSettings(),
    work=_semdedup,
)
SELF_CONFIDENCE = Method(
    name="self_confidence",
    title="Self-confidence",
    citation="Northcutt, Jiang, Chuang: Confident Learning: Estimating Uncertainty in Dataset Labels. JAIR 70, 2021.",
    meaning="How probable the model finds the pair's own class among all classes, from the image alone.",
    needs=frozenset({Need.LABELS, Need.PROMPTS}),
    columns=(Column("self_confidence", "Probability of the own class; the median where there is none.", "valuable"),),
    defaults=ModeSettings(),
    work=_self_confidence,
)
CONFIDENT_LEARNING = Method(
    name="confident_learning",
    title="Confident learning",
    citation=SELF_CONFIDENCE.citation,
    meaning="Whether the image belongs to another class than its label, allowing for classes the model is unsure of.",
    needs=SELF_CONFIDENCE.needs,
    columns=(
        Column("label_quality", "Own class's share after evening out the classes; the median if none.", "valuable"),
        Column("label_issue", "1 where the pair is counted under another class than its label.", "suspect"),
    ),
    defaults=ModeSettings(),
    work=_confident_learning,
)
KNN_SHAPLEY = Method(
    name="knn_shapley",
    title="kNN-Shapley",
    citation="Jia, Dao, Wang, Hubis, Gürel, Li, Zhang, Spanos, Song: Efficient Task-Specific Data Valuation for "
    "Nearest Neighbor Algorithms. PVLDB 12(11), 2019.",
    meaning="What the pair adds to, or takes from, a nearest-neighbour classifier of the target set.",
    needs=frozenset({Need.TARGET, Need.LABELS, Need.TARGET_LABELS}),
    columns=(Column("shapley_value", "Share in the classifier's accuracy.", "valuable", signed=True),),
    defaults=ShapleySettings(),
    work=_knn_shapley,
)

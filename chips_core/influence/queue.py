"""The misalignment queue: which pairs a person should look at first, and why, in plain words.

Signals that err in different ways, each turned into ranks and joined so that a pair near the top of any one of them
comes early (methods.md §4.3):

- `peer_loss`: its caption fits its image worse than the captions of like pairs do (peers.py);
- `loss_residual`: the model as it came finds the pair harder than the pairs with the most similar captions;
- `influence`: without it, the loss on the target set and on the rest of the pool would fall (ecif.py, at fitted heads
  and a softened scale);
- `label_contradiction` and `image_label`, where there are labels: its caption, or its image, says another thing than
  its label (contradiction.py).

    queue_n = Σ_parts w · -log(1 - rank_n)          rank in (0, 1), ties share their mean rank [decided]

Under no error at all -log(1 - rank) is exponential with mean 1 for every part (Fisher's way to join tests); a pair
that lacks a part gets that mean, so that a missing label is neither good nor bad. How much labels weigh is measured on
each pool: as much as they bear witness against the pairs that image and caption alone already put first. Where labels
went with wrong captions, captions and labels agree and that witness is worth nothing; where labels stayed, it is the
best there is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from chips_core.errors import UsageError
from chips_core.influence import ecif
from chips_core.influence.baselines import usual_loss
from chips_core.influence.contradiction import LabelContradiction, label_contradiction
from chips_core.influence.ecif import EcifSettings
from chips_core.influence.embedding import back_to_rows, rows_in_order
from chips_core.influence.endpoint import Heads
from chips_core.influence.inputs import ScoringInputs
from chips_core.influence.passes import Tick, score_pairs
from chips_core.influence.peers import PeerLosses, like_pairs, peer_losses
from chips_core.influence.ranks import mean_ranks, spearman
from chips_core.influence.scoring import LOSS_ONLY
from chips_core.influence.targets import target_gradient

WEIGHTS: Mapping[str, float] = {
    "peer_loss": 1.0,
    "loss_residual": 0.3,
    "influence": 0.5,
    "label_contradiction": 4.0,
    "image_label": 4.0,
}
LABEL_PARTS = ("label_contradiction", "image_label")
WITNESSED = 0.05  # share of the pool, put first without labels, before which labels bear witness
LEAST_WITNESSED = 10  # pairs
NEIGHBOURS = 15  # captions that a loss is compared with
NEUTRAL = 1.0  # the mean of -log(1 - rank)


@dataclass(frozen=True)
class QueueSettings:
    """How the queue is made.

    Attributes:
        soften: shares of the calibrated scale at which influence may be measured, the first that agrees is taken.
        agreement: rank correlation with the peer loss below which influence counts as inverted.
        damping: ECIF's δ.
        use_labels: whether labels, where there are any, have a say.
    """

    soften: tuple[float, ...] = (0.5, 0.25, 0.125)
    agreement: float = 0.1
    damping: float = 0.1
    use_labels: bool = True

    def __post_init__(self) -> None:
        if not all(0 < share <= 1 for share in self.soften) or self.damping <= 0:
            raise UsageError("Settings of the queue out of range.", fix="0 < soften ≤ 1 and damping above 0.")


@dataclass(frozen=True)
class Queue:
    """The queue and what it is made of, (N,) by row.

    Attributes:
        score: high is to be looked at first.
        parts: the raw signals by name, high is suspect, NaN where a pair lacks one.
        weights: of the parts, by name.
        peers: what comparing each pair with others found.
        labels: what captions and images say about labels, by part.
        share: of the calibrated scale at which influence was measured; None where it agreed at none.
    """

    score: Tensor
    parts: dict[str, Tensor]
    weights: Mapping[str, float]
    peers: PeerLosses = field(repr=False)
    labels: Mapping[str, LabelContradiction] = field(default_factory=dict, repr=False)
    share: float | None = None

    def first(self, count: int, *, rank: Tensor | None = None) -> Tensor:
        """Returns the rows of the first `count` pairs; ties by pair id (`rank`: place of each id among the sorted)."""
        by_id = torch.arange(len(self.score)) if rank is None else torch.argsort(rank)
        return by_id[torch.argsort(self.score[by_id], descending=True, stable=True)][:count]

    @property
    def without_labels(self) -> "Queue":
        """The queue as it would be if the pool had no labels."""
        return self.without(*LABEL_PARTS)

    def without(self, *names: str) -> "Queue":
        """Returns the queue without some parts."""
        parts = {name: values for name, values in self.parts.items() if name not in names}
        return replace(self, score=fuse(parts, weights=self.weights), parts=parts)


def misalignment_queue(
    inputs: ScoringInputs, settings: QueueSettings | None = None, *, tick: Tick | None = None
) -> Queue:
    """Returns the queue of a pool.

    Args:
        inputs: with a target set and heads fitted to the pool at the calibrated scale (`fit.fit_heads`).
        settings: see `QueueSettings`.
        tick: told of each block of each pass over the pool.
    """
    settings = settings or QueueSettings()
    pool, plan, heads = inputs.pool, inputs.plan, inputs.at("audit")
    groups = like_pairs(pool, heads=heads, seed=inputs.seed)
    peers = peer_losses(pool, heads=heads, plan=plan, groups=groups, tick=tick)
    parts = {"peer_loss": peers.loss, "loss_residual": _residual(inputs, tick=tick)}
    share, influence = _upright_harm(inputs, settings, peers=peers, tick=tick)
    if influence is not None:
        parts["influence"] = influence
    labels = _label_parts(inputs, groups=groups) if settings.use_labels else {}
    without_labels = fuse(parts)
    weights = dict(WEIGHTS)
    for name, found in labels.items():
        parts[name] = found.score
        weights[name] *= witness(found.score, lead=without_labels)
    return Queue(fuse(parts, weights=weights), parts, weights, peers, labels, share)


def witness(part: Tensor, *, lead: Tensor) -> float:
    """Returns how much a part confirms a ranking that knows nothing of it: 0 not at all, 1 fully [decided].

    The mean surprise of the part at the pairs that `lead` puts first, less the 1 that chance gives.

    Args:
        part: (N,) high is suspect.
        lead: (N,) high is suspect, made without the part.
    """
    count = min(len(lead), max(LEAST_WITNESSED, round(WITNESSED * len(lead))))
    line = lead.sort(descending=True).values[count - 1]
    return float((surprise(part)[lead >= line].mean() - 1).clamp(min=0.0, max=1.0))


def _residual(inputs: ScoringInputs, *, tick: Tick | None) -> Tensor:
    """Returns each pair's loss at the base heads less the mean of the pairs with the most similar captions, (N,)."""
    rows = rows_in_order(inputs.pool)
    losses = score_pairs(inputs.pool, inputs.heads, plan=inputs.plan, wants=LOSS_ONLY, tick=tick).loss[rows]
    return back_to_rows(losses - usual_loss(inputs, losses=losses, neighbours=NEIGHBOURS), rows=rows)


def _label_parts(inputs: ScoringInputs, *, groups: Sequence[Tensor]) -> dict[str, LabelContradiction]:
    """Returns what captions and what images say about the labels; nothing where there are no labels to tell apart."""
    if inputs.labels is None:
        return {}
    pool, labels, seed = inputs.pool, inputs.labels.to(torch.int64), inputs.seed
    texts = label_contradiction(pool, labels=labels, groups=groups, seed=seed)
    images = label_contradiction(pool, labels=labels, groups=groups, seed=seed, side="image")
    return {name: found for name, found in zip(LABEL_PARTS, (texts, images), strict=True) if found is not None}


def _upright_harm(
    inputs: ScoringInputs, settings: QueueSettings, *, peers: PeerLosses, tick: Tick | None
) -> tuple[float | None, Tensor | None]:
    """Returns the first share of the scale at which `harm` agrees with the peer loss, and harm there; or None twice.

    Where the model is too sure of itself, influence turns its sign round (methods.md §4.2); a softer scale puts it
    right. Most pairs of a pool are right, and so on the whole a pair that fits badly must be the one that harms.
    """
    for share in settings.soften:
        found = harm(inputs, share=share, damping=settings.damping, tick=tick)
        if spearman(found, peers.loss) >= settings.agreement:
            return share, found
    return None, None


def harm(inputs: ScoringInputs, *, share: float, damping: float, tick: Tick | None = None) -> Tensor:
    """Returns how much the loss on the target set and on the pool is predicted to fall without each pair, (N,).

    ECIF with u = ∇L(target set) + ∇L(pool): a target set rarely holds every kind of pair, and a pair whose kind it
    lacks would be judged by chance; the pool itself, most of which is right, speaks for those [decided].

    Args:
        inputs: with a target set and fitted heads.
        share: of the calibrated scale.
        damping: ECIF's δ.
        tick: told of each block.
    """
    heads = softened(inputs.at("audit"), share)
    pool, plan = inputs.pool, inputs.plan
    u = target_gradient(pool, heads, plan=plan, train_scale=False)
    u = u + target_gradient(inputs.needed_target(), heads, plan=plan, train_scale=False)
    asked = EcifSettings(damping=damping)
    return -ecif.score(pool, heads=heads, plan=plan, settings=asked, u=u, tick=tick).delta_loss_if_removed


def softened(heads: Heads, share: float) -> Heads:
    """Returns the same heads at a share of their scale."""
    return Heads.of(heads.image, heads.text, scale=heads.scale * share)


def fuse(parts: Mapping[str, Tensor], *, weights: Mapping[str, float] = WEIGHTS) -> Tensor:
    """Returns Σ w · -log(1 - rank) over the parts, (N,) float64, high is suspect.

    Args:
        parts: (N,) by name, high is suspect; NaN where a pair lacks the part.
        weights: by name; 1 for a part that is not named.
    """
    if not parts:
        raise UsageError("A queue of no parts.", fix="compute at least one.")
    return torch.stack([weights.get(name, 1.0) * surprise(values) for name, values in parts.items()]).sum(0)


def surprise(values: Tensor) -> Tensor:
    """Returns -log(1 - rank), (N,) float64; ties share their mean rank, NaN gets the mean of the others."""
    out = torch.full((len(values),), NEUTRAL, dtype=torch.float64)
    known = ~torch.isnan(values)
    if bool(known.any()):
        out[known] = -torch.log1p(-(mean_ranks(values[known]) - 0.5) / int(known.sum()))
    return out

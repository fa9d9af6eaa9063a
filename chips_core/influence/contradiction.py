"""Label contradiction: does a pair's caption, or its image, say what its label says?

A softmax regression reads the label off the features of one side; every pair is judged by a model that was fitted
without it [decided]. The score is the log odds of the label among pairs that are alike against the label by the pair's
own caption (or image) z:

    c_n = log mean_{j∈g(n)} p(label_n | z_j) - log p(label_n | z_n)

so that a label which is hard to tell from any caption is held against nobody. From captions it finds captions that
were exchanged while the label stayed; from images it finds pairs whose label went with a wrong caption.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from chips_core.influence.blocks import Features
from chips_core.influence.embedding import rows_in_order

FOLDS = 5
LEARNT_FROM = 50_000  # pairs that teach a model, at most
MOST_LABELS = 1_000  # the commonest; pairs of others are not judged
LENGTH = 5.0  # of the centred features, whatever the encoder
PENALTY = 1e-2  # on the squared weights
STEPS = 60  # of L-BFGS
AT_ONCE = 16_384


@dataclass(frozen=True)
class LabelContradiction:
    """What one side of the pairs says about labels, (N,) by row.

    Attributes:
        score: in nats, high where the side contradicts the label; NaN where the pair has no label to judge.
        own: probability of the pair's label by that side.
        likely: the label that it speaks for, a class code.
        likely_probability: the probability of that.
    """

    score: Tensor
    own: Tensor
    likely: Tensor
    likely_probability: Tensor


def label_contradiction(
    pool: Features, *, labels: Tensor, groups: Sequence[Tensor], seed: int, side: Literal["text", "image"] = "text"
) -> LabelContradiction | None:
    """Returns how much one side of each pair contradicts its label; None where there are no two labels to tell apart.

    Args:
        pool: features of the N pairs.
        labels: (N,) class codes, -1 where a pair has none.
        groups: (N,) groups of like pairs, for each grouping (`peers.like_pairs`).
        seed: of the folds.
        side: whether captions or images are read.
    """
    kept = _commonest(labels)
    if len(kept) < 2:
        return None
    codes = torch.full((max(int(labels.max()), 0) + 2,), -1)
    codes[kept] = torch.arange(len(kept))
    classes = codes[labels]  # -1 takes the last place, which stays -1
    features = pool.text if side == "text" else pool.image
    log_p = _out_of_fold(features, rows_in_order(pool), classes=classes, count=len(kept), seed=seed)
    judged = classes >= 0
    own = log_p.gather(1, classes.clamp(min=0)[:, None])[:, 0]
    usual = torch.stack([_usual(log_p, classes=classes, group=group) for group in groups]).mean(0)
    likely = log_p.max(dim=1)
    return LabelContradiction(
        score=torch.where(judged, usual - own, torch.nan).to(torch.float64),
        own=torch.where(judged, own.exp(), torch.nan).to(torch.float64),
        likely=kept[likely.indices],
        likely_probability=likely.values.exp().to(torch.float64),
    )


def _commonest(labels: Tensor) -> Tensor:
    """Returns the class codes that two pairs or more carry, the commonest ones, ascending."""
    sizes = torch.bincount(labels[labels >= 0])
    order = torch.argsort(sizes, descending=True, stable=True)[:MOST_LABELS]
    return torch.sort(order[sizes[order] >= 2]).values


def _out_of_fold(features: Tensor, rows: Tensor, *, classes: Tensor, count: int, seed: int) -> Tensor:
    """Returns log p(class | z), (N, count), each row by a model that did not learn from its pair."""
    generator = torch.Generator().manual_seed(seed)
    fold = torch.empty(len(features), dtype=torch.int64)
    fold[rows] = torch.randperm(len(features), generator=generator) % FOLDS
    centre = torch.stack([features[i : i + AT_ONCE].double().sum(0) for i in range(0, len(features), AT_ONCE)]).sum(0)
    centre = (centre / len(features)).to(torch.float32)
    found = torch.empty(len(features), count)
    for number in range(FOLDS):
        teachers = rows[(fold[rows] != number) & (classes[rows] >= 0)]
        teachers = teachers[torch.randperm(len(teachers), generator=generator)[:LEARNT_FROM]]
        weights = _regression(_prepared(features, teachers, centre=centre), classes[teachers], count=count)
        for asked in torch.split(torch.nonzero(fold == number)[:, 0], AT_ONCE):
            found[asked] = torch.log_softmax(_prepared(features, asked, centre=centre) @ weights, dim=1)
    return found


def _prepared(features: Tensor, rows: Tensor, *, centre: Tensor) -> Tensor:
    """Returns centred features of one length, and a constant, (n, D + 1)."""
    x = LENGTH * normalize(features[rows].to(torch.float32) - centre, dim=1)
    return torch.cat([x, torch.ones(len(x), 1)], dim=1)


def _regression(x: Tensor, classes: Tensor, *, count: int) -> Tensor:
    """Returns the weights of a softmax regression, (D, count)."""
    weights = torch.zeros(x.shape[1], count, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        total = cross_entropy(x @ weights, classes) + PENALTY / 2 * weights.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach()


def _usual(log_p: Tensor, *, classes: Tensor, group: Tensor) -> Tensor:
    """Returns log mean over each pair's group of p(its class | z), (N,)."""
    sums = torch.zeros(int(group.max()) + 1, log_p.shape[1], dtype=torch.float64)
    sums.index_add_(0, group, log_p.exp().to(torch.float64))
    means = sums / torch.bincount(group).clamp(min=1)[:, None]
    return means[group, classes.clamp(min=0)].clamp(min=1e-12).log().to(log_p.dtype)

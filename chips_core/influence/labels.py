"""Label checks by the model's zero-shot class probabilities: self-confidence and confident learning.

p_ic = softmax_c(s x̂_i · t̂_c) with t̂_c the unit embedding of class c's prompt. A label of -1 means "has none".

C. G. Northcutt, L. Jiang, I. L. Chuang: Confident Learning: Estimating Uncertainty in Dataset Labels. JAIR 70, 2021.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.influence.embedding import Embeddings

NO_EXAMPLE = 2.0  # threshold of a class that no label names: no probability reaches it
LEAST_THRESHOLD = 2e-6  # as cleanlab clips it
SLACK = 1e-6  # confident from threshold - SLACK on; a label as probable as the best one is right


@dataclass(frozen=True)
class ClassProbabilities:
    """Zero-shot class probabilities of a pool, read in pieces by position."""

    images: Embeddings
    prompts: Tensor  # (C, P) unit embeddings
    scale: float

    def of(self, x: Tensor) -> Tensor:
        """Returns (n, C) probabilities in float64 of unit image embeddings (n, P)."""
        logits = self.scale * (x.to(torch.float64) @ self.prompts.to(torch.float64).T)
        return torch.softmax(logits, dim=1)


def self_confidence(probabilities: ClassProbabilities, *, labels: Tensor) -> Tensor:
    """Returns p_i,label of every position, (N,) float64, and the median of these where there is no label."""
    return _of_labelled(probabilities, labels=labels, value=lambda p, y: p.gather(1, y[:, None])[:, 0])


@dataclass(frozen=True)
class ConfidentLearning:
    """What confident learning says of each position.

    Attributes:
        quality: (N,) in 0..1, low where the label is doubtful; the median where there is no label.
        issue: (N,) true where the confident joint counts the pair under another class than its label.
    """

    quality: Tensor
    issue: Tensor


def confident_learning(probabilities: ClassProbabilities, *, labels: Tensor) -> ConfidentLearning:
    """Returns label quality and label issues by confident learning.

    Thresholds t_j = mean of p_ij over the pairs labelled j [paper]. Quality = the own label's share of p_i − t + max t,
    which evens out classes on which the model is surer than on others (cleanlab: `adjust_pred_probs`). An issue = some
    class reaches its threshold, the most probable of these is not the label (the off-diagonal of the confident joint
    [paper]), and the label is not the most probable class anyway.
    """
    thresholds = class_thresholds(probabilities, labels=labels)
    quality = _of_labelled(
        probabilities, labels=labels, value=lambda p, y: _adjusted(p, thresholds=thresholds).gather(1, y[:, None])[:, 0]
    )
    issue = torch.zeros(len(labels), dtype=torch.bool)
    for piece, x in probabilities.images.pieces():
        issue[piece] = _off_diagonal(probabilities.of(x), labels=labels[piece], thresholds=thresholds)
    return ConfidentLearning(quality, issue)


def class_thresholds(probabilities: ClassProbabilities, *, labels: Tensor) -> Tensor:
    """Returns t_j, the mean probability of class j over the pairs labelled j, (C,)."""
    classes = len(probabilities.prompts)
    total = torch.zeros(classes, dtype=torch.float64)
    for piece, x in probabilities.images.pieces():
        y = labels[piece]
        named = y >= 0
        own = probabilities.of(x)[named].gather(1, y[named, None])[:, 0]
        total.index_add_(0, y[named], own)
    size = torch.bincount(labels[labels >= 0], minlength=classes)
    return torch.where(size > 0, (total / size.clamp(min=1)).clamp(min=LEAST_THRESHOLD), NO_EXAMPLE)


def _adjusted(p: Tensor, *, thresholds: Tensor) -> Tensor:
    shifted = p - thresholds + thresholds.max()
    return shifted / shifted.sum(dim=1, keepdim=True)


def _off_diagonal(p: Tensor, *, labels: Tensor, thresholds: Tensor) -> Tensor:
    """Returns where the confident class is another than the label, (n,)."""
    confident = p >= thresholds - SLACK
    several = confident.sum(dim=1) > 1
    # with several confident classes cleanlab takes the most probable of all classes, confident or not
    guess = torch.where(several, p.argmax(dim=1), confident.to(torch.int8).argmax(dim=1))
    named = labels >= 0
    raised = p.clone()
    raised[named] = raised[named].scatter_add(1, labels[named, None], torch.full_like(p[named, :1], SLACK))
    return named & confident.any(dim=1) & (guess != labels) & (raised.argmax(dim=1) != labels)


def _of_labelled(
    probabilities: ClassProbabilities, *, labels: Tensor, value: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Returns value(probabilities, labels) where there is a label, and the median of these elsewhere."""
    out = torch.zeros(len(labels), dtype=torch.float64)
    for piece, x in probabilities.images.pieces():
        out[piece] = value(probabilities.of(x), labels[piece].clamp(min=0))
    named = labels >= 0
    return torch.where(named, out, out[named].median()) if bool(named.any()) else torch.zeros_like(out)

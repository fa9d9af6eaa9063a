"""The trace index: the most harmful and the most helpful pairs of a large pool, without a pass over all of it.

Built once, it holds a sketch of every pair: its influence on the losses of K landmark images. The influence on another
image is nearly a combination of these; which one, the reference tells, whose pairs are scored in full for every
question (see `influence.reference`). The pairs that the combination puts first are then measured against the
reference, as the exact answer measures everybody: what is shown is exact, and only a pair that was not looked at can be
missed. How often that happens `measured` says, on images that are no landmarks.

    v·Δθ_n ≈ Σ_k c_k (v_k·Δθ_n), with c from least squares on the reference's pairs [decided]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from chips_core.influence.blocks import seeded
from chips_core.influence.passes import Tick, score_pairs
from chips_core.influence.reference import WANTS, of_members
from chips_core.influence.relative import Sizes
from chips_core.verify.tracer import Traced, Tracer

LANDMARKS = 128
AT_ONCE = 8  # landmarks in one pass over the pool: a part of the work that is kept when it is stopped
CANDIDATES = 1000  # of either kind, measured against the reference
RIDGE = 1e-4  # of the least squares, as a share of the mean square of a landmark
ROWS_AT_ONCE = 8192
LARGEST = 60_000.0  # what half precision holds; an influence is a few times its unit
STREAM = 61  # of the seed, for the choice of the landmarks

Mode = Literal["relative", "plain"]


@dataclass(frozen=True)
class Ranked:
    """The most harmful pairs and the most helpful ones, the strongest of each kind first.

    Attributes:
        places: (M,) of the pool's pairs; no pair twice.
        influence: (M,) what ranks them: negative made the error.
        pos: (M,) plain influence as a partner.
        neg: (M,) plain influence as a wrong answer of others.
        exact: whether every pair of the pool was looked at in full.
    """

    places: Tensor
    influence: Tensor
    pos: Tensor
    neg: Tensor
    exact: bool


@dataclass(frozen=True)
class Part:
    """What one pass adds: the influence on AT_ONCE landmarks, of all pairs (K, N), and of the reference's (K, M)."""

    whole: Tensor
    members: Tensor


@dataclass(frozen=True)
class Agreement:
    """How the index compares with the exact answer, over some images that are no landmarks, both kinds of pairs.

    Attributes:
        recall: share of the exact `top` of either kind among the index's `top`.
        images: how many.
        top: of either kind.
    """

    recall: float
    images: int
    top: int


def landmarks_first(labels: Tensor, *, wrong: Tensor, seed: int) -> Tensor:
    """Returns the rows of the test images with a label in a seeded order, the wrong predictions first.

    Args:
        labels: (T,) codes, -1 for none.
        wrong: (T,) bool.
        seed: of the order.
    """
    known = torch.nonzero(labels >= 0).reshape(-1)
    order = known[torch.randperm(len(known), generator=seeded(seed, STREAM))]
    return torch.cat([order[wrong[order]], order[~wrong[order]]])


def part_of(tracer: Tracer, images: Tensor, labels: Tensor, *, tick: Tick | None = None) -> Part:
    """Returns the influence of every pair on the losses of a few landmarks.

    Args:
        tracer: the pool and its model.
        images: (K, dv) of the landmarks.
        labels: (K,) their classes.
        tick: told of each block.
    """
    solved = [tracer.solved(tracer.gradient(images[[k]], labels[[k]])) for k in range(len(labels))]
    scores = score_pairs(tracer.pool, tracer.heads, directions=solved, plan=tracer.plan, wants=WANTS, tick=tick)
    members = of_members(tracer.pool, tracer.heads, directions=solved, blocks=tracer.blocks)
    return Part((scores.pos_dots + scores.neg_dots).float(), members.total.float())


@dataclass(frozen=True)
class TraceIndex:
    """The sketches of N pairs; K landmarks, M pairs in the reference.

    Attributes:
        sketch: (N, K) half precision: influence on each landmark, in a unit of its own.
        members: (M, K) of the reference's pairs, each in its block.
    """

    sketch: Tensor
    members: Tensor

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "TraceIndex":
        """Returns the index made of all parts."""
        whole, members = (torch.cat([getattr(part, name) for part in parts]) for name in ("whole", "members"))
        unit = whole.square().mean(1, keepdim=True).sqrt().clamp(min=1e-30)
        sketch = (whole / unit).clamp(-LARGEST, LARGEST).half()
        return cls(sketch.T.contiguous(), (members / unit).T.contiguous())

    @property
    def bytes(self) -> int:
        """What it takes on disk."""
        return sum(part.numel() * part.element_size() for part in (self.sketch, self.members))

    @cached_property
    def _searched(self) -> dict[str, Any]:
        return {}

    def search(
        self, tracer: Tracer, images: Tensor, labels: Tensor, *, sizes: Sizes | None, mode: Mode, top: int
    ) -> Ranked:
        """Returns the `top` most harmful and most helpful pairs for the mean loss of one image or of several.

        Args:
            tracer: the pool and its model, as the index was built on.
            images: (T, dv) test images.
            labels: (T,) their classes.
            sizes: of the removals; needed for relative influence.
            mode: what ranks.
            top: of either kind.
        """
        reference = tracer.reference(images, labels)
        weights = combination(self.members, reference.members.total)
        theta = sizes.theta if mode == "relative" and sizes is not None else None
        places = self._candidates(weights, theta=theta, mode=mode)
        return ranked(tracer.of_pairs(reference, places), places, theta=theta, top=top)

    def _candidates(self, weights: Tensor, *, theta: Tensor | None, mode: Mode) -> Tensor:
        """Returns the places whose sketch is furthest along the weights, and furthest against them, in order."""
        if mode not in self._searched:
            self._searched[mode] = _faiss_index(self.sketch, theta=theta)
        asked = torch.stack([weights, -weights]).float().numpy()
        _, found = self._searched[mode].search(asked, min(CANDIDATES, len(self.sketch)))
        return torch.from_numpy(np.unique(found[found >= 0]).astype(np.int64))


def combination(landmarks: Tensor, asked: Tensor) -> Tensor:
    """Returns c, (K,): the least squares combination of the landmarks' columns that is nearest to what is asked.

    Args:
        landmarks: (M, K).
        asked: (M,).
    """
    A = landmarks.double()
    gram = A.T @ A
    ridge = RIDGE * float(gram.diagonal().mean()) * torch.eye(len(gram), dtype=torch.float64)
    found: Tensor = torch.linalg.lstsq(gram + ridge, (A.T @ asked.double())[:, None]).solution[:, 0]
    return found


def ranked(traced: Traced, places: Tensor, *, theta: Tensor | None, top: int, exact: bool = False) -> Ranked:
    """Returns the strongest of either kind among some places; equal ones in the order of their places.

    Args:
        traced: the influence of the pairs at `places`.
        places: (M,) in ascending order.
        theta: (N,) sizes of the removals, for relative influence.
        top: of either kind.
        exact: whether `places` is the whole pool, and its influence exact.
    """
    value = traced.plain if theta is None else _per_size(traced.plain, theta[places])
    order = torch.argsort(value, stable=True)
    harmful = order[value[order] < 0][:top]
    helpful = torch.argsort(-value, stable=True)
    helpful = helpful[value[helpful] > 0][:top]
    chosen = torch.cat([harmful, helpful])
    return Ranked(places[chosen], value[chosen], traced.pos[chosen], traced.neg[chosen], exact)


def ranked_exactly(
    tracer: Tracer, images: Tensor, labels: Tensor, *, sizes: Sizes | None, mode: Mode, top: int
) -> Ranked:
    """Returns the same as `TraceIndex.search`, from one pass over the whole pool."""
    found = tracer.trace(images, labels, sizes=None)
    theta = sizes.theta if mode == "relative" and sizes is not None else None
    return ranked(found, torch.arange(len(tracer.pool)), theta=theta, top=top, exact=True)


def measured(
    index: TraceIndex,
    tracer: Tracer,
    images: Tensor,
    labels: Tensor,
    *,
    sizes: Sizes | None,
    top: int = 20,
    tick: Tick | None = None,
) -> Agreement:
    """Returns how the index agrees with the exact answer on some images, which should be no landmarks."""
    mode: Mode = "plain" if sizes is None else "relative"
    total = found = 0
    for row in range(len(labels)):
        image, label = images[[row]], labels[[row]]
        exact = ranked_exactly(tracer, image, label, sizes=sizes, mode=mode, top=top)
        quick = index.search(tracer, image, label, sizes=sizes, mode=mode, top=top)
        total, found = total + len(exact.places), found + int(torch.isin(exact.places, quick.places).sum())
        if tick is not None:
            tick(1)
    return Agreement(found / max(1, total), len(labels), top)


def _faiss_index(whole: Tensor, *, theta: Tensor | None) -> Any:
    """Returns the sketches, searchable by inner product in half precision, each by the size of its removal."""
    import faiss

    index = faiss.IndexScalarQuantizer(whole.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for start in range(0, len(whole), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        sketch = whole[some].float()
        if theta is not None:
            sketch = _per_size(sketch, (theta[some] / theta.mean())[:, None]).float()
        index.add(sketch.contiguous().numpy())
    return index


def _per_size(value: Tensor, theta: Tensor) -> Tensor:
    return torch.where(theta > 0, value / torch.where(theta > 0, theta, 1.0), 0.0)

"""The trace index: the most harmful and the most helpful pairs of a large pool, without a pass over all of it.

Built once, it holds sketches of every pair's preconditioned gradient: its influence on K landmark images by role, and
its own path (see `influence.landmarks`). A question costs one linear solve, a few blocks computed in full, one search
of the sketches by faiss, a re-ranking of the candidates, in which the own path is exact and the rest a combination of
the landmarks' rests, and at last the blocks of the first of them, in full: what is shown is exact, in one cut of the
pool into blocks instead of several. How often that finds the exact answer `measured` says on images that are no
landmarks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from chips_core.influence import landmarks
from chips_core.influence.blocks import seeded
from chips_core.influence.endpoint import Direction
from chips_core.influence.landmarks import Influences, Paths
from chips_core.influence.passes import Tick, score_pairs
from chips_core.influence.relative import Sizes
from chips_core.verify.tracer import Traced, Tracer

LANDMARKS = 128
AT_ONCE = 8  # landmarks in one pass over the pool: a part of the work that is kept when it is stopped
CANDIDATES = 1000  # of either kind, re-ranked
BLOCKS_IN_FULL = 44  # at most: half a second for heads of the benchmark's width
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
    """What one pass adds: the influence of all pairs and of the sample's on AT_ONCE landmarks."""

    whole: Influences
    sample: Influences


@dataclass(frozen=True)
class Agreement:
    """How the index compares with the exact answer, over some images that are no landmarks, both kinds of pairs.

    Attributes:
        recall: share of the exact `top` of either kind among the index's `top`.
        error: root mean square error of an influence that is shown, as a share of the exact ones'.
        images: how many.
        top: of either kind.
    """

    recall: float
    error: float
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


def part_of(tracer: Tracer, images: Tensor, labels: Tensor, *, own: Paths, tick: Tick | None = None) -> Part:
    """Returns the influence of every pair on the losses of a few landmarks.

    Args:
        tracer: the pool and its model.
        images: (K, dv) of the landmarks.
        labels: (K,) their classes.
        own: of all pairs.
        tick: told of each block.
    """
    solved = [tracer.solved(tracer.gradient(images[[k]], labels[[k]])) for k in range(len(labels))]
    whole = landmarks.of_all(tracer.pool, tracer.heads, directions=solved, own=own, plan=tracer.plan, tick=tick)
    blocks = landmarks.sample_blocks(tracer.plan, tracer.pool)
    paths = landmarks.sample_paths(tracer.pool, tracer.heads, blocks=blocks)
    sample = landmarks.of_sample(tracer.pool, tracer.heads, directions=solved, own=paths, blocks=blocks)
    return Part(whole, sample)


@dataclass(frozen=True)
class TraceIndex:
    """The sketches of N pairs; K landmarks, M pairs in the sample.

    Attributes:
        pos: (N, K) half precision: influence as a partner, each landmark in a unit of its own.
        neg: (N, K) as a wrong answer of others.
        rest: (N, K) of both, beside the own path.
        own: (N, D) twice, half precision.
        sample_total: (M, K) of the sample's pairs, each in one block alone.
        sample_rest: (M, K).
    """

    pos: Tensor
    neg: Tensor
    rest: Tensor
    own: Paths
    sample_total: Tensor
    sample_rest: Tensor

    @classmethod
    def of(cls, parts: Sequence[Part], own: Paths) -> "TraceIndex":
        """Returns the index made of all parts."""
        unit = torch.cat([part.whole.total.square().mean(1).sqrt() for part in parts]).clamp(min=1e-300)

        def column(whole: bool, name: str) -> Tensor:
            found = torch.cat([getattr(part.whole if whole else part.sample, name) for part in parts])
            return (found / unit[:, None]).T.contiguous()

        pos, neg, rest = (column(True, name).clamp(-LARGEST, LARGEST).half() for name in ("pos", "neg", "rest"))
        return cls(pos, neg, rest, own, column(False, "total").float(), column(False, "rest").float())

    @property
    def bytes(self) -> int:
        """What it takes on disk."""
        parts = (self.pos, self.neg, self.rest, self.own.image, self.own.text, self.sample_total, self.sample_rest)
        return sum(part.numel() * part.element_size() for part in parts)

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
        solved = tracer.solved(tracer.gradient(images, labels))
        near, sample = self._sample(tracer)
        asked = landmarks.of_sample(tracer.pool, tracer.heads, directions=[solved], own=sample, blocks=near)
        weights = landmarks.combination(self.sample_total, asked.total[0])
        theta = sizes.theta if mode == "relative" and sizes is not None else None
        places = self._candidates(weights, theta=theta, mode=mode)
        found = self._reranked(tracer, solved, places, weights=weights, rest=asked.rest[0])
        likely = ranked(found, places, theta=theta, top=len(places))
        sure, traced = _in_full(tracer, solved, _strongest_first(likely), blocks=max(BLOCKS_IN_FULL, 2 * top))
        return ranked(traced, sure, theta=theta, top=top)

    def _sample(self, tracer: Tracer) -> tuple[list[Tensor], Paths]:
        """Returns the sample's blocks and own paths, computed once."""
        if "sample" not in self._searched:
            blocks = landmarks.sample_blocks(tracer.plan, tracer.pool)
            self._searched["sample"] = blocks, landmarks.sample_paths(tracer.pool, tracer.heads, blocks=blocks)
        found: tuple[list[Tensor], Paths] = self._searched["sample"]
        return found

    def _candidates(self, weights: Tensor, *, theta: Tensor | None, mode: Mode) -> Tensor:
        """Returns the places whose sketch is furthest along the weights, and furthest against them, in order."""
        if mode not in self._searched:
            self._searched[mode] = _faiss_index(self.pos, self.neg, theta=theta)
        asked = torch.stack([weights, -weights]).float().numpy()
        _, found = self._searched[mode].search(asked, min(CANDIDATES, len(self.pos)))
        return torch.from_numpy(np.unique(found[found >= 0]).astype(np.int64))

    def _reranked(self, tracer: Tracer, solved: Direction, places: Tensor, *, weights: Tensor, rest: Tensor) -> Traced:
        own = landmarks.own_dots(tracer.pool.take(places), self.own.take(places), [solved])[0]
        others = self.rest[places].double() @ landmarks.combination(self.sample_rest, rest)
        pos, share = self.pos[places].double() @ weights, 1 / (2 * len(tracer.pool))
        return Traced(share * pos, share * (own + others - pos), None)


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
    theta, everybody = sizes.theta if sizes else None, torch.arange(len(tracer.pool))
    total, found, wrong, size = 0, 0, 0.0, 0.0
    for row in range(len(labels)):
        image, label = images[[row]], labels[[row]]
        traced = tracer.trace(image, label, sizes=None)
        value = traced.plain if theta is None else _per_size(traced.plain, theta)
        exact = ranked(traced, everybody, theta=theta, top=top, exact=True)
        quick = index.search(tracer, image, label, sizes=sizes, mode=mode, top=top)
        total, found = total + len(exact.places), found + int(torch.isin(exact.places, quick.places).sum())
        wrong += float((quick.influence - value[quick.places]).square().sum())
        size += float(value[quick.places].square().sum())
        if tick is not None:
            tick(1)
    return Agreement(found / max(1, total), (wrong / max(size, 1e-300)) ** 0.5, len(labels), top)


def _strongest_first(found: Ranked) -> Tensor:
    """Returns the places of both kinds in turns."""
    harmful = int((found.influence < 0).sum())
    turn = torch.cat([torch.arange(harmful), torch.arange(len(found.places) - harmful)])
    return found.places[torch.argsort(turn, stable=True)]


def _in_full(tracer: Tracer, solved: Direction, likely: Tensor, *, blocks: int) -> tuple[Tensor, Traced]:
    """Returns those of the places that lie in the first round's blocks of the first of them, and their exact influence.

    Args:
        tracer: the pool and its model.
        solved: H⁻¹v.
        likely: places, the most wanted first.
        blocks: how many at most.
    """
    pool, once = tracer.pool, replace(tracer.plan, repeats=1)
    block_of = torch.empty(len(pool), dtype=torch.int64)
    for number, rows in enumerate(once.rows(len(pool), rank=pool.rank)):
        block_of[rows] = number
    chosen = list(dict.fromkeys(block_of[likely].tolist()))[:blocks]
    places = likely[torch.isin(block_of[likely], torch.tensor(chosen, dtype=torch.int64))].sort().values
    found = score_pairs(
        pool, tracer.heads, directions=[solved], plan=once, wants=landmarks.WANTS, only=frozenset(chosen)
    )
    share = 1 / (2 * len(pool))
    return places, Traced(share * found.pos_dots[0, places], share * found.neg_dots[0, places], None)


def _faiss_index(pos: Tensor, neg: Tensor, *, theta: Tensor | None) -> Any:
    """Returns the sketches, searchable by inner product in half precision, each by the size of its removal."""
    import faiss

    index = faiss.IndexScalarQuantizer(pos.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for start in range(0, len(pos), landmarks.ROWS_AT_ONCE):
        some = slice(start, start + landmarks.ROWS_AT_ONCE)
        sketch = pos[some].float() + neg[some].float()
        if theta is not None:
            sketch = _per_size(sketch, (theta[some] / theta.mean())[:, None]).float()
        index.add(sketch.contiguous().numpy())
    return index


def _per_size(value: Tensor, theta: Tensor) -> Tensor:
    return torch.where(theta > 0, value / torch.where(theta > 0, theta, 1.0), 0.0)

"""How many scores share one reading of the pool.

Most methods are inner products of the pairs' gradients with a direction. They only say which directions at which heads
they want (`BlockWork`), and `Passes` reads the pool once for each different pair of heads, whoever asked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from torch import Tensor

from chips_core.influence.embedding import rows_in_order
from chips_core.influence.endpoint import Direction, Heads
from chips_core.influence.inputs import ScoringInputs
from chips_core.influence.kernel import Wants
from chips_core.influence.passes import PairScores, Tick, score_pairs
from chips_core.influence.targets import target_gradient, zero_shot_gradient

Columns = dict[str, Tensor]  # name -> (N,) float64
LOSS_ONLY = Wants(deletion=False)  # ℓ_n and ∇ℓ_n·v


@dataclass(frozen=True)
class Request:
    """Directions at some heads whose inner products with every pair's gradients are wanted."""

    heads: Heads
    directions: tuple[Direction, ...]
    wants: Wants


@dataclass(frozen=True)
class BlockWork:
    """What one method asks of the passes, and how it makes its columns of the answers (one for each request).

    A method that reads the pool in a way of its own asks for nothing and does it all in `finish`.
    """

    requests: tuple[Request, ...]
    finish: Callable[[Sequence[PairScores]], Columns]


@dataclass(frozen=True)
class _Merged:
    """All that is asked at one pair of heads."""

    request: Request
    places: tuple[tuple[int, int, int], ...]  # (work, request of that work, its first direction here)


class Passes:
    """The requests of several methods, joined: one pass for each different pair of heads.

    `run` does everything; a cluster calls `run_shard` on each worker, adds the results, and calls `finish`.
    """

    def __init__(self, works: Sequence[BlockWork], inputs: ScoringInputs) -> None:
        self._works = works
        self._inputs = inputs
        self._merged = _merge(works)

    @property
    def pairs_to_do(self) -> int:
        """How many pairs `tick` will be told of in all."""
        pairs = len(self._inputs.pool)
        return len(self._merged) * pairs * self._inputs.plan.rounds(pairs) if self._merged else 0

    def run(self, tick: Tick | None = None) -> list[Columns]:
        """Returns the columns of every work."""
        return self.finish(self.run_shard((0, 1), tick=tick))

    def run_shard(self, shard: tuple[int, int], *, tick: Tick | None = None) -> list[PairScores]:
        """Returns what every n-th block from i gives, for each pass; the n shards add up."""
        return [
            score_pairs(
                self._inputs.pool,
                merged.request.heads,
                directions=merged.request.directions,
                plan=self._inputs.plan,
                wants=merged.request.wants,
                shard=shard,
                tick=tick,
            )
            for merged in self._merged
        ]

    def finish(self, found: Sequence[PairScores]) -> list[Columns]:
        """Returns the columns of every work from the whole passes."""
        answers: list[list[PairScores | None]] = [[None] * len(work.requests) for work in self._works]
        for merged, scores in zip(self._merged, found, strict=True):
            for work, number, first in merged.places:
                count = len(self._works[work].requests[number].directions)
                answers[work][number] = _only(scores, slice(first, first + count))
        return [
            work.finish([a for a in answer if a is not None]) for work, answer in zip(self._works, answers, strict=True)
        ]


def _merge(works: Sequence[BlockWork]) -> list[_Merged]:
    """Returns one request for each different heads object."""
    merged: dict[int, _Merged] = {}
    for place, work in enumerate(works):
        for number, request in enumerate(work.requests):
            before = merged.get(id(request.heads), _Merged(Request(request.heads, (), LOSS_ONLY), ()))
            have = before.request.directions
            joined = Request(request.heads, have + request.directions, _either(before.request.wants, request.wants))
            merged[id(request.heads)] = _Merged(joined, (*before.places, (place, number, len(have))))
    return list(merged.values())


def _either(a: Wants, b: Wants) -> Wants:
    return Wants(**{f.name: getattr(a, f.name) or getattr(b, f.name) for f in fields(Wants)})


def _only(scores: PairScores, directions: slice) -> PairScores:
    """Returns the scores with only some of the directions."""
    names = ("loss_dots", "neg_dots", "taylor_dots", "own_dots")
    return replace(scores, **{name: getattr(scores, name)[directions] for name in names})


class Targets:
    """The target set's gradients at different heads, each computed once however many methods ask."""

    def __init__(self, inputs: ScoringInputs) -> None:
        self._inputs = inputs
        self._known: dict[tuple[int, bool], Direction] = {}

    def gradient(self, heads: Heads, *, train_scale: bool) -> Direction:
        """Returns u, the gradient of the mean target loss (see `ScoringInputs.target_loss`), in float64."""
        key = (id(heads), train_scale)
        if key not in self._known:
            self._known[key] = self._computed(heads, train_scale=train_scale)
        return self._known[key]

    def _computed(self, heads: Heads, *, train_scale: bool) -> Direction:
        inputs, target = self._inputs, self._inputs.needed_target()
        if not inputs.classes_are_the_target():
            return target_gradient(target, heads, plan=inputs.plan, train_scale=train_scale)
        labels, prompts = inputs.needed_classes()
        order = rows_in_order(target)
        return zero_shot_gradient(
            target.image[order],
            labels[order],
            prompts=prompts,
            heads=heads,
            train_scale=train_scale,
        )

"""One pass over the blocks of a pool: every pair's losses and inner products with a few directions.

Everything reads cached features, gathers one block at a time, and holds nothing of size (N, N) or (N, |ϑ|). Averages
over the rounds are taken in float64. Shards of a pass add up to the whole, so that several processes can share one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.endpoint import Direction, Heads
from chips_core.influence.kernel import BlockScorer, Columns, Wants
from chips_core.influence.lanes import in_lanes

ROWS_AT_ONCE = 4096

Tick = Callable[[int], None]  # called after each block with its number of pairs; may raise to stop


@dataclass(frozen=True)
class PairScores:
    """What a pass found, averaged over the rounds; K directions, N pairs, float64; empty where not wanted."""

    loss: Tensor  # (N,) ℓ_n
    correctness: Tensor  # (N,) p_corr
    margin: Tensor  # (N,) m_n
    neg: Tensor  # (N,) Neg_n, exact deletion
    neg_taylor: Tensor  # (N,) Neg_n, first order
    loss_dots: Tensor  # (K, N) ∇ℓ_n·v
    neg_dots: Tensor  # (K, N) ∇Neg_n·v, exact deletion
    taylor_dots: Tensor  # (K, N) ∇Neg_n·v, first order
    own_dots: Tensor  # (K, N) own-path ∇ℓ_n·v

    @property
    def pos(self) -> Tensor:
        """Pos_n = 2 ℓ_n, (N,)."""
        return 2 * self.loss

    @property
    def pos_dots(self) -> Tensor:
        """∇Pos_n·v = 2 ∇ℓ_n·v, (K, N)."""
        return 2 * self.loss_dots

    def __add__(self, other: "PairScores") -> "PairScores":
        """Joins two shards of one pass."""
        return PairScores(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @classmethod
    def empty(cls, pairs: int, directions: int, wants: Wants) -> "PairScores":
        """Returns zeros for what is wanted, and nothing for the rest."""

        def column(wanted: bool) -> Tensor:
            return torch.zeros(pairs if wanted else 0, dtype=torch.float64)

        def dots(wanted: bool) -> Tensor:
            return torch.zeros(directions, pairs if wanted else 0, dtype=torch.float64)

        return cls(
            loss=column(True),
            correctness=column(True),
            margin=column(wants.margins),
            neg=column(wants.neg_values),
            neg_taylor=column(wants.neg_values),
            loss_dots=dots(True),
            neg_dots=dots(wants.deletion),
            taylor_dots=dots(wants.taylor),
            own_dots=dots(wants.own_path),
        )


def score_pairs(
    features: Features,
    heads: Heads,
    *,
    directions: Sequence[Direction] = (),
    plan: BlockPlan,
    wants: Wants | None = None,
    shard: tuple[int, int] = (0, 1),
    tick: Tick | None = None,
) -> PairScores:
    """Returns every pair's losses and inner products with each direction, averaged over the plan's rounds.

    Args:
        features: of all N pairs.
        heads: the endpoint; its precision is that of the products.
        directions: K vectors v; none for losses alone.
        plan: the blocks of negatives.
        wants: what to compute.
        shard: (i, n) does every n-th block from i; the n results add up to the whole.
        tick: told of each block.
    """
    wants, pairs = wants or Wants(), len(features)
    found = PairScores.empty(pairs, len(directions), wants)
    rounds = plan.rounds(pairs)
    mine = (rows for i, rows in enumerate(plan.rows(pairs, rank=features.rank)) if i % shard[1] == shard[0])

    def worker() -> Callable[[Tensor], Columns]:
        scorer = BlockScorer(heads, directions, wants=wants)
        return lambda rows: scorer.score(features.image, features.text, rows)

    lanes = min(torch.get_num_threads(), plan.block_count(pairs) * rounds)
    scored = in_lanes(worker, mine, lanes=lanes)
    try:
        for rows, columns in scored:
            for name, values in columns.items():
                getattr(found, name).index_add_(-1, rows, values.double(), alpha=1 / rounds)
            if tick is not None:
                tick(len(rows))
    finally:
        scored.close()
    return found


def unusable_rows(features: Features, heads: Heads) -> Tensor:
    """Returns the rows that cannot be scored: features that are not finite, or whose embedding has no length."""
    found = []
    for start in range(0, len(features), ROWS_AT_ONCE):
        bad = torch.zeros(min(ROWS_AT_ONCE, len(features) - start), dtype=torch.bool)
        for whole, head in ((features.image, heads.image), (features.text, heads.text)):
            part = whole[start : start + ROWS_AT_ONCE].to(head.dtype)
            lengths = torch.linalg.vector_norm(part @ head.T, dim=1)
            bad |= ~(torch.isfinite(lengths) & (lengths > 0))
        found.append(torch.nonzero(bad).reshape(-1) + start)
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)

"""The influence of any pairs on a test loss, each measured against the same few blocks of the pool: the reference.

In a pass over the pool a pair meets the partners of its own block, and of two pairs that are equally to blame one meets
the worse company. Against the reference all meet the same partners: the order of the pairs is truer than after four
passes, and a pair costs the same whether or not the rest of the pool is looked at [decided, measured].

A pair n that joins a block B, whose rows have the sums R_k = Σ_{j∈B} exp S_kj and the means m_k = Σ_{j∈B} P_kj T_kj,
changes it by [derived]
    ∇Pos_n·v = Σ_{k∈B∪n} P_nk (T_nk - T_nn)                        its own row, and likewise its column
    ∇Neg_n·v = Σ_{k∈B} w_kn (T_kn - m_k),  w_kn = e/(R_k + e), e = exp S_kn    the row of every image of B, likewise
A pair of the block is scored where it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.influence.blocks import Features
from chips_core.influence.endpoint import Direction, Heads, forward, moves
from chips_core.influence.kernel import BlockScorer, Columns, Wants
from chips_core.influence.lanes import in_lanes

BLOCKS = 4  # of the first round: with two the order is as true as after four passes, with four better
ROWS_AT_ONCE = 256  # (256, 1024) of float32 are a megabyte: what a step reads stays in the cache
WANTS = Wants(deletion=True)


@dataclass(frozen=True)
class Dots:
    """Inner products of the pairs' gradients with a direction, (M,) float64 each."""

    pos: Tensor  # ∇Pos_n·v
    neg: Tensor  # ∇Neg_n·v, exact deletion

    @property
    def total(self) -> Tensor:
        """∇(Pos + Neg)_n·v."""
        return self.pos + self.neg


@dataclass(frozen=True)
class _Side:
    """The images or the texts of a block, as what a pair from outside is compared with."""

    units: Tensor  # (D, B): s times the embeddings
    changes: Tensor  # (2D, B): s times how they move, and s times the embeddings
    log_sums: Tensor  # (B,) log R_k
    means: Tensor  # (B,) m_k


@dataclass(frozen=True)
class Reference:
    """The reference seen along one direction v.

    Attributes:
        pool: features of the N pairs.
        heads: the endpoint.
        v: the direction.
        blocks: rows of the reference.
        members: of the reference's own pairs, (M,).
        sides: of each block the texts, which images are compared with, and the images.
    """

    pool: Features
    heads: Heads
    v: Direction
    blocks: Sequence[Tensor]
    members: Dots
    sides: Sequence[tuple[_Side, _Side]]

    @classmethod
    def of(cls, pool: Features, heads: Heads, *, v: Direction, blocks: Sequence[Tensor]) -> "Reference":
        """Returns the reference of some blocks, seen along v.

        Args:
            pool: features of the N pairs.
            heads: the endpoint; its precision is that of the products.
            v: H⁻¹ of a test gradient.
            blocks: rows of the reference, disjoint.
        """
        v = v.to(heads.image.dtype)

        def worker() -> Callable[[Tensor], tuple[Columns, tuple[_Side, _Side]]]:
            scorer = BlockScorer(heads, [v], wants=WANTS)
            return lambda rows: (scorer.score(pool.image, pool.text, rows), _sides_of(pool, rows, heads, v=v))

        found = [made for _, made in in_lanes(worker, blocks, lanes=min(torch.get_num_threads(), len(blocks)))]
        pos = torch.cat([2 * columns["loss_dots"][0].double() for columns, _ in found])
        neg = torch.cat([columns["neg_dots"][0].double() for columns, _ in found])
        return cls(pool, heads, v, blocks, Dots(pos, neg), [sides for _, sides in found])

    def dots(self, rows: Tensor) -> Dots:
        """Returns ∇Pos_n·v and ∇Neg_n·v of the pairs at `rows`, (M,) each, averaged over the blocks."""
        inside = torch.full((len(self.pool),), -1, dtype=torch.int64)  # place among the members
        inside[torch.cat(list(self.blocks))] = torch.arange(len(self.members.pos))
        pieces = torch.split(rows, ROWS_AT_ONCE)
        found = in_lanes(lambda: lambda some: self._piece(some, inside[some]), pieces, lanes=torch.get_num_threads())
        pos, neg = zip(*(dots for _, dots in found), strict=True)
        return Dots(torch.cat(pos), torch.cat(neg))

    def _piece(self, rows: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        mine = forward(self.pool.image[rows], self.pool.text[rows], self.heads)
        r, q = moves(mine, self.v)
        own = mine.scale * (mine.image * mine.text).sum(1)
        turned = mine.scale * ((r * mine.text).sum(1) + (mine.image * q).sum(1))
        as_image, as_text = torch.cat([mine.image, r], dim=1), torch.cat([mine.text, q], dim=1)
        pos, neg = torch.zeros(2, len(rows), dtype=torch.float64)
        start = 0
        for block, (texts, images) in zip(self.blocks, self.sides, strict=True):
            by_row, by_column = (
                joined(x[:, : len(side.units)] @ side.units, x @ side.changes, side.log_sums, side.means, own, turned)
                for x, side in ((as_image, texts), (as_text, images))
            )
            member = (inside >= start) & (inside < start + len(block))
            at = inside.clamp(min=0)
            pos += torch.where(member, self.members.pos[at], by_row[0] + by_column[0])
            neg += torch.where(member, self.members.neg[at], by_row[1] + by_column[1])
            start += len(block)
        return pos / len(self.blocks), neg / len(self.blocks)


def _sides_of(pool: Features, rows: Tensor, heads: Heads, *, v: Direction) -> tuple[_Side, _Side]:
    block = forward(pool.image[rows], pool.text[rows], heads)
    (r, q), s = moves(block, v), block.scale
    texts, images = torch.cat([q, block.text], dim=1), torch.cat([r, block.image], dim=1)
    T = (s * images) @ torch.cat([block.text, q], dim=1).T

    def side(logits: Tensor, change: Tensor, units: Tensor, both: Tensor) -> _Side:
        log_sums = logits.logsumexp(0)
        means = (logits - log_sums).exp_().mul_(change).sum(0)
        return _Side((s * units).T.contiguous(), (s * both).T.contiguous(), log_sums, means)

    # a new image is one more row of S, in every text's column; a new text one more column, in every image's row
    return side(block.logits, T, block.text, texts), side(block.logits.T, T.T, block.image, images)


def joined(
    logits: Tensor, change: Tensor, log_sums: Tensor, means: Tensor, own: Tensor, turned: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns one half of ∇Pos·v and of ∇Neg·v of M pairs that join a block, (M,) each: as its rows, or as columns.

    Args:
        logits: (M, B) of the pairs with the other side of the block; used up.
        change: (M, B) T of the same.
        log_sums: (B,) log R_k.
        means: (B,) m_k.
        own: (M,) S_nn.
        turned: (M,) T_nn.
    """
    weights = torch.sigmoid(logits - log_sums)
    neg = torch.linalg.vecdot(weights, change) - weights @ means
    top = torch.maximum(logits.amax(1), own)
    others = logits.sub_(top[:, None]).exp_()
    sums = others.sum(1)
    pos = (torch.linalg.vecdot(others, change) - turned * sums) / (sums + (own - top).exp())
    return pos, neg

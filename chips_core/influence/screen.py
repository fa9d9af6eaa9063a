"""A first look at every pair of a large pool: its influence on a test loss, roughly, against a few pairs.

H⁻¹v of one test image is nearly of low rank, V ≈ A B with A (D, r): four of 128 singular values hold 98 % of it
[measured]. Then every change of a logit is a product of 2r numbers and a multiple of the logit [derived]:

    T_ij = s (g_i·k_j + h_i·e_j) + (v_ls - c_i - d_j) S_ij    A, B of the image head, A', B' of the text head
    image i: g = B x̃/|a|, h = A'ᵀ x̂, c = g·Aᵀx̂               text j: k = Aᵀ ŷ, e = B' ỹ/|b|, d = e·A'ᵀŷ

so that a pair costs hardly more than its logits with a hundred others. The embeddings, which no question changes, are
computed once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.influence.blocks import Features
from chips_core.influence.endpoint import Direction, Heads, embed
from chips_core.influence.lanes import in_lanes
from chips_core.influence.reference import joined

RANK = 8
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class _Factors:
    """V ≈ A B of either head."""

    image_out: Tensor  # A (D, r)
    image_in: Tensor  # B (r, dv)
    text_out: Tensor
    text_in: Tensor
    log_scale: float

    @classmethod
    def of(cls, v: Direction) -> "_Factors":
        """Returns the leading singular vectors of both heads' changes."""
        (a, b), (c, d) = (_leading(V.float()) for V in (v.image, v.text))
        return cls(a, b, c, d, float(v.log_scale))


@dataclass(frozen=True)
class _Few:
    """What the screen knows of M pairs along v."""

    image: Tensor  # x̂ (M, D)
    text: Tensor  # ŷ (M, D)
    left: Tensor  # (g, h), (M, 2r)
    right: Tensor  # (k, e), (M, 2r)
    image_turn: Tensor  # c (M,)
    text_turn: Tensor  # d (M,)


@dataclass(frozen=True)
class Screen:
    """The embeddings of N pairs, in half precision."""

    pool: Features
    scale: float
    image: Tensor  # x̂ (N, D)
    text: Tensor  # ŷ (N, D)
    image_lengths: Tensor  # |a| (N, 1)
    text_lengths: Tensor  # |b| (N, 1)

    @classmethod
    def of(cls, pool: Features, heads: Heads) -> "Screen":
        """Returns the screen of a pool: one pass of the heads over the features."""
        heads, pairs, width = heads.to(torch.float32), len(pool), len(heads.image)
        units = [torch.empty(pairs, width, dtype=torch.float16) for _ in range(2)]
        lengths = [torch.empty(pairs, 1) for _ in range(2)]
        for start in range(0, pairs, ROWS_AT_ONCE):
            some = slice(start, start + ROWS_AT_ONCE)
            parts = ((pool.image, heads.image), (pool.text, heads.text))
            for (features, head), unit, length in zip(parts, units, lengths, strict=True):
                unit[some], length[some] = embed(features[some], head)
        return cls(pool, heads.scale, units[0], units[1], lengths[0], lengths[1])

    @property
    def bytes(self) -> int:
        """What it takes of memory."""
        parts = (self.image, self.text, self.image_lengths, self.text_lengths)
        return sum(part.numel() * part.element_size() for part in parts)

    def totals(self, v: Direction, *, anchors: Tensor) -> Tensor:
        """Returns ∇(Pos + Neg)_n·v of every pair, (N,) float32: roughly, and wrong for the anchors themselves.

        Args:
            v: H⁻¹ of a test gradient.
            anchors: rows of the pairs that all are compared with.
        """
        factors, s = _Factors.of(v), self.scale
        few, ls = self._few(anchors, factors), factors.log_scale
        S = s * few.image @ few.text.T
        T = _changes(S, few.left, few.right, ls - few.image_turn, few.text_turn, scale=s)
        images, texts = (
            (logits.logsumexp(1), (torch.softmax(logits, dim=1) * change).sum(1))
            for logits, change in ((S, T), (S.T, T.T))
        )

        def piece(some: slice) -> Tensor:
            mine = self._few(some, factors)
            own = s * (mine.image * mine.text).sum(1)
            turned = s * (mine.left * mine.right).sum(1) + own * (ls - mine.image_turn - mine.text_turn)
            rows, columns = s * mine.image @ few.text.T, s * mine.text @ few.image.T
            T_rows = _changes(rows, mine.left, few.right, ls - mine.image_turn, few.text_turn, scale=s)
            T_columns = _changes(columns, mine.right, few.left, ls - mine.text_turn, few.image_turn, scale=s)
            by_row = joined(rows, T_rows, *texts, own, turned)
            by_column = joined(columns, T_columns, *images, own, turned)
            return by_row[0] + by_row[1] + by_column[0] + by_column[1]

        pieces = (slice(n, n + ROWS_AT_ONCE) for n in range(0, len(self.image), ROWS_AT_ONCE))
        found = in_lanes(lambda: piece, pieces, lanes=torch.get_num_threads())
        return torch.cat([totals for _, totals in found])

    def _few(self, some: slice | Tensor, factors: _Factors) -> _Few:
        image, text = self.image[some].float(), self.text[some].float()
        X, Y = self.pool.image[some].float(), self.pool.text[some].float()
        g, e = X @ factors.image_in.T / self.image_lengths[some], Y @ factors.text_in.T / self.text_lengths[some]
        h, k = image @ factors.text_out, text @ factors.image_out
        c, d = (g * (image @ factors.image_out)).sum(1), (e * (text @ factors.text_out)).sum(1)
        return _Few(image, text, torch.cat([g, h], dim=1), torch.cat([k, e], dim=1), c, d)


def _changes(S: Tensor, mine: Tensor, theirs: Tensor, turn: Tensor, their_turn: Tensor, *, scale: float) -> Tensor:
    """Returns T of M pairs with K others, (M, K): s mine·theirs + (turn - their turn) S."""
    return torch.addmm(S * (turn[:, None] - their_turn), mine, theirs.T, alpha=scale)


def _leading(V: Tensor) -> tuple[Tensor, Tensor]:
    """Returns A (D, r) and B (r, d), the nearest A B to V of rank RANK."""
    A = torch.linalg.eigh(V @ V.T).eigenvectors[:, -RANK:]
    return A, A.T @ V

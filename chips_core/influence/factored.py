"""Per-pair gradients of a whole block held as sums of rank-1 matrices, so that their Gram matrix is exact and cheap.

The loss term of pair n touches the logits in its row and its column only: A⁽ⁿ⁾ = e_n R_n· + C_·n e_nᵀ. Its gradient by
the image head is then, with c_in = x̂_i·ŷ_n and C's diagonal moved into R [derived],

    s/|a_n| (I - x̂x̂ᵀ)(R_n· Ŷ) ⊗ x̃_n  +  ŷ_n ⊗ Σ_{i≠n} (s C_in/|a_i|) x̃_i  -  Σ_{i≠n} (s C_in c_in/|a_i|) x̂_i ⊗ x̃_i

a sum of 3B rank-1 *atoms* that all B gradients of the block share, likewise for the text head. A set of gradients is
therefore (left, right, mix): gradient j = Σ_a mix[a, j] left_a ⊗ right_a; the Gram matrix is mixᵀ (LLᵀ ∘ RRᵀ) mix.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.influence import loss
from chips_core.influence.endpoint import Block, Direction, own_path, tangent


@dataclass(frozen=True)
class Atoms:
    """Rank-1 matrices left_a ⊗ right_a, and how the gradients mix them."""

    left: Tensor  # (A, D)
    right: Tensor  # (A, d)
    mix: Tensor  # (A, J)

    def gram(self) -> Tensor:
        """Returns all inner products of the J matrices, (J, J)."""
        return self.mix.T @ ((self.left @ self.left.T) * (self.right @ self.right.T)) @ self.mix

    def dots(self, matrix: Tensor) -> Tensor:
        """Returns the inner product of each of the J matrices with one matrix (D, d), (J,)."""
        return self.mix.T @ ((self.left @ matrix) * self.right).sum(1)

    def combine(self, weights: Tensor) -> Tensor:
        """Returns Σ_j c_j matrix_j, (D, d)."""
        return (self.left * (self.mix @ weights)[:, None]).T @ self.right

    def squeezed(self, left: Tensor, right: Tensor) -> Tensor:
        """Returns left matrix_j rightᵀ for each j, (J, p, q), for left (p, D) and right (q, d)."""
        outer = torch.einsum("ap,aq->apq", self.left @ left.T, self.right @ right.T)
        return torch.einsum("apq,aj->jpq", outer, self.mix)


@dataclass(frozen=True)
class GradientSet:
    """J vectors of the endpoint's parameter space, never formed."""

    image: Atoms
    text: Atoms
    slopes: Tensor  # (J,) the log-scale entries

    def __len__(self) -> int:
        return len(self.slopes)

    def gram(self) -> Tensor:
        """Returns g_i·g_j, (J, J)."""
        return self.image.gram() + self.text.gram() + self.slopes[:, None] * self.slopes

    def dots(self, v: Direction) -> Tensor:
        """Returns g_j·v, (J,)."""
        return self.image.dots(v.image) + self.text.dots(v.text) + self.slopes * v.log_scale

    def combine(self, weights: Tensor) -> Direction:
        """Returns Σ_j c_j g_j."""
        return Direction(self.image.combine(weights), self.text.combine(weights), self.slopes @ weights)

    def mixed(self, mix: Tensor) -> "GradientSet":
        """Returns the vectors Σ_j mix[j, k] g_j for each k."""
        image = Atoms(self.image.left, self.image.right, self.image.mix @ mix)
        text = Atoms(self.text.left, self.text.right, self.text.mix @ mix)
        return GradientSet(image, text, self.slopes @ mix)

    def scaled(self, factor: float) -> "GradientSet":
        """Returns factor · g_j for each j."""
        image = Atoms(self.image.left, self.image.right, self.image.mix * factor)
        text = Atoms(self.text.left, self.text.right, self.text.mix * factor)
        return GradientSet(image, text, self.slopes * factor)


def joined(sets: Sequence[GradientSet]) -> GradientSet:
    """Returns the vectors of several sets one after another."""

    def atoms(parts: list[Atoms]) -> Atoms:
        return Atoms(
            torch.cat([p.left for p in parts]),
            torch.cat([p.right for p in parts]),
            _block_diagonal([p.mix for p in parts]),
        )

    slopes = torch.cat([s.slopes for s in sets])
    return GradientSet(atoms([s.image for s in sets]), atoms([s.text for s in sets]), slopes)


def loss_gradients(block: Block, *, train_scale: bool = True) -> GradientSet:
    """Returns ∇ℓ_n of each pair, n = 1..B [derived]: R = ½ P - I on the diagonal, C = ½ Q."""
    P, Q = loss.probabilities(block.logits)
    rows = P / 2
    rows.diagonal().sub_(1)
    return crossing(block, rows, Q / 2, train_scale=train_scale)


def pos_role_gradients(block: Block, *, train_scale: bool = True) -> GradientSet:
    """Returns g_pos = -½ [(1 - P_nn) + (1 - Q_nn)] dS_nn of each pair [decided: `pair_roles`], rank 1 in each head."""
    pull = loss.correctness(block.logits) - 1  # -½ [(1-P) + (1-Q)]
    to_image = tangent(block.image, pull[:, None] * block.text) * (block.scale / block.image_lengths)
    to_text = tangent(block.text, pull[:, None] * block.image) * (block.scale / block.text_lengths)
    return _own(block, to_image, to_text, slopes=pull * block.logits.diagonal(), train_scale=train_scale)


def neg_role_gradients(block: Block, *, train_scale: bool = True) -> GradientSet:
    """Returns g_neg = ½ Σ_{j≠n} [P_nj dS_nj + Q_jn dS_jn] of each pair [decided: `pair_roles`].

    What a pair does as everybody's negative; g_pos + g_neg = ∇ℓ_n.
    """
    P, Q = loss.probabilities(block.logits)
    return crossing(block, P.fill_diagonal_(0.0) / 2, Q.fill_diagonal_(0.0) / 2, train_scale=train_scale)


def own_path_gradients(block: Block, *, train_scale: bool = True) -> GradientSet:
    """Returns each pair's own-path gradient, rank 1 in each head [paper], see `endpoint.own_path`."""
    to_image, to_text, slopes = own_path(block)
    return _own(block, to_image, to_text, slopes=slopes, train_scale=train_scale)


def crossing(block: Block, rows: Tensor, columns: Tensor, *, train_scale: bool = True) -> GradientSet:
    """Returns for each pair n the gradient of Σ_j R_nj S_nj + Σ_i C_in S_in with R and C held fixed [derived]."""
    diagonal = torch.diag(columns.diagonal())
    rows, columns = rows + diagonal, columns - diagonal
    slopes = ((rows * block.logits).sum(1) + (columns * block.logits).sum(0)) * float(train_scale)
    cosines = block.image @ block.text.T
    own_column = columns + torch.diag(rows.diagonal())
    to_image = tangent(block.image, rows @ block.text) * (block.scale / block.image_lengths)
    to_text = tangent(block.text, own_column.T @ block.image) * (block.scale / block.text_lengths)
    by_image = columns * (block.scale / block.image_lengths)  # [i, n], i ≠ n
    by_text = (rows - torch.diag(rows.diagonal())).T * (block.scale / block.text_lengths)  # [j, n], j ≠ n
    return GradientSet(
        _three(to_image, block.image_features, other=block.text, own=block.image, by=by_image, cosines=cosines),
        _three(to_text, block.text_features, other=block.image, own=block.text, by=by_text, cosines=cosines.T),
        slopes,
    )


def _three(to_own: Tensor, features: Tensor, *, other: Tensor, own: Tensor, by: Tensor, cosines: Tensor) -> Atoms:
    eye = torch.eye(len(own), dtype=own.dtype)
    return Atoms(
        torch.cat([to_own, other, own]),
        torch.cat([features, by.T @ features, features]),
        torch.cat([eye, eye, -by * cosines]),
    )


def _own(block: Block, to_image: Tensor, to_text: Tensor, *, slopes: Tensor, train_scale: bool) -> GradientSet:
    eye = torch.eye(block.pairs, dtype=to_image.dtype)
    return GradientSet(
        Atoms(to_image, block.image_features, eye),
        Atoms(to_text, block.text_features, eye),
        slopes * float(train_scale),
    )


def _block_diagonal(parts: list[Tensor]) -> Tensor:
    whole = parts[0].new_zeros(sum(p.shape[0] for p in parts), sum(p.shape[1] for p in parts))
    row, column = 0, 0
    for part in parts:
        whole[row : row + part.shape[0], column : column + part.shape[1]] = part
        row, column = row + part.shape[0], column + part.shape[1]
    return whole

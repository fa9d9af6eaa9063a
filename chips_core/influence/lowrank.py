"""Curvature of the two linear heads from Kronecker factors: EK-FAC, and LoGRA's low-rank two-sided projection.

One head maps a feature x (d,) to W x; δ (D,) is the gradient of the block's summed loss Σ_n ℓ_n that arrives at W x, so
that the pair's share of the head's gradient is the rank-1 matrix δ xᵀ. Over the pairs of the fitted blocks:

    A = mean x xᵀ (d, d)      G = mean δ δᵀ (D, D)      A = U_A S_A U_Aᵀ,  G = U_G S_G U_Gᵀ

Both methods invert in a small frame made of these, and return a direction v of the heads; a pair's score is then the
inner product of its whole gradient with v, which costs one `jvp` a block. The scale has no linear layer: v is 0 there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.errors import SingularCurvature
from chips_core.influence import endpoint, loss
from chips_core.influence.endpoint import Block, Direction

Blocks = Callable[[], Iterator[Block]]  # a pass over the blocks that the curvature is fitted on; it is called twice


@dataclass(frozen=True)
class Frame:
    """Eigenvectors of one head's factors, largest first: columns of (D, D) and (d, d)."""

    out: Tensor
    into: Tensor

    def top(self, rank: int) -> "Frame":
        """Returns the `rank` leading eigenvectors of either side."""
        return Frame(self.out[:, :rank], self.into[:, :rank])

    def coordinates(self, matrix: Tensor) -> Tensor:
        """Returns U_Gᵀ M U_A."""
        return self.out.T @ matrix.to(torch.float64) @ self.into

    def back(self, coordinates: Tensor) -> Tensor:
        """Returns U_G M U_Aᵀ, the transpose of `coordinates`."""
        return self.out @ coordinates @ self.into.T


@dataclass(frozen=True)
class Frames:
    """The frames of both heads."""

    image: Frame
    text: Frame


def arriving(block: Block) -> tuple[Tensor, Tensor]:
    """Returns δ of both heads, (B, D) each: the gradient of Σ_n ℓ_n that arrives at every pair's own embeddings."""
    ones = torch.ones_like(block.image[:, 0])
    return endpoint.pull_back(block, loss.loss_coefficients(block.logits, ones))


def kronecker_frames(blocks: Blocks) -> Frames:
    """Returns the eigenvectors of A and G of both heads, in float64.

    J. Martens, R. Grosse: Optimizing Neural Networks with Kronecker-factored Approximate Curvature. ICML 2015 [paper].
    """
    moments: list[Tensor] = []
    for block in blocks():
        to_image, to_text = arriving(block)
        parts = (to_image, block.image_features, to_text, block.text_features)
        squares = [part.to(torch.float64).T @ part.to(torch.float64) for part in parts]
        moments = [m + s for m, s in zip(moments, squares, strict=True)] if moments else squares
    vectors = [torch.linalg.eigh(m).eigenvectors.flip(1) for m in moments]
    return Frames(Frame(vectors[0], vectors[1]), Frame(vectors[2], vectors[3]))


def ekfac_direction(blocks: Blocks, u: Direction, *, damping: float) -> Direction:
    """Returns v = (EK-FAC + λI)⁻¹ u on the two heads.

    T. George, C. Laurent, X. Bouthillier, N. Ballas, P. Vincent: Fast Approximate Natural Gradient Descent in a
    Kronecker-factored Eigenbasis. NeurIPS 2018; for influence R. Grosse et al.: Studying Large Language Model
    Generalization with Influence Functions, 2023. Curvature = U_A ⊗ U_G · diag(Λ) · (U_A ⊗ U_G)ᵀ with
    Λ_ij = mean_n (U_Gᵀ δ_n)²_i (U_Aᵀ x_n)²_j [paper]; λ = damping · mean Λ, for each head [decided: as kronfluence].

    Args:
        blocks: what the curvature is fitted on.
        u: gradient of the target loss.
        damping: multiple of the mean eigenvalue.
    """
    frames = kronecker_frames(blocks)
    image, text = _eigenvalues(blocks, frames=frames)
    return Direction(
        _divided(u.image, frame=frames.image, eigenvalues=image, damping=damping),
        _divided(u.text, frame=frames.text, eigenvalues=text, damping=damping),
        torch.zeros_like(u.log_scale),
    )


def _eigenvalues(blocks: Blocks, *, frames: Frames) -> tuple[Tensor, Tensor]:
    """Returns Λ of both heads, (D, dv) and (D, dt)."""
    total: list[Tensor] = []
    pairs = 0
    for block in blocks():
        to_image, to_text = arriving(block)
        image = _squares(to_image, frames.image.out).T @ _squares(block.image_features, frames.image.into)
        text = _squares(to_text, frames.text.out).T @ _squares(block.text_features, frames.text.into)
        total = [total[0] + image, total[1] + text] if total else [image, text]
        pairs += block.pairs
    return total[0] / pairs, total[1] / pairs


def _squares(vectors: Tensor, frame: Tensor) -> Tensor:
    return (vectors.to(torch.float64) @ frame) ** 2


def _divided(u: Tensor, *, frame: Frame, eigenvalues: Tensor, damping: float) -> Tensor:
    level = damping * eigenvalues.mean()
    if not bool(level > 0):
        return torch.zeros_like(u)  # no gradient anywhere (a pool of one pair): no direction either
    return frame.back(frame.coordinates(u) / (eigenvalues + level)).to(u.dtype)


def logra_direction(blocks: Blocks, u: Direction, *, rank: int, damping: float) -> Direction:
    """Returns v = Pᵀ (H + λI)⁻¹ P u, P the two-sided projection of each head's gradient to rank x rank numbers.

    S. K. Choe et al.: What is Your Data Worth to GPT? LLM-Scale Data Valuation with Influence Functions, 2024
    (arXiv 2405.13954). P M = P_o M P_iᵀ with P_o, P_i the leading eigenvectors of G and A (their PCA start), and
    H = mean_n vec(P_o δ_n x_nᵀ P_iᵀ)(·)ᵀ, each head by itself [paper]; λ = damping · mean eigenvalue of H [decided].

    Args:
        blocks: what the curvature is fitted on.
        u: gradient of the target loss.
        rank: of either side of the projection.
        damping: multiple of the mean eigenvalue.
    """
    frames = kronecker_frames(blocks)
    image, text = frames.image.top(rank), frames.text.top(rank)
    moments: list[Tensor] = []
    pairs = 0
    for block in blocks():
        to_image, to_text = arriving(block)
        projected = (
            _outer(to_image, block.image_features, frame=image),
            _outer(to_text, block.text_features, frame=text),
        )
        squares = [p.T @ p for p in projected]
        moments = [m + s for m, s in zip(moments, squares, strict=True)] if moments else squares
        pairs += block.pairs
    return Direction(
        _solved(u.image, frame=image, moment=moments[0] / pairs, damping=damping),
        _solved(u.text, frame=text, moment=moments[1] / pairs, damping=damping),
        torch.zeros_like(u.log_scale),
    )


def _outer(arrived: Tensor, features: Tensor, *, frame: Frame) -> Tensor:
    """Returns vec(P_o δ xᵀ P_iᵀ) of every pair, (B, rank²) float64."""
    left, right = arrived.to(torch.float64) @ frame.out, features.to(torch.float64) @ frame.into
    return (left[:, :, None] * right[:, None, :]).flatten(1)


def _solved(u: Tensor, *, frame: Frame, moment: Tensor, damping: float) -> Tensor:
    level = damping * moment.diagonal().mean()
    if not bool(level > 0):
        return torch.zeros_like(u)
    small = frame.coordinates(u)
    factor, info = torch.linalg.cholesky_ex(moment + level * torch.eye(len(moment), dtype=torch.float64))
    if int(info):
        raise SingularCurvature(
            f"LoGRA's curvature of {len(moment)} numbers has no stable inverse at damping {damping:g}.",
            fix="raise the damping of the method `logra`.",
        )
    return frame.back(torch.cholesky_solve(small.reshape(-1, 1), factor).view_as(small)).to(u.dtype)

"""The endpoint of a CLIP: its two linear heads and its scale, as a function of cached features.

Letters (methods.md §1): X (B, dv) image features, Y (B, dt) text features before the heads; a = X Wᵥᵀ, b = Y Wₜᵀ;
x̂ = a/|a|, ŷ = b/|b|; s = exp(log_scale); S = s x̂ ŷᵀ. ϑ = (Wᵥ, Wₜ, log_scale); a `Direction` is a vector of that space.
J = dS/dϑ is never formed: `jvp` gives T = J v for one direction, `vjp` gives Jᵀ A for one matrix A, and everything else
(per-pair inner products, gradients, Gauss-Newton products) is these two around a function of the logits.

With the scale left out of ϑ (`train_scale=False`, audit mode) every gradient has a zero there; then v has one too.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from chips_core.errors import InputError
from chips_core.influence import loss

MAX_LOG_SCALE = 40.0  # e^40: beyond it float32 logits overflow; real models stop at log 100 = 4.6


@dataclass(frozen=True)
class Direction:
    """A vector of the endpoint's parameter space: a gradient, a change of weights, a probe."""

    image: Tensor  # (D, dv)
    text: Tensor  # (D, dt)
    log_scale: Tensor  # ()

    def __add__(self, other: "Direction") -> "Direction":
        return Direction(self.image + other.image, self.text + other.text, self.log_scale + other.log_scale)

    def __sub__(self, other: "Direction") -> "Direction":
        return Direction(self.image - other.image, self.text - other.text, self.log_scale - other.log_scale)

    def __mul__(self, factor: float | Tensor) -> "Direction":
        return Direction(self.image * factor, self.text * factor, self.log_scale * factor)

    __rmul__ = __mul__

    def __neg__(self) -> "Direction":
        return self * -1.0

    def axpy(self, factor: float | Tensor, other: "Direction") -> "Direction":
        """Returns self + factor · other."""
        return self + other * factor

    def dot(self, other: "Direction") -> Tensor:
        """Returns the inner product, (), summed in float64."""
        image = (self.image.double() * other.image.double()).sum()
        text = (self.text.double() * other.text.double()).sum()
        return image + text + self.log_scale.double() * other.log_scale.double()

    def norm(self) -> Tensor:
        """Returns the Euclidean length, ()."""
        return self.dot(self).sqrt()

    def to(self, dtype: torch.dtype) -> "Direction":
        """Returns the same vector in another precision."""
        return Direction(self.image.to(dtype), self.text.to(dtype), self.log_scale.to(dtype))

    def flat(self) -> Tensor:
        """Returns all entries in one vector, (|ϑ|,): image head, text head, log scale."""
        return torch.cat([self.image.reshape(-1), self.text.reshape(-1), self.log_scale.reshape(1)])

    def from_flat(self, values: Tensor) -> "Direction":
        """Returns the direction of this shape whose entries are `values`, (|ϑ|,)."""
        cut = self.image.numel()
        return Direction(values[:cut].view_as(self.image), values[cut:-1].view_as(self.text), values[-1])

    @property
    def size(self) -> int:
        """The number of entries, |ϑ|."""
        return self.image.numel() + self.text.numel() + 1

    def zeros(self, dtype: torch.dtype | None = None) -> "Direction":
        """Returns the zero vector of this shape."""
        parts = (torch.zeros_like(part, dtype=dtype) for part in (self.image, self.text, self.log_scale))
        return Direction(*parts)


@dataclass(frozen=True)
class Heads:
    """The endpoint's parameters ϑ: image head (D, dv), text head (D, dt), log of the scale ()."""

    image: Tensor
    text: Tensor
    log_scale: Tensor

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.text.ndim != 2 or self.image.shape[0] != self.text.shape[0]:
            raise InputError(
                f"Heads of shapes {tuple(self.image.shape)} and {tuple(self.text.shape)} do not map into one space.",
                fix="give both heads as (embedding width, feature width).",
            )
        finite = all(bool(torch.isfinite(part).all()) for part in (self.image, self.text, self.log_scale))
        if not finite or abs(float(self.log_scale)) > MAX_LOG_SCALE:
            raise InputError(
                f"The heads or the logit scale are not usable (log scale {float(self.log_scale):g}).",
                fix="use weights whose heads are finite and whose log scale is a small number, such as 4.6.",
            )

    @classmethod
    def of(cls, image: Tensor, text: Tensor, *, scale: float) -> "Heads":
        """Returns heads with s = `scale` (not its logarithm)."""
        if not math.isfinite(scale) or scale <= 0:
            raise InputError(f"The logit scale is {scale}.", fix="a scale is positive and finite, such as 100.")
        return cls(image, text, torch.tensor(math.log(scale), dtype=image.dtype))

    @property
    def scale(self) -> float:
        """The scale s = exp(log_scale)."""
        return math.exp(float(self.log_scale))

    def to(self, dtype: torch.dtype) -> "Heads":
        """Returns the same heads in another precision."""
        return Heads(self.image.to(dtype), self.text.to(dtype), self.log_scale.to(dtype))

    def moved(self, change: Direction, step: float = 1.0) -> "Heads":
        """Returns ϑ + step · change: how a model is edited without retraining."""
        return Heads(
            self.image + step * change.image.to(self.image.dtype),
            self.text + step * change.text.to(self.text.dtype),
            self.log_scale + step * change.log_scale.to(self.log_scale.dtype),
        )

    def minus(self, other: "Heads") -> Direction:
        """Returns ϑ - other as a direction."""
        return Direction(self.image - other.image, self.text - other.text, self.log_scale - other.log_scale)

    def zeros(self, dtype: torch.dtype | None = None) -> Direction:
        """Returns the zero direction of these heads."""
        return Direction(self.image, self.text, self.log_scale).zeros(dtype)


@dataclass(frozen=True)
class Block:
    """The forward pass of a block of B pairs: what `jvp`, `vjp` and the scores need."""

    image_features: Tensor  # X (B, dv)
    text_features: Tensor  # Y (B, dt)
    image_lengths: Tensor  # |a| (B, 1)
    text_lengths: Tensor  # |b| (B, 1)
    image: Tensor  # x̂ (B, D)
    text: Tensor  # ŷ (B, D)
    scale: float  # s

    @cached_property
    def logits(self) -> Tensor:
        """S = s x̂ ŷᵀ, (B, B)."""
        return (self.scale * self.image) @ self.text.T

    @cached_property
    def probabilities(self) -> tuple[Tensor, Tensor]:
        """P and Q, (B, B) each; kept, because a Gauss-Newton system multiplies with the same block many times."""
        return loss.probabilities(self.logits)

    @property
    def pairs(self) -> int:
        """B."""
        return self.image.shape[0]


@dataclass(frozen=True)
class PairDots:
    """Inner products of each pair's gradients with one direction v, (B,) each."""

    loss: Tensor  # ∇ℓ_n·v
    pos: Tensor  # ∇Pos_n·v
    neg: Tensor  # ∇Neg_n·v, exact deletion
    neg_taylor: Tensor  # ∇Neg_n·v, first order


def embed(features: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    """Returns unit embeddings (N, D) and the lengths before normalising (N, 1)."""
    raw = features.to(head.dtype) @ head.T
    lengths = torch.linalg.vector_norm(raw, dim=1, keepdim=True)
    bad = ~(torch.isfinite(lengths) & (lengths > 0)).reshape(-1)
    if bool(bad.any()):
        places = torch.nonzero(bad).reshape(-1)[:10].tolist()
        raise InputError(
            f"{int(bad.sum())} feature rows are not finite or have no length (rows {places}).",
            fix="encode these pairs again, or drop them from the run.",
        )
    return raw / lengths, lengths


def forward(image_features: Tensor, text_features: Tensor, heads: Heads) -> Block:
    """Returns the forward pass of one block, in the heads' precision.

    Args:
        image_features: (B, dv), any float type.
        text_features: (B, dt), row i belongs to row i of the images.
        heads: the endpoint.
    """
    if image_features.shape[0] != text_features.shape[0]:
        raise InputError(f"{image_features.shape[0]} images but {text_features.shape[0]} texts in one block.")
    image, image_lengths = embed(image_features, heads.image)
    text, text_lengths = embed(text_features, heads.text)
    dtype = heads.image.dtype
    return Block(
        image_features.to(dtype), text_features.to(dtype), image_lengths, text_lengths, image, text, heads.scale
    )


def jvp(block: Block, v: Direction) -> Tensor:
    """Returns T = dS[v], (B, B) [derived].

    T_ij = s (r_i·ŷ_j + x̂_i·q_j) + v_ls S_ij, r_i = (I - x̂x̂ᵀ) Vᵥ x̃_i/|a_i|, q_j = (I - ŷŷᵀ) Vₜ ỹ_j/|b_j|: how each
    logit moves when the heads move along v.
    """
    return logit_moves(block, *moves(block, v))


def logit_moves(block: Block, r: Tensor, q: Tensor) -> Tensor:
    """Returns T, (B, B), from how both sides move: one product, what moves beside what stays."""
    return (block.scale * torch.cat([r, block.image], dim=1)) @ torch.cat([block.text, q], dim=1).T


def moves(block: Block, v: Direction) -> tuple[Tensor, Tensor]:
    """Returns r + v_ls x̂ and q, (B, D) each, so that T_ij = s (r_i·ŷ_j + x̂_i·q_j) with the scale's part in r."""
    r = tangent(block.image, block.image_features @ v.image.T) / block.image_lengths
    q = tangent(block.text, block.text_features @ v.text.T) / block.text_lengths
    return r + v.log_scale * block.image, q


def vjp(block: Block, coefficients: Tensor, *, train_scale: bool = True) -> Direction:
    """Returns JᵀA, the gradient of F by ϑ when A = dF/dS, (B, B): the transpose of `jvp` [derived].

    dF/da_i = s (I - x̂x̂ᵀ) Σ_j A_ij ŷ_j / |a_i|, likewise for b; dF/dlog_scale = Σ A∘S.
    """
    to_image, to_text = pull_back(block, coefficients)
    slope = (coefficients * block.logits).sum() if train_scale else torch.zeros((), dtype=coefficients.dtype)
    return Direction(to_image.T @ block.image_features, to_text.T @ block.text_features, slope)


def pull_back(block: Block, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Returns dF/da (B, D) and dF/db (B, D) when A = dF/dS."""
    to_image = tangent(block.image, coefficients @ block.text) * (block.scale / block.image_lengths)
    to_text = tangent(block.text, coefficients.T @ block.image) * (block.scale / block.text_lengths)
    return to_image, to_text


def tangent(unit: Tensor, vectors: Tensor) -> Tensor:
    """Returns (I - u uᵀ) w for each row: the part of w that turns u."""
    return vectors - unit * (unit * vectors).sum(1, keepdim=True)


def pair_dots(block: Block, v: Direction) -> PairDots:
    """Returns ∇ℓ_n·v, ∇Pos_n·v and ∇Neg_n·v for every pair of the block, in O(B²) [derived]."""
    T, S = jvp(block, v), block.logits
    pos = loss.pos_dots(S, T)
    return PairDots(pos / 2, pos, loss.neg_dots(S, T), loss.neg_dots(S, T, exact=False))


Coefficients = Callable[[Tensor, Tensor], Tensor]


def gradient(
    block: Block, weights: Tensor, *, of: Coefficients = loss.loss_coefficients, train_scale: bool = True
) -> Direction:
    """Returns Σ_n c_n ∇F_n: of the loss terms by default, or with `of` another `loss.*_coefficients`."""
    return vjp(block, of(block.logits, weights), train_scale=train_scale)


def mean_gradient(block: Block, *, train_scale: bool = True) -> Direction:
    """Returns ∇ of the block's mean loss (1/B) Σ_n ℓ_n, what CLIP training follows."""
    return gradient(block, torch.full_like(block.image[:, 0], 1 / block.pairs), train_scale=train_scale)


def sum_gradient(block: Block, *, train_scale: bool = True) -> Direction:
    """Returns ∇L of ECIF's L = Σ_n Pos_n: a sum, both directions, no half [paper]."""
    return gradient(block, torch.full_like(block.image[:, 0], 2.0), train_scale=train_scale)


def gauss_newton_product(block: Block, w: Direction, *, train_scale: bool = True) -> Direction:
    """Returns GGN·w for Σ_n ℓ_n of the block: symmetric, positive semi-definite [derived].

    Divide by B for the mean loss; double it for ECIF's L. The true Hessian is indefinite: never invert it.
    """
    if not train_scale:
        w = Direction(w.image, w.text, torch.zeros_like(w.log_scale))
    return vjp(block, loss.gauss_newton_coefficients(*block.probabilities, jvp(block, w)), train_scale=train_scale)


def own_path(block: Block) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the rank-1 factors of each pair's own-path gradient [paper]: dℓ_n/da_n, dℓ_n/db_n (B, D) and the scale's.

    The gradient of ℓ_n with the other pairs' embeddings held fixed: (δa_n x̃_nᵀ, δb_n ỹ_nᵀ, slope), with
    dℓ_n/dx̂_n = s [½ Σ_j P_nj ŷ_j + (½ Q_nn - 1) ŷ_n], likewise for ŷ_n, and
    slope = ½ Σ_j P_nj S_nj + ½ Σ_i Q_in S_in - S_nn [derived]. Its dot with v costs nothing once the factors are there.
    """
    S = block.logits
    P, Q = loss.probabilities(S)
    own_p, own_q = P.diagonal()[:, None], Q.diagonal()[:, None]
    to_image = block.scale * ((P @ block.text) / 2 + (own_q / 2 - 1) * block.text)
    to_text = block.scale * ((Q.T @ block.image) / 2 + (own_p / 2 - 1) * block.image)
    slope = ((P * S).sum(1) + (Q * S).sum(0)) / 2 - S.diagonal()
    return (
        tangent(block.image, to_image) / block.image_lengths,
        tangent(block.text, to_text) / block.text_lengths,
        slope,
    )


def own_path_dots(block: Block, v: Direction) -> Tensor:
    """Returns the inner product of each pair's own-path gradient with v, (B,)."""
    to_image, to_text, slope = own_path(block)
    image = (to_image * (block.image_features @ v.image.T)).sum(1)
    return image + (to_text * (block.text_features @ v.text.T)).sum(1) + slope * v.log_scale

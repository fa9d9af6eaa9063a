"""TRAK on the endpoint: per-pair gradients, sketched, whitened by their own second moment.

S. M. Park, K. Georgiev, A. Ilyas, G. Leclerc, A. Madry: TRAK: Attributing Model Behavior at Scale. ICML 2023.

    score_n = φ_n · (ΦᵀΦ/N + λI)⁻¹ φ_u,   φ = sketch of a gradient,   Φ = the sketches of the pool's pairs.

A pair's gradient here flows through its own two embeddings only (as in TRAK's own CLIP output, where the negatives are
stored embeddings), so it is δ xᵀ on the image head, ε yᵀ on the text head and one number on the scale. Negatives are
the pair's block, drawn uniformly (the released CLIP code draws them in proportion to their index).

A dense random projection of 655,361 numbers would cost more than everything else together. Rank-1 matrices have a
TensorSketch instead (N. Pham, R. Pagh: Fast and Scalable Polynomial Kernels via Explicit Feature Maps. KDD 2013): the
entry (i, j) goes to bucket (h(i) + h'(j)) mod k with sign σ(i) σ'(j), which for a product δ xᵀ is one circular
convolution. It is linear and E[φ(g)·φ(g')] = g·g', so its transpose turns the whitened φ_u into a direction of the
heads, and every pair is then scored exactly without being sketched again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.errors import SingularCurvature
from chips_core.influence.endpoint import Block, Direction, own_path

Blocks = Callable[[], Iterator[Block]]


@dataclass(frozen=True)
class _Buckets:
    """The hash of one index set: bucket and sign of each index."""

    place: Tensor  # (n,) 0 .. k-1
    sign: Tensor  # (n,) ±1

    @classmethod
    def drawn(cls, count: int, *, width: int, generator: torch.Generator) -> "_Buckets":
        place = torch.randint(width, (count,), generator=generator)
        sign = torch.randint(2, (count,), generator=generator).to(torch.float64) * 2 - 1
        return cls(place, sign)

    def counted(self, vectors: Tensor, *, width: int) -> Tensor:
        """Returns the count sketch of each row, (B, width) float64."""
        out = torch.zeros(len(vectors), width, dtype=torch.float64)
        return out.index_add_(1, self.place, vectors.to(torch.float64) * self.sign)


@dataclass(frozen=True)
class TensorSketch:
    """A linear map of directions to `width` numbers; `hashes` are of D, dv, D, dt and the scale."""

    width: int
    hashes: tuple[_Buckets, _Buckets, _Buckets, _Buckets, _Buckets]

    @classmethod
    def for_direction(cls, shape: Direction, *, width: int, seed: int) -> "TensorSketch":
        """Returns the sketch of this seed for directions of this shape."""
        generator = torch.Generator().manual_seed(seed)
        sizes = (*shape.image.shape, *shape.text.shape, 1)
        a, b, c, d, e = (_Buckets.drawn(n, width=width, generator=generator) for n in sizes)
        return cls(width, (a, b, c, d, e))

    def of_pairs(self, block: Block, *, train_scale: bool) -> Tensor:
        """Returns φ of every pair's own-path gradient, (B, width) float64, without forming the gradients."""
        left, right, left_t, right_t, scale = self.hashes
        to_image, to_text, slope = own_path(block)
        image = self._convolved(left, to_image, right, block.image_features)
        text = self._convolved(left_t, to_text, right_t, block.text_features)
        whole = image + text
        return whole + scale.counted(slope[:, None], width=self.width) if train_scale else whole

    def of_direction(self, v: Direction) -> Tensor:
        """Returns φ(v), (width,) float64."""
        left, right, left_t, right_t, scale = self.hashes
        out = torch.zeros(self.width, dtype=torch.float64)
        for matrix, rows, columns in ((v.image, left, right), (v.text, left_t, right_t)):
            place, sign = self._grid(rows, columns)
            out.index_add_(0, place.reshape(-1), (matrix.to(torch.float64) * sign).reshape(-1))
        out[scale.place[0]] += scale.sign[0] * v.log_scale.to(torch.float64)
        return out

    def transposed(self, w: Tensor, *, like: Direction) -> Direction:
        """Returns the direction v with g·v = φ(g)·w for every g."""
        left, right, left_t, right_t, scale = self.hashes
        parts = []
        for matrix, rows, columns in ((like.image, left, right), (like.text, left_t, right_t)):
            place, sign = self._grid(rows, columns)
            parts.append((w[place] * sign).to(matrix.dtype))
        return Direction(parts[0], parts[1], (scale.sign[0] * w[scale.place[0]]).to(like.log_scale.dtype))

    def _grid(self, rows: _Buckets, columns: _Buckets) -> tuple[Tensor, Tensor]:
        place = (rows.place[:, None] + columns.place[None, :]) % self.width
        return place, rows.sign[:, None] * columns.sign[None, :]

    def _convolved(self, rows: _Buckets, left: Tensor, columns: _Buckets, right: Tensor) -> Tensor:
        a = torch.fft.rfft(rows.counted(left, width=self.width), dim=1)
        b = torch.fft.rfft(columns.counted(right, width=self.width), dim=1)
        convolved: Tensor = torch.fft.irfft(a * b, n=self.width, dim=1)
        return convolved


def trak_direction(
    blocks: Blocks, u: Direction, *, width: int, damping: float, seed: int, train_scale: bool
) -> Direction:
    """Returns v such that score_n is the own-path ∇ℓ_n · v.

    Args:
        blocks: a pass over the blocks whose gradients make Φ.
        u: gradient of the target loss.
        width: numbers in a sketch, k.
        damping: λ as a multiple of the mean eigenvalue of ΦᵀΦ/N [decided].
        seed: of the sketch.
        train_scale: whether the scale is a parameter.
    """
    sketch = TensorSketch.for_direction(u, width=width, seed=seed)
    moment = torch.zeros(width, width, dtype=torch.float64)
    pairs = 0
    for block in blocks():
        phi = sketch.of_pairs(block, train_scale=train_scale)
        moment += phi.T @ phi
        pairs += block.pairs
    moment /= max(pairs, 1)
    level = damping * moment.diagonal().mean()
    if not bool(level > 0):
        return u.zeros()
    factor, info = torch.linalg.cholesky_ex(moment + level * torch.eye(width, dtype=torch.float64))
    if int(info):
        raise SingularCurvature(
            f"TRAK's curvature of {width} numbers has no stable inverse at damping {damping:g}.",
            fix="raise the damping of the method `trak`.",
        )
    whitened = torch.cholesky_solve(sketch.of_direction(u)[:, None], factor)[:, 0]
    v = sketch.transposed(whitened, like=u)
    return v if train_scale else Direction(v.image, v.text, torch.zeros_like(v.log_scale))

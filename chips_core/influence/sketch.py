"""Random projections of the endpoint's parameter space (Johnson-Lindenstrauss), from a seed, never stored.

A sketch R keeps inner products on average: E[Ra·Rb] = a·b, with an error that falls as 1/√k. CHIPS in paper mode
inverts its curvature inside one (k = 512). Nothing per pair is ever sketched: (Rg)ᵀ(RMRᵀ + λI)⁻¹Ru = g·v with the one
direction v = Rᵀ(RMRᵀ + λI)⁻¹Ru, which the forward-mode pass scores like any other [derived].

k = 512 is *not* lossless on a flat spectrum (Spearman about .6 with the exact score): the default is no sketch.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from chips_core.errors import UsageError
from chips_core.influence.blocks import seeded
from chips_core.influence.curvature import LowRank, Solution
from chips_core.influence.endpoint import Direction
from chips_core.influence.factored import GradientSet


class Sketch(Protocol):
    """A linear map from the parameter space to k numbers."""

    @property
    def size(self) -> int:
        """The number of dimensions kept, k."""

    def project(self, v: Direction) -> Tensor:
        """Returns R v, (k,) float64."""

    def project_set(self, vectors: GradientSet) -> Tensor:
        """Returns R g_j for each vector, (J, k) float64."""

    def lift(self, z: Tensor, like: Direction) -> Direction:
        """Returns Rᵀ z."""


@dataclass(frozen=True)
class Rademacher:
    """Dense signs ±1/√k, each row from its own seed, so that how rows are batched cannot matter."""

    size: int = 512
    seed: int = 0

    def row(self, number: int, like: Direction) -> Direction:
        """Returns one row of R."""
        generator = seeded(self.seed, number)
        signs = torch.randint(0, 2, (like.size,), generator=generator, dtype=torch.int8).to(torch.float64)
        return like.from_flat((signs * 2 - 1) / math.sqrt(self.size))

    def project(self, v: Direction) -> Tensor:
        """Returns R v, (k,)."""
        return torch.stack([self.row(k, v).dot(v) for k in range(self.size)])

    def project_set(self, vectors: GradientSet) -> Tensor:
        """Returns R g_j for each vector, (J, k)."""
        return _project_by_rows(self, vectors)

    def lift(self, z: Tensor, like: Direction) -> Direction:
        """Returns Rᵀ z."""
        total = like.zeros(torch.float64)
        for k in range(self.size):
            total = total.axpy(z[k], self.row(k, like))
        return total


@dataclass(frozen=True)
class Sparse:
    """SJLT: each parameter adds, with a random sign, to `spread` of the k numbers; fast, as good in practice."""

    size: int = 512
    seed: int = 0
    spread: int = 4

    def _places(self, like: Direction) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.spread, like.size)
        signs = torch.randint(0, 2, shape, generator=generator, dtype=torch.int8).to(torch.float64) * 2 - 1
        return torch.randint(0, self.size, shape, generator=generator), signs / math.sqrt(self.spread)

    def project(self, v: Direction) -> Tensor:
        """Returns R v, (k,)."""
        places, signs = self._places(v)
        values = (signs * v.flat().double()).reshape(-1)
        return torch.zeros(self.size, dtype=torch.float64).index_add_(0, places.reshape(-1), values)

    def project_set(self, vectors: GradientSet) -> Tensor:
        """Returns R g_j for each vector, (J, k), one vector formed at a time."""
        eye = torch.eye(len(vectors), dtype=vectors.slopes.dtype)
        return torch.stack([self.project(vectors.combine(e)) for e in eye])

    def lift(self, z: Tensor, like: Direction) -> Direction:
        """Returns Rᵀ z."""
        places, signs = self._places(like)
        return like.from_flat((signs * z[places]).sum(0))


@dataclass(frozen=True)
class TwoSided:
    """Left G Rightᵀ for each head, as LoGRA does: the cheapest for rank-1 gradients; the scale is kept as it is.

    Half of `size` goes to each head, as `left` times size/2/left.
    """

    size: int = 512
    seed: int = 0
    left: int = 16

    def __post_init__(self) -> None:
        if self.size % (2 * self.left):
            raise UsageError(f"A two-sided sketch of {self.size} numbers.", fix=f"use a multiple of {2 * self.left}.")

    def _sides(self, shape: torch.Size, salt: int) -> tuple[Tensor, Tensor]:
        generator = seeded(self.seed, salt)
        right = self.size // 2 // self.left

        def signs(rows: int, columns: int) -> Tensor:
            drawn = torch.randint(0, 2, (rows, columns), generator=generator).to(torch.float64)
            return (drawn * 2 - 1) / math.sqrt(rows)

        return signs(self.left, shape[0]), signs(right, shape[1])

    def project(self, v: Direction) -> Tensor:
        """Returns R v, (k + 1,): the scale's entry last."""
        parts = []
        for salt, head in enumerate((v.image, v.text)):
            left, right = self._sides(head.shape, salt)
            parts.append((left @ head.double() @ right.T).reshape(-1))
        return torch.cat([*parts, v.log_scale.double().reshape(1)])

    def project_set(self, vectors: GradientSet) -> Tensor:
        """Returns R g_j for each vector, (J, k + 1)."""
        parts = []
        for salt, atoms in enumerate((vectors.image, vectors.text)):
            shape = torch.Size((atoms.left.shape[1], atoms.right.shape[1]))
            left, right = self._sides(shape, salt)
            parts.append(atoms.squeezed(left.to(atoms.left), right.to(atoms.right)).flatten(1).double())
        return torch.cat([*parts, vectors.slopes.double()[:, None]], dim=1)

    def lift(self, z: Tensor, like: Direction) -> Direction:
        """Returns Rᵀ z."""
        heads, half = [], self.size // 2
        for salt, head in enumerate((like.image, like.text)):
            left, right = self._sides(head.shape, salt)
            middle = z[salt * half : (salt + 1) * half].view(len(left), len(right))
            heads.append(left.T @ middle @ right)
        return Direction(heads[0], heads[1], z[-1])


@dataclass(frozen=True)
class Sketched:
    """A low-rank curvature M = UUᵀ inside a sketch: v = Rᵀ(RMRᵀ + λI)⁻¹Ru, λ measured in the sketch [paper]."""

    curvature: LowRank
    sketch: Sketch

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor]:
        Z = self.sketch.project_set(self.curvature.columns)  # (J, k)
        values, vectors = torch.linalg.eigh(Z.T @ Z)
        return values.clamp(min=0.0), vectors

    def trace(self) -> float:
        """Returns tr(RMRᵀ)."""
        return float(self._spectrum[0].sum())

    def solve(self, u: Direction, *, damping: float) -> Solution:
        """Returns v and the condition number inside the sketch."""
        values, vectors = self._spectrum
        if damping <= 0:
            raise UsageError("A sketched curvature needs a damping above zero.", fix="use the default share of .1.")
        z = vectors @ ((vectors.T @ self.sketch.project(u.to(torch.float64))) / (values + damping))
        condition = (float(values.max()) + damping) / damping
        return Solution(self.sketch.lift(z, u.to(torch.float64)), damping, condition, 0, 0.0)


def _project_by_rows(sketch: Rademacher, vectors: GradientSet) -> Tensor:
    like = Direction(
        vectors.image.left.new_zeros(vectors.image.left.shape[1], vectors.image.right.shape[1]),
        vectors.text.left.new_zeros(vectors.text.left.shape[1], vectors.text.right.shape[1]),
        vectors.slopes.new_zeros(()),
    )
    dtype = vectors.slopes.dtype
    return torch.stack([vectors.dots(sketch.row(k, like).to(dtype)).double() for k in range(sketch.size)], dim=1)

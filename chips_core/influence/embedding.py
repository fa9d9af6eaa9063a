"""Unit embeddings of one side of a pool, read in pieces and always in the same order, whatever the pool's order.

A pool may be far larger than memory (features are float16, possibly memory-mapped), so nothing here ever holds more
than one piece of unit vectors. A *position* is a row's place when rows are sorted by pair id: everything that depends
on an order (seeded draws, ties, k-means) works on positions, so that shuffling the pool changes no result.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.influence.blocks import Features
from chips_core.influence.endpoint import Heads
from chips_core.influence.kernel import unusable

PIECE = 4096  # rows a time; fixed, since another size would change the last bits of a product


@dataclass(frozen=True)
class Embeddings:
    """Unit embeddings by position.

    Attributes:
        features: (N, D) pre-projection features, any float type, perhaps memory-mapped.
        head: (P, D) linear layer, or None where the features are embeddings already.
        rows: (N,) row of each position; `rows_in_order` makes it.
    """

    features: Tensor
    head: Tensor | None
    rows: Tensor

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def take(self, positions: Tensor | slice) -> Tensor:
        """Returns the unit embeddings at `positions`, (n, P); refuses those without a finite length above 0."""
        rows = self.rows[positions]
        x = self.features[rows].to(self.dtype)
        if self.head is not None:
            x = x @ self.head.T
        lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        usable = (torch.isfinite(lengths) & (lengths > 0))[:, 0]
        if not bool(usable.all()):
            raise unusable(rows[~usable])
        unit: Tensor = x / lengths
        return unit

    @property
    def dtype(self) -> torch.dtype:
        """The head's precision; single where there is no head, double for double features."""
        if self.head is not None:
            return self.head.dtype
        return torch.promote_types(self.features.dtype, torch.float32)

    def pieces(self, size: int = PIECE) -> Iterator[tuple[slice, Tensor]]:
        """Yields (positions, unit embeddings) over all positions."""
        for start in range(0, len(self), size):
            piece = slice(start, min(start + size, len(self)))
            yield piece, self.take(piece)

    def subset(self, positions: Tensor) -> "Embeddings":
        """Returns the same for some positions, which become 0 .. n-1."""
        return Embeddings(self.features, self.head, self.rows[positions])


def rows_in_order(pairs: Features) -> Tensor:
    """Returns the row of each position: rows by ascending pair id, (N,)."""
    return torch.arange(len(pairs)) if pairs.rank is None else torch.argsort(pairs.rank)


def images_of(pairs: Features, heads: Heads) -> Embeddings:
    """Returns the unit image embeddings by position."""
    return Embeddings(pairs.image, heads.image, rows_in_order(pairs))


def texts_of(pairs: Features, heads: Heads) -> Embeddings:
    """Returns the unit text embeddings by position."""
    return Embeddings(pairs.text, heads.text, rows_in_order(pairs))


def back_to_rows(values: Tensor, *, rows: Tensor) -> Tensor:
    """Returns values given by position as values by row, (N,)."""
    out = torch.empty_like(values)
    out[rows] = values
    return out

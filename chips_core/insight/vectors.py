"""Embeddings of a pool, projected and normalised a few rows at a time, so that a million pairs need little memory.

Everything in this package reads vectors as `vectors[start:stop]`: a numpy array, a memory map and the classes here all
answer to that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from chips_core.errors import InputError
from chips_core.store import Features

Space = Literal["image", "text", "joint"]

CHUNK = 8192  # rows read and projected at once

Floats = NDArray[np.float32]


class Vectors(Protocol):
    """Rows of numbers that can be read in slices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    def __getitem__(self, rows: slice, /) -> Any:
        """Returns the rows of a slice as an array."""

    def __len__(self) -> int:
        """N."""


def embeddings_of(features: Features, *, space: Space) -> tuple["Vectors", NDArray[np.int64]]:
    """Returns the unit embeddings of the pairs that were encoded, and their row numbers among the kept pairs.

    Args:
        features: of a pool.
        space: by image, by caption, or by both.
    """
    rows = np.flatnonzero(features.done).astype(np.int64)
    image = Projected(Taken(features.image, rows), features.heads.image)
    text = Projected(Taken(features.text, rows), features.heads.text)
    spaces: dict[Space, Vectors] = {"image": image, "text": text, "joint": Joint(image, text)}
    return spaces[space], rows


@dataclass(frozen=True)
class Taken:
    """Some rows of an array or a memory map, read when they are asked for."""

    array: NDArray[Any]
    rows: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, D)."""
        return len(self.rows), self.array.shape[1]

    def __len__(self) -> int:
        """How many rows."""
        return len(self.rows)

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        """Returns the rows of a slice."""
        return np.asarray(self.array[self.rows[rows]])


@dataclass(frozen=True)
class Projected:
    """Features (N, width) seen through a head (D, width): the unit embeddings of the encoder's joint space."""

    features: Vectors
    head: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        return len(self.features), len(self.head)

    def __len__(self) -> int:
        """N."""
        return len(self.features)

    def __getitem__(self, rows: slice, /) -> Floats:
        """Returns unit embeddings (rows, D)."""
        features = np.asarray(self.features[rows], dtype=np.float32)
        return unit(features @ np.asarray(self.head, dtype=np.float32).T)


@dataclass(frozen=True)
class Joint:
    """Two embeddings of the same pairs laid side by side, each counting half: near means near in image and in text."""

    image: Vectors
    text: Vectors

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D of the image + D of the text)."""
        return len(self.image), self.image.shape[1] + self.text.shape[1]

    def __len__(self) -> int:
        """N."""
        return len(self.image)

    def __getitem__(self, rows: slice, /) -> Floats:
        """Returns unit rows."""
        both = [unit(np.asarray(part[rows], dtype=np.float32)) for part in (self.image, self.text)]
        return unit(np.concatenate(both, axis=1))


def unit(rows: Floats) -> Floats:
    """Returns the rows at length one; a row of zeros stays zeros, near nothing."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0)[:, None], dtype=np.float32)


def chunks(vectors: Vectors, *, size: int = CHUNK) -> Iterator[tuple[int, Floats]]:
    """Yields the first row's number and the unit rows of each slice; refuses what is not finite, by row number."""
    for start in range(0, len(vectors), size):
        rows = np.asarray(vectors[start : start + size], dtype=np.float32)
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise InputError(
                f"{len(bad)} of the vectors from row {start:,} on hold NaN or infinity, first row {start + bad[0]:,}.",
                fix="encode these pairs again, or leave them out.",
            )
        yield start, unit(rows)


def gathered(vectors: Vectors) -> Floats:
    """Returns all unit rows (N, D) in memory."""
    rows = np.empty(vectors.shape, dtype=np.float32)
    for start, part in chunks(vectors):
        rows[start : start + len(part)] = part
    return rows


def reduced(vectors: Vectors, *, dimensions: int, seed: int, sample: int = 50_000) -> Floats:
    """Returns the unit rows on the axes that carry most of them (N, at most `dimensions`), largest axis first.

    The axes are those of the second moment (not centred, so that inner products are kept as well as they can be), from
    a seeded sample of the rows. Signs are fixed, so that the same rows give the same picture.
    """
    rows, width = vectors.shape[0], vectors.shape[1]
    axes = _axes(vectors, seed=seed, sample=sample)[:, : min(dimensions, width)]
    low = np.empty((rows, axes.shape[1]), dtype=np.float32)
    for start, part in chunks(vectors):
        low[start : start + len(part)] = part @ axes
    return low


def _axes(vectors: Vectors, *, seed: int, sample: int) -> Floats:
    rows, width = vectors.shape[0], vectors.shape[1]
    chosen = np.zeros(rows, dtype=np.bool_)
    chosen[np.random.default_rng(seed).permutation(rows)[:sample]] = True
    moment = np.zeros((width, width), dtype=np.float64)
    for start, part in chunks(vectors):
        held = part[chosen[start : start + len(part)]]
        moment += (held.T @ held).astype(np.float64)
    _, axes = np.linalg.eigh(moment)
    axes = axes[:, ::-1]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(width)])
    return np.asarray(axes * np.where(signs == 0, 1.0, signs), dtype=np.float32)

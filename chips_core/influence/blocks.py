"""Which pairs are each other's negatives: seeded blocks, the same whatever the order, the chunks and the workers.

The negatives of a pair are part of the definition of its score [decided, methods.md §1]: blocks of B = 1,024 drawn
afresh R = 4 times, all results averaged. A plan's three numbers belong in the fingerprint of a run. Blocks are drawn
over the *ranks* of the pairs (their places when sorted by pair id), so that a pool read in another order gives the
same blocks in the same inner order, and so the same scores.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from chips_core.errors import InputError, UsageError


@dataclass(frozen=True)
class Features:
    """The cached features of N pairs, any float type, as tensors or maps of files; `len` is N."""

    image: Tensor  # (N, dv)
    text: Tensor  # (N, dt)
    rank: Tensor | None = None  # (N,) place of each row's pair id among the sorted ids; None: rows are in that order

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.text.ndim != 2 or len(self.image) != len(self.text):
            raise InputError(
                f"Image features {tuple(self.image.shape)} and text features {tuple(self.text.shape)} do not pair up.",
                fix="give one row of each for every pair.",
            )

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: Tensor) -> "Features":
        """Returns the features of some rows, in memory, their ranks renewed."""
        rank = None if self.rank is None else torch.argsort(torch.argsort(self.rank[rows]))
        return Features(self.image.index_select(0, rows), self.text.index_select(0, rows), rank)


@dataclass(frozen=True)
class BlockPlan:
    """How a pool is cut into blocks of negatives."""

    size: int = 1024  # B
    repeats: int = 4  # R reshuffles, averaged
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 2 or self.repeats < 1 or not 0 <= self.seed < 2**31:
            raise UsageError(
                f"Blocks of {self.size}, {self.repeats} repeats, seed {self.seed} cannot be drawn.",
                fix="use a size of 2 or more, one repeat or more, and a seed from 0 to 2147483647.",
            )

    def rounds(self, pairs: int) -> int:
        """Returns how often a pool of that many pairs is cut: once when it fits into one block."""
        return 1 if self.block_count(pairs) == 1 else self.repeats

    def block_count(self, pairs: int) -> int:
        """Returns the number of blocks in one round; sizes differ by at most one, and none is below two."""
        if pairs < 2:
            raise InputError(
                f"{pairs} pair{'s' if pairs != 1 else ''} to score: a contrastive score needs two or more.",
                fix="add pairs; a pair's score is measured against the other pairs of its block.",
            )
        return max(1, min(-(-pairs // self.size), pairs // 2))

    def first(self, features: Features, count: int) -> list[Tensor]:
        """Returns the rows of the first `count` blocks, of as many as a round has: disjoint, drawn by the seed."""
        count = min(count, self.block_count(len(features)))
        return list(islice(self.rows(len(features), rank=features.rank), count))

    def rows(self, pairs: int, *, rank: Tensor | None = None) -> Iterator[Tensor]:
        """Yields the row numbers of one block after another, round after round.

        Args:
            pairs: N.
            rank: (N,) place of each row's pair id among the sorted ids; rows are in that order when not given.
        """
        by_rank = torch.arange(pairs) if rank is None else _rows_by_rank(rank, pairs)
        count, rounds = self.block_count(pairs), self.rounds(pairs)
        for repeat in range(rounds):
            order = torch.randperm(pairs, generator=seeded(self.seed, repeat)) if count > 1 else torch.arange(pairs)
            yield from torch.tensor_split(by_rank[order], count)


def seeded(seed: int, stream: int) -> torch.Generator:
    """Returns the generator of one of many independent streams of a seed.

    torch seeds its CPU generator with the low 32 bits only, so that `seed + (stream << 32)` would give every stream
    the same numbers.
    """
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + stream * 0x85EBCA77) % 2**32)


def _rows_by_rank(rank: Tensor, pairs: int) -> Tensor:
    by_rank = torch.argsort(rank)
    if rank.shape != (pairs,) or not bool((rank[by_rank] == torch.arange(pairs)).all()):
        raise UsageError(f"The ranks of {pairs} pairs are not 0 to {pairs - 1}, each once.", fix="rank the sorted ids.")
    return by_rank

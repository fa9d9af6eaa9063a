"""Candidates: the pairs that a selection may be made of, as arrays, and what keeps some of them out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chips_core.errors import UsageError

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
HigherIs = Literal["suspect", "valuable", "neutral"]


@dataclass(frozen=True, eq=False)
class ScoreColumn:
    """One score of every pair, (N,), NaN where it has none; `signed` where zero divides good from bad."""

    values: Floats
    higher_is: HigherIs
    signed: bool = False

    @property
    def worth(self) -> Floats:
        """The values turned so that high is valuable."""
        return -self.values if self.higher_is == "suspect" else self.values


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Unit embeddings of every pair, (N, D), rows without features being zeros; of the classes' prompts by label."""

    image: NDArray[Any]
    text: NDArray[Any]
    prompts: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The kept pairs of a pool as a selection sees them; row i is row i of the features.

    Attributes:
        ids: (N,) pair ids.
        readable: (N,) pairs of the part to choose from that have features (and scores, where there is a run).
        names: (N,) columns of names by column: label, source, modality, body_part, group; "" says nothing.
        scores: by method name, the column that the method ranks by.
        columns: by column name, every score there is.
        barred: (N,) by reason, what is never chosen: verdicts, leaks.
        confirmed: (N,) pairs that a person found correct.
        embeddings: for the methods that look at features.
    """

    ids: NDArray[Any]
    readable: Mask
    names: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    scores: Mapping[str, ScoreColumn] = field(default_factory=dict)
    columns: Mapping[str, ScoreColumn] = field(default_factory=dict)
    barred: Mapping[str, Mask] = field(default_factory=dict)
    confirmed: Mask | None = None
    embeddings: Embeddings | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def eligible(self) -> Mask:
        """(N,) what may be chosen."""
        found = self.readable.copy()
        for mask in self.barred.values():
            found &= ~mask
        return found

    def kept_out(self) -> dict[str, int]:
        """Returns how many readable pairs each reason keeps out, each pair under its first reason."""
        left, counts = self.readable.copy(), {}
        for reason, mask in self.barred.items():
            counts[reason] = int(np.count_nonzero(left & mask))
            left &= ~mask
        return counts

    def id_rank(self) -> Rows:
        """Returns the place of each pair's id among the sorted ids, (N,): what breaks ties."""
        rank = np.empty(len(self), np.int64)
        rank[np.argsort(self.ids.astype(str), kind="stable")] = np.arange(len(self))
        return rank

    def labels(self) -> NDArray[Any]:
        """Returns the classes, (N,), "" where there is none."""
        return self.names.get("label", np.full(len(self), "", dtype=object))

    def score(self, method: str) -> ScoreColumn:
        """Returns what a method ranks by."""
        name = next((n for n in (method, f"{method}_audit", f"{method}_paper") if n in self.scores), None)
        if name is None or self.scores[name].higher_is == "neutral":
            there = ", ".join(sorted(self.scores)) or "none"
            raise UsageError(
                f"No scores of a method '{method[:40]}' are there to choose by (scored: {there}).",
                fix=f"run: chips score POOL --method {method[:40]}",
            )
        return self.scores[name]


def leaks(*, groups: NDArray[Any], hashes: NDArray[Any], held_out: Mask, near: Rows | None = None) -> dict[str, Mask]:
    """Returns, by reason, the pairs outside the target and test sets that share something with them, (N,) each.

    Args:
        groups: (N,) patients, "" where unknown.
        hashes: (N,) SHA-256 of the images, "" where unknown.
        held_out: (N,) the pairs of the target and the test set.
        near: (N,) the number of each pair's group of nearly equal images, -1 for none.
    """
    found = {
        "patient in the target or test set": _shared(groups, held_out, none=""),
        "image in the target or test set": _shared(hashes, held_out, none=""),
    }
    if near is not None:
        found["nearly the same image in the target or test set"] = _shared(near, held_out, none=-1)
    return found


def _shared(values: NDArray[Any], held_out: Mask, *, none: str | int) -> Mask:
    there = np.asarray(values != none, dtype=np.bool_)
    if not (there & held_out).any():
        return np.zeros(len(values), dtype=np.bool_)
    codes = np.unique(values, return_inverse=True)[1]
    touched = np.zeros(int(codes.max()) + 1, dtype=np.bool_)
    touched[codes[there & held_out]] = True
    return np.asarray(there & ~held_out & touched[codes])

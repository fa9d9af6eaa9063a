"""First seen where: a growing set of 64-bit hashes with the row each was first met in, 16 bytes a row.

Sorted runs are merged when they are of equal size, as a log-structured merge tree does, so that adding a million
hashes costs a few sorts. Two different texts among ten million share a 64-bit hash with a probability of 3e-6.
"""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]


def hash_of(*parts: str) -> int:
    """Returns a 64-bit hash of texts; their lengths are hashed too, so that ("ab", "c") is not ("a", "bc")."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return int.from_bytes(digest.digest(), "little")


class FirstSeen:
    """Remembers the first row of every hash."""

    def __init__(self) -> None:
        self._runs: list[tuple[Hashes, Rows]] = []  # longest first, each sorted by hash, no hash in two runs

    def add(self, hashes: list[int], rows: list[int]) -> list[int]:
        """Returns the row in which each hash was first seen: its own when it is new."""
        if not hashes:
            return []
        unique, first, inverse = np.unique(np.array(hashes, dtype=np.uint64), return_index=True, return_inverse=True)
        found: Rows = np.array(rows, dtype=np.int64)[first]
        new = np.ones(len(unique), dtype=bool)
        for run, where in self._runs:
            at = np.minimum(np.searchsorted(run, unique), len(run) - 1)
            hit = run[at] == unique
            found[hit] = where[at[hit]]
            new &= ~hit
        self._keep(unique[new], found[new])
        answer: list[int] = found[inverse].tolist()
        return answer

    def _keep(self, hashes: Hashes, rows: Rows) -> None:
        if not len(hashes):
            return
        while self._runs and len(self._runs[-1][0]) <= len(hashes):
            other, where = self._runs.pop()
            order: npt.NDArray[Any] = np.argsort(np.concatenate([other, hashes]), kind="stable")
            hashes = np.concatenate([other, hashes])[order]
            rows = np.concatenate([where, rows])[order]
        self._runs.append((hashes, rows))

"""Which pairs lie nearest to which, by the cosine of their embeddings.

Up to a few thousand pairs everything is compared and sorted; up to `EXACT` faiss compares everything; beyond that an
inverted file looks into the nearest cells only, and says so (`exact` is False). Similarities are rounded to 1e-6 and
equal ones ordered by row, so that copies come in order and the answer does not depend on how a product was cut up.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chips_core.insight.vectors import Floats, Vectors, gathered

SORTED = 3000  # up to here: every pair with every pair, sorted in full
EXACT = 40_000  # up to here: every pair with every pair, by faiss
SPARE = 8  # neighbours asked for beyond k, so that near ties at the end are put in order
RESOLUTION = 1e6
SEED = 20260101  # of the inverted file's cells; they change which far neighbours are missed, nothing else


@dataclass(frozen=True)
class Neighbours:
    """The neighbours of each of M queries, nearest first.

    Attributes:
        rows: (M, k) row numbers.
        similarity: (M, k) cosines.
        exact: whether no nearer neighbour can have been missed.
    """

    rows: NDArray[np.int64]
    similarity: Floats
    exact: bool


def neighbours(vectors: Vectors, *, k: int, exact: bool | None = None) -> Neighbours:
    """Returns the k nearest others of every row (N, min(k, N - 1)); a row is never its own neighbour.

    Args:
        vectors: (N, D), normalised here; a row of zeros has similarity 0 to all.
        k: how many.
        exact: True to compare everything whatever the size, None to decide by the size.
    """
    rows = gathered(vectors)
    k = max(0, min(k, len(rows) - 1))
    if k == 0:
        empty = np.zeros((len(rows), 0))
        return Neighbours(empty.astype(np.int64), empty.astype(np.float32), True)
    everything = len(rows) <= EXACT if exact is None else exact
    wanted = min(k + 1 + SPARE, len(rows))
    found = _candidates(rows, rows, k=wanted, everything=everything)
    own = np.arange(len(rows))[:, None]
    return _ranked(rows, rows, found, k=k, leave_out=own, exact=everything)


def nearest(queries: Vectors, vectors: Vectors, *, k: int, exact: bool | None = None) -> Neighbours:
    """Returns the k nearest rows of `vectors` (N, D) for every query (M, D)."""
    asked, rows = gathered(queries), gathered(vectors)
    k = max(0, min(k, len(rows)))
    if k == 0 or not len(asked):
        empty = np.zeros((len(asked), k))
        return Neighbours(empty.astype(np.int64), empty.astype(np.float32), True)
    few = len(asked) * 8 < len(rows)  # building cells does not pay for a handful of questions
    everything = (few or len(rows) <= EXACT) if exact is None else exact
    found = _candidates(asked, rows, k=min(k + SPARE, len(rows)), everything=everything)
    return _ranked(asked, rows, found, k=k, leave_out=None, exact=everything)


def _candidates(queries: Floats, rows: Floats, *, k: int, everything: bool) -> NDArray[np.int64]:
    """Returns (M, k) row numbers, -1 where an inverted file found fewer."""
    if everything and len(rows) <= SORTED:
        return _sorted(queries, rows, k=k)
    import faiss

    index = faiss.IndexFlatIP(rows.shape[1]) if everything else _cells(faiss, rows)
    index.add(rows)
    return np.asarray(index.search(queries, k)[1], dtype=np.int64)


def _sorted(queries: Floats, rows: Floats, *, k: int) -> NDArray[np.int64]:
    found = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), 1024):
        similarity = _rounded(queries[start : start + 1024] @ rows.T)
        found[start : start + 1024] = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return found


def _cells(faiss: Any, rows: Floats) -> Any:
    """Returns an untouched inverted file, its cells trained on a seeded sample."""
    count = int(min(4096, 2 * len(rows) ** 0.5))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(rows.shape[1]), rows.shape[1], count, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = SEED
    index.cp.niter = 8
    index.cp.max_points_per_centroid = 64
    index.train(rows)
    index.nprobe = max(8, count // 20)
    return index


def _ranked(
    queries: Floats,
    rows: Floats,
    found: NDArray[np.int64],
    *,
    k: int,
    leave_out: NDArray[np.int64] | None,
    exact: bool,
) -> Neighbours:
    """Returns the k best candidates by (similarity, row), measured anew so that all engines give the same numbers."""
    best = np.empty((len(found), k), dtype=np.int64)
    cosine = np.empty((len(found), k), dtype=np.float32)
    for start in range(0, len(found), 2048):
        part = found[start : start + 2048]
        measured = np.einsum("ij,ikj->ik", queries[start : start + 2048], rows[part])
        measured = np.where(part < 0, -2.0, _rounded(measured))
        if leave_out is not None:
            measured[part == leave_out[start : start + 2048]] = -3.0
        order = np.lexsort((part, -measured), axis=1)[:, :k]
        best[start : start + 2048] = np.take_along_axis(part, order, axis=1)
        cosine[start : start + 2048] = np.take_along_axis(measured, order, axis=1)
    return Neighbours(best, cosine, exact)


def _rounded(similarity: NDArray[Any]) -> NDArray[np.float64]:
    return np.rint(similarity.astype(np.float64) * RESOLUTION) / RESOLUTION

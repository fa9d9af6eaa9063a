"""Finding pairs: by id, by words in captions, by meaning. Every answer is row numbers, best first.

By meaning: a text or an image is embedded by the pool's own encoder and compared with the pool's embeddings, so that
searching also shows what the audited model understands ("no pneumothorax" beside "pneumothorax").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chips_core.insight.neighbours import nearest
from chips_core.insight.vectors import Floats, Vectors

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """Rows found by meaning, best first.

    Attributes:
        rows: (k,) row numbers.
        similarity: (k,) cosines.
    """

    rows: Rows
    similarity: Floats


def by_id(pair_ids: pa.ChunkedArray | pa.Array, wanted: str) -> Rows:
    """Returns the pair with exactly this id first, then those whose ids begin with it, then those that hold it."""
    if not wanted:
        return np.zeros(0, dtype=np.int64)
    ids = pa.chunked_array([pair_ids]) if isinstance(pair_ids, pa.Array) else pair_ids
    tests = (pc.equal(ids, wanted), pc.starts_with(ids, wanted), pc.match_substring(ids, wanted))
    return any_of(*(_rows(test) for test in tests))


def by_words(captions: pa.ChunkedArray | pa.Array, words: str) -> Rows:
    """Returns the pairs whose captions hold every word, in any case and any order, in pool order.

    A word is matched inside words too: `effusion` finds `effusions`. Text in double quotes is one word. Nothing is a
    pattern: `*` and `%` mean themselves.
    """
    wanted = split_words(words)
    texts = pa.chunked_array([captions]) if isinstance(captions, pa.Array) else captions
    if not wanted:
        return np.zeros(0, dtype=np.int64)
    folded = pc.utf8_lower(texts)
    held = pc.match_substring(folded, wanted[0])
    for word in wanted[1:]:
        held = pc.and_(held, pc.match_substring(folded, word))
    return _rows(held)


def split_words(words: str) -> list[str]:
    """Returns the lower-case words of a query; what stands in double quotes stays together."""
    parts = words.lower().split('"')
    found: list[str] = []
    for number, part in enumerate(parts):
        quoted = number % 2 == 1 and number < len(parts) - 1
        found += [part.strip()] if quoted else part.split()
    return [word for word in found if word]


def by_meaning(query: Floats, vectors: Vectors, *, k: int, among: NDArray[np.bool_] | None = None) -> Found:
    """Returns the k pairs whose vectors (N, D) are nearest to a query (D,), such as an embedded text.

    Args:
        query: need not be of length one.
        vectors: the pool's embeddings of images or of captions.
        k: how many.
        among: (N,) pairs to look at; None for all.
    """
    rows = np.arange(len(vectors)) if among is None else np.flatnonzero(among)
    kept = vectors if among is None else _taken(vectors, rows)
    found = nearest(np.asarray(query, dtype=np.float32).reshape(1, -1), kept, k=k, exact=True)
    return Found(rows[found.rows[0]], found.similarity[0])


def similar_to(row: int, vectors: Vectors, *, k: int, among: NDArray[np.bool_] | None = None) -> Found:
    """Returns the k pairs whose vectors are nearest to those of one pair, itself left out."""
    others = np.ones(len(vectors), dtype=np.bool_) if among is None else among.copy()
    others[row] = False
    return by_meaning(np.asarray(vectors[row : row + 1])[0], vectors, k=k, among=others)


def _rows(mask: pa.ChunkedArray) -> Rows:
    return np.flatnonzero(mask.to_numpy()).astype(np.int64)


def _taken(vectors: Vectors, rows: Rows) -> Floats:
    """Returns some rows of vectors that are read in slices."""
    taken = np.empty((len(rows), vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(vectors), 8192):
        first, last = np.searchsorted(rows, [start, start + 8192])
        if first < last:
            taken[first:last] = np.asarray(vectors[start : start + 8192])[rows[first:last] - start]
    return taken


def any_of(*found: Sequence[int] | Rows) -> Rows:
    """Returns the rows of several searches without repeats, in the order in which they were first found."""
    rows: Rows = np.concatenate([np.zeros(0, dtype=np.int64), *(np.asarray(part, dtype=np.int64) for part in found)])
    _, first = np.unique(rows, return_index=True)
    return rows[np.sort(first)]

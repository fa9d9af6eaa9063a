"""Duplicates and leaks: equal images, nearly equal images, and what should not be shared between pairs or splits.

Nearly equal means that two 256-bit perceptual hashes differ in at most `NEAR` bits. On 9,424 real medical images
pairs up to 24 bits apart were the same picture, saved, cropped or annotated anew; from 33 bits on neighbouring slices
and other patients came in. Embeddings alone cannot tell these apart (two chest X-rays are close in meaning), so they
serve to find candidates in large pools and the hash decides.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import sparse

from chips_core.insight.neighbours import neighbours
from chips_core.insight.vectors import Vectors

BITS = 256
NEAR = 24  # bits of 256
LIKELY = 0.9  # cosine from which two images are worth comparing
COMPARED = 200_000  # distinct hashes up to which all are compared with all

Hash = NDArray[np.uint8]


@dataclass(frozen=True)
class Group:
    """Pairs that share an image or a patient.

    Attributes:
        rows: row numbers, ascending, at least two.
        kind: `exact` the same bytes, `near` nearly the same picture, `patient` the same group.
    """

    rows: tuple[int, ...]
    kind: Literal["exact", "near", "patient"]


@dataclass(frozen=True)
class Duplicates:
    """What was found among the images of a pool; every list is ordered by first row.

    Attributes:
        exact: groups of equal images.
        near: groups of nearly equal images, equal ones included where others join them.
        other_captions: those groups, exact or near, whose captions differ: one of the captions is often wrong.
        other_labels: those whose labels differ.
        leaks: those with rows in more than one split.
        patients: patients with rows in more than one split.
    """

    exact: tuple[Group, ...]
    near: tuple[Group, ...]
    other_captions: tuple[Group, ...]
    other_labels: tuple[Group, ...]
    leaks: tuple[Group, ...]
    patients: tuple[Group, ...]


def find_duplicates(
    *,
    sha256: Sequence[str],
    captions: Sequence[str],
    labels: Sequence[str],
    splits: Sequence[str],
    patients: Sequence[str],
    near: Sequence[Group] = (),
) -> Duplicates:
    """Returns the findings of a pool from its columns (N,) and the near groups, if they were looked for."""
    exact = equal_groups(sha256)
    groups = _widest([*near, *exact])
    return Duplicates(
        exact=exact,
        near=tuple(near),
        other_captions=differing(groups, [_folded(caption) for caption in captions]),
        other_labels=differing(groups, labels),
        leaks=differing(groups, splits),
        patients=differing(equal_groups(patients, kind="patient"), splits),
    )


def equal_groups(values: Sequence[str], *, kind: Literal["exact", "patient"] = "exact") -> tuple[Group, ...]:
    """Returns the groups of rows with the same value; an empty value is no value."""
    rows = defaultdict(list)
    for row, value in enumerate(values):
        if value:
            rows[value].append(row)
    return tuple(Group(tuple(held), kind) for held in rows.values() if len(held) > 1)


def differing(groups: Iterable[Group], values: Sequence[str]) -> tuple[Group, ...]:
    """Returns the groups within which a column has more than one value; empty values do not count."""
    return tuple(group for group in groups if len({values[row] for row in group.rows} - {""}) > 1)


def image_hash(image: Image.Image) -> Hash:
    """Returns the 256-bit perceptual hash of an image, (32,) bytes; the same for slightly changed copies."""
    import imagehash

    return np.packbits(imagehash.phash(image.convert("L"), hash_size=16).hash.ravel())


def near_by_hash(hashes: Hash, *, known: NDArray[np.bool_] | None = None, bits: int = NEAR) -> tuple[Group, ...]:
    """Returns the groups of nearly equal images, from all hashes (N, 32); for pools up to `COMPARED` distinct images.

    Args:
        hashes: of every image.
        known: (N,) rows that have an image; None for all.
        bits: how many bits of 256 may differ.
    """
    import faiss

    rows: NDArray[np.int64] = np.arange(len(hashes)) if known is None else np.flatnonzero(known)
    if not len(rows):
        return ()
    distinct, at = np.unique(hashes[rows], axis=0, return_inverse=True)
    index = faiss.IndexBinaryFlat(BITS)
    index.add(distinct)
    ends, _, others = index.range_search(distinct, bits + 1)  # strictly below
    counts: NDArray[np.int64] = ends[1:].astype(np.int64) - ends[:-1].astype(np.int64)
    ones = np.repeat(np.arange(len(distinct)), counts)
    return _components(ones, others.astype(np.int64), rows=rows, at=at.ravel(), nodes=len(distinct))


def near_by_meaning(
    vectors: Vectors, *, hash_of: Callable[[int], Hash | None], k: int = 10, bits: int = NEAR
) -> tuple[Group, ...]:
    """Returns the groups of nearly equal images among the k nearest in meaning; opens only the images worth opening.

    Args:
        vectors: (N, D) embeddings of the images.
        hash_of: gives the hash of a row's image, None when it cannot be read.
        k: how many neighbours of each are looked at.
        bits: how many bits of 256 may differ.
    """
    near = neighbours(vectors, k=k)
    likely = near.similarity >= LIKELY
    ones = np.repeat(np.arange(len(near.rows)), likely.sum(axis=1))
    others = near.rows[likely]
    hashes = {int(row): hash_of(int(row)) for row in np.union1d(ones, others)}
    same = np.array([_close(hashes[int(a)], hashes[int(b)], bits=bits) for a, b in zip(ones, others, strict=True)])
    same = same.astype(np.bool_)
    rows = np.arange(len(vectors))
    return _components(ones[same], others[same], rows=rows, at=rows, nodes=len(rows))


def _close(one: Hash | None, other: Hash | None, *, bits: int) -> bool:
    if one is None or other is None:
        return False
    return int(np.bitwise_count(one ^ other).sum()) <= bits


def _components(
    ones: NDArray[np.int64], others: NDArray[np.int64], *, rows: NDArray[np.int64], at: NDArray[np.int64], nodes: int
) -> tuple[Group, ...]:
    """Returns the connected groups of two or more rows; row i sits at node at[i]."""
    graph = sparse.coo_matrix((np.ones(len(ones), dtype=np.int8), (ones, others)), shape=(nodes, nodes))
    _, number = sparse.csgraph.connected_components(graph, directed=False)
    held = defaultdict(list)
    for row, component in zip(rows.tolist(), number[at].tolist(), strict=True):
        held[component].append(row)
    return tuple(Group(tuple(group), "near") for group in held.values() if len(group) > 1)


def _widest(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Returns the groups in order of first row without those that lie wholly inside an earlier given one."""
    inside: dict[int, set[int]] = {}
    kept = []
    for group in groups:
        held = set(group.rows)
        if held <= inside.get(group.rows[0], set()):
            continue
        kept.append(group)
        for row in group.rows:
            inside.setdefault(row, held)
    return tuple(sorted(kept, key=lambda group: group.rows))


def _folded(caption: str) -> str:
    """Returns a caption without what does not make it another one: case, runs of spaces, a final stop."""
    return " ".join(caption.casefold().split()).rstrip(".")

"""What lies near one pair: the nearest images, and the captions that would fit its image better than its own.

Everything is compared with everything by one matrix product a pair, which takes milliseconds up to `LARGEST` pairs;
of a larger pool a seeded draw of that many is compared, and the answer says so.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chips_core.insight.vectors import Floats, Projected, Taken, gathered, unit
from chips_core.store import Features, Pool

LARGEST = 200_000
SEED = 20260101  # of the draw
IMAGES, CAPTIONS = 5, 3
SAME = 1e-5  # cosines nearer than this are equal
REMEMBERED = 256  # answers kept: the pairs just seen and the next ones

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class BetterCaption:
    """A caption of the pool that fits an image better than its own: a row that carries it, and how many pairs do."""

    row: int
    similarity: float
    pairs: int


@dataclass(frozen=True)
class Near:
    """What lies near one pair.

    Attributes:
        rows: the nearest other images, nearest first, as rows of the features.
        similarity: their cosines.
        own: the cosine of its image with its own caption.
        better: how many different captions fit its image better.
        captions: how many different captions were compared.
        best: the best of them, best first.
        drawn: whether only a draw of the pool was compared.
    """

    rows: tuple[int, ...]
    similarity: tuple[float, ...]
    own: float
    better: int
    captions: int
    best: tuple[BetterCaption, ...]
    drawn: bool


class Nearby:
    """The embeddings of a pool, ready to answer for one pair at a time; safe for several threads."""

    def __init__(self, features: Features, captions: "pd.Series[str]", *, largest: int = LARGEST) -> None:
        self._features = features
        done = np.flatnonzero(features.done).astype(np.int64)
        self._drawn = len(done) > largest
        if self._drawn:
            done = np.sort(np.random.default_rng(SEED).choice(done, size=largest, replace=False))
        self._done = features.done
        self._rows = done
        self._images = gathered(Projected(Taken(features.image, done), features.heads.image))
        self._code_of, first, self._carried = _distinct(captions, done)
        self._first = done[first]
        self._texts = gathered(Projected(Taken(features.text, self._first), features.heads.text))
        self._captions = captions
        self._answers: OrderedDict[int, Near] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, row: int) -> Near | None:
        """Returns what lies near the pair in a row of the features; None when the pair is not encoded."""
        if not 0 <= row < len(self._done) or not self._done[row]:
            return None
        with self._lock:
            if row in self._answers:
                self._answers.move_to_end(row)
                return self._answers[row]
        near = self._compare(row)
        with self._lock:
            self._answers[row] = near
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        return near

    def prepare(self, rows: Iterable[int]) -> None:
        """Finds the answers of the pairs that come next, so that they are there when asked for."""
        for row in rows:
            self.of(row)

    def _compare(self, row: int) -> Near:
        features = self._features
        image = _embedded(features.image, row, head=features.heads.image)
        own = float(image @ _embedded(features.text, row, head=features.heads.text))
        likeness = np.where(self._rows == row, -2.0, self._images @ image)
        order = _best(likeness, count=min(IMAGES, int((self._rows != row).sum())))
        fit = self._texts @ image
        code = self._code_of.get(str(self._captions.iloc[row]), -1)
        better = fit > own + SAME
        if code >= 0:
            better[code] = False
        places = _best(np.where(better, fit, -2.0), count=min(CAPTIONS, int(better.sum())))
        return Near(
            rows=tuple(int(self._rows[i]) for i in order),
            similarity=tuple(float(likeness[i]) for i in order),
            own=own,
            better=int(better.sum()),
            captions=len(fit),
            best=tuple(BetterCaption(int(self._first[i]), float(fit[i]), int(self._carried[i])) for i in places),
            drawn=self._drawn,
        )


def nearby_of(pool: Pool, *, features: str | None = None) -> Nearby:
    """Returns the neighbourhood of a pool's pairs by its newest features, or those named; reads no image."""
    return Nearby(pool.features(features, verify=False), pool.kept(["caption"])["caption"])


def _distinct(captions: "pd.Series[str]", rows: Rows) -> tuple[dict[str, int], Rows, Rows]:
    """Returns the code of each different caption, the first place that carries it, and how many do."""
    codes, values = pd.factorize(captions.iloc[rows])
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return {str(value): code for code, value in enumerate(values)}, first.astype(np.int64), counts.astype(np.int64)


def _embedded(features: NDArray[np.generic], row: int, *, head: Floats) -> Floats:
    embedded: Floats = unit(np.asarray(features[row : row + 1], dtype=np.float32) @ np.asarray(head, np.float32).T)[0]
    return embedded


def _best(values: NDArray[np.floating], *, count: int) -> Rows:
    """Returns the places of the largest values, equal ones in order."""
    if count <= 0:
        return np.zeros(0, dtype=np.int64)
    rounded = -np.rint(np.asarray(values, dtype=np.float64) / SAME)
    limit = np.partition(rounded, count - 1)[count - 1]
    held = np.flatnonzero(rounded <= limit)
    return held[np.argsort(rounded[held], kind="stable")][:count].astype(np.int64)

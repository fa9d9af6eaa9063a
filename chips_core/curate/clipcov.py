"""ClipCov: a subset whose image-text cross-covariance, class by class, is close to that of all pairs.

Joshi, Jain, Payani and Mirzasoleiman, "Data-Efficient Contrastive Language-Image Pretraining", AISTATS 2024. Within a
class c, with s_ij the cosine of centred image i and centred text j, set to 0 where it is not above the threshold
(methods.md §5; centring both by the means of all candidates [decided]):

    score_i = cross_i + 2 e_i + ls_i / 2 - (itc_i + tic_i)
    cross_i = 1/|V_c| Σ_j (s_ij + s_ji)     e_i = s_ii without threshold     ls_i = cos(text_i, class prompt)
    itc_i, tic_i = cosine of image_i (text_i) with the mean text (image) of the other classes

The best pair of all classes is taken, again and again. After some picks of a class, all of that class lose what the
new picks already cover: 1/|V_c| Σ_new (s_ij + s_ji), and, the same for all of the class, 1/|V_c| Σ_new cross_j and
1/(2|V_c|) Σ_new ls_j. The released notebook does so after every 200 picks, which a class of some hundred pairs never
sees; so here after picks of a fiftieth of the class, and 200 at most [decided, measured]. It also subtracts the second
term over *all* earlier picks each time, and starts one pick early; `released=True` does as it does. Without a
threshold every sum over j is one inner product with a running sum: O(n·d) instead of O(n²·d).
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chips_core.errors import InputError

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
MOST_PICKS = 200  # between two updates of a class's scores, as released
PARTS = 50  # of a class; one is picked between two updates
BLOCK = 2048  # texts that a class is compared with at once
AT_ONCE = 8192  # rows summed at once


@dataclass(frozen=True)
class ClipCovSettings:
    """How ClipCov chooses.

    Attributes:
        threshold: similarities not above it count nothing; None counts all as they are, which is fast.
        refresh: picks of a class between two updates of its scores; None for a fiftieth of the class, 1 to 200.
        released: as the authors' notebook does it.
    """

    threshold: float | None = 0.0
    refresh: int | None = None
    released: bool = False

    def refresh_of(self, size: int) -> int:
        """Returns the picks between two updates of a class of so many pairs."""
        if self.refresh is not None:
            return self.refresh
        return MOST_PICKS if self.released else min(MOST_PICKS, max(1, size // PARTS))


def clipcov(
    image: NDArray[Any],
    text: NDArray[Any],
    *,
    rows: Rows,
    classes: NDArray[Any],
    count: int,
    prompts: Mapping[str, NDArray[np.float32]] | None = None,
    settings: ClipCovSettings | None = None,
) -> Rows:
    """Returns `count` of the rows in the order in which they are taken; the choice of fewer begins that of more.

    Args:
        image: (N, D) unit embeddings; any floats.
        text: (N, D) likewise.
        rows: (n,) the candidates, ties going to the earlier one.
        classes: (n,) the class of each candidate.
        count: how many to take, at most n.
        prompts: (D,) by class; a class without one has ls = 0.
        settings: see `ClipCovSettings`.
    """
    settings = settings or ClipCovSettings()
    if not len(rows) or count <= 0:
        return np.empty(0, np.int64)
    names, codes = np.unique(classes, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    centre = _Centres(image, text, rows=rows, codes=codes)
    known = prompts or {}
    groups = [
        _Class(
            image,
            text,
            rows=rows[m],
            places=m,
            number=c,
            centre=centre,
            prompt=known.get(str(names[c])),
            settings=settings,
        )
        for c, m in enumerate(members)
    ]
    return rows[_greedy(groups, count=min(count, len(rows)), settings=settings)]


def cross_covariance_gap(
    image: NDArray[Any],
    text: NDArray[Any],
    *,
    rows: Rows,
    chosen: Rows,
    classes: NDArray[Any],
    of_sums: bool = False,
) -> float:
    """Returns how far the classes' cross-covariances of the chosen are from those of all, as a share of the latter.

    The root of Σ_c |V_c| ‖C_c(chosen) - C_c(all)‖² over the same with C_c(all) alone (Frobenius); a class of which
    nothing was chosen counts with C = 0. Both are centred by the means of all rows. C_c(chosen) is the mean over the
    chosen; with `of_sums` their sum through |V_c|, the part of the whole that they hold: what ClipCov's gain speaks of.
    """
    middle = [np.asarray(part[rows], np.float32).mean(0) for part in (image, text)]
    picked = np.isin(rows, chosen)
    gap = whole = 0.0
    for name in np.unique(classes):
        held = classes == name
        full = _covariance(image, text, rows[held], middle)
        part = _covariance(image, text, rows[held & picked], middle) if (held & picked).any() else np.zeros_like(full)
        part = part * ((held & picked).sum() / held.sum()) if of_sums else part
        gap += held.sum() * float(np.square(full - part).sum())
        whole += held.sum() * float(np.square(full).sum())
    return float(np.sqrt(gap / whole)) if whole else 0.0


class _Centres:
    """The mean embeddings of all candidates and of each class, in one reading."""

    def __init__(self, image: NDArray[Any], text: NDArray[Any], *, rows: Rows, codes: Rows) -> None:
        self.sizes = np.bincount(codes).astype(np.float64)
        sums = [np.zeros((len(self.sizes), part.shape[1])) for part in (image, text)]
        by_class = np.argsort(codes, kind="stable")
        for start in range(0, len(rows), AT_ONCE):
            some = by_class[start : start + AT_ONCE]
            held, starts = np.unique(codes[some], return_index=True)
            for part, total in zip((image, text), sums, strict=True):
                values = np.asarray(part[rows[some]], dtype=np.float32)
                if not np.isfinite(values).all():
                    raise InputError(
                        "Features that are not finite cannot be chosen by.", fix="encode these pairs again."
                    )
                for number, first, last in zip(held, starts, [*starts[1:], len(some)], strict=True):
                    total[number] += np.ones(last - first, np.float32) @ values[first:last]
        self.sums = sums
        self.mean = [total.sum(0) / self.sizes.sum() for total in sums]

    def others(self, number: int, *, part: int) -> Floats:
        """Returns the centred mean of the other classes, at length one; zeros where there is no other class."""
        count = self.sizes.sum() - self.sizes[number]
        if not count:
            return np.zeros(self.sums[part].shape[1], np.float32)
        mean = (self.sums[part].sum(0) - self.sums[part][number]) / count - self.mean[part]
        direction: Floats = _unit(mean[None])[0]
        return direction


class _Class:
    """The candidates of one class: their scores now, and the way to lower them."""

    def __init__(
        self,
        image: NDArray[Any],
        text: NDArray[Any],
        *,
        rows: Rows,
        places: Rows,
        number: int,
        centre: _Centres,
        prompt: NDArray[np.float32] | None,
        settings: ClipCovSettings,
    ) -> None:
        self._source, self._rows, self._mean, self._threshold = (image, text), rows, centre.mean, settings.threshold
        self.places, self._released = places, settings.released
        images, texts = self._centred(slice(None))
        self.cross = self._covered(images, texts, by_image=images, by_text=texts)
        self.ls = _prompted(text, rows, prompt)
        easy = np.einsum("ij,ij->i", images, texts).astype(np.float64)
        far = images @ centre.others(number, part=1) + texts @ centre.others(number, part=0)
        self.scores = self.cross + 2 * easy + self.ls / 2 - far
        self.taken = np.zeros(len(rows), dtype=np.bool_)
        self.new: list[int] = []
        self.sort()

    def sort(self) -> None:
        """Puts what is left in order, best first, ties by place."""
        left = np.flatnonzero(~self.taken)
        self._order, self._next = left[np.argsort(-self.scores[left], kind="stable")], 0

    def best(self) -> tuple[float, int] | None:
        """Returns the best score left, negated, and its place among all candidates."""
        if self._next >= len(self._order):
            return None
        member = self._order[self._next]
        return -float(self.scores[member]), int(self.places[member])

    def take(self) -> None:
        """Takes the best one."""
        member = int(self._order[self._next])
        self.taken[member] = True
        self.new.append(member)
        self._next += 1

    def refresh(self) -> None:
        """Lowers the scores by what the new picks cover."""
        new, size = np.asarray(self.new), len(self._rows)
        images, texts = self._centred(slice(None))
        self.scores -= self._covered(images, texts, by_image=images[new], by_text=texts[new])
        self.scores -= self.cross[self.taken if self._released else new].sum() / size
        self.scores -= self.ls[new].sum() / 2 / size
        self.new = []
        self.sort()

    def _covered(self, images: Floats, texts: Floats, *, by_image: Floats, by_text: Floats) -> NDArray[np.float64]:
        """Returns 1/|V| Σ_j (s_ij + s_ji) over the given j, (n,)."""
        if self._threshold is None:
            sums = [np.asarray(part.sum(0, dtype=np.float64), np.float32) for part in (by_text, by_image)]
            total = (images @ sums[0]).astype(np.float64) + texts @ sums[1]
            return np.asarray(total / len(images))
        total = np.zeros(len(images))
        whole = by_image is images  # then one product says both sums
        for start in range(0, len(by_text), BLOCK):
            part = slice(start, start + BLOCK)
            block = self._above(images @ by_text[part].T)
            total += block @ np.ones(block.shape[1], np.float32)
            if whole:
                total[part] += np.ones(len(images), np.float32) @ block
            else:
                total += self._above(texts @ by_image[part].T) @ np.ones(block.shape[1], np.float32)
        return total / len(images)

    def _above(self, block: Floats) -> Floats:
        """Returns the similarities with those not above the threshold set to 0, in place."""
        if self._threshold == 0:
            return np.maximum(block, 0, out=block)
        block *= block > float(self._threshold or 0)
        return block

    def _centred(self, members: slice) -> tuple[Floats, Floats]:
        image, text = (
            _unit(np.asarray(part[self._rows[members]], dtype=np.float32) - mean.astype(np.float32))
            for part, mean in zip(self._source, self._mean, strict=True)
        )
        return image, text


def _greedy(groups: list[_Class], *, count: int, settings: ClipCovSettings) -> Rows:
    """Returns the places of the picks in order."""
    heap = [(*best, number) for number, group in enumerate(groups) if (best := group.best()) is not None]
    heapq.heapify(heap)
    picks: list[int] = []
    early = 1 if settings.released else 0
    taken, refresh = [0] * len(groups), [settings.refresh_of(len(group.places)) for group in groups]
    while heap and len(picks) < count:
        _, place, number = heap[0]
        group = groups[number]
        group.take()
        picks.append(place)
        taken[number] += 1
        if (taken[number] + early) % refresh[number] == 0:
            group.refresh()
        best = group.best()
        if best is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (*best, number))
    return np.asarray(picks, dtype=np.int64)


def _prompted(text: NDArray[Any], rows: Rows, prompt: NDArray[np.float32] | None) -> NDArray[np.float64]:
    if prompt is None:
        return np.zeros(len(rows))
    unit = _unit(np.asarray(prompt, np.float32)[None])[0]
    return np.asarray(_unit(np.asarray(text[rows], np.float32)) @ unit, dtype=np.float64)


def _covariance(image: NDArray[Any], text: NDArray[Any], rows: Rows, middle: list[Any]) -> NDArray[Any]:
    one, two = (np.asarray(part[rows], np.float32) - mean for part, mean in zip((image, text), middle, strict=True))
    return np.asarray(one.T @ two / len(rows))


def _unit(rows: NDArray[Any]) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)

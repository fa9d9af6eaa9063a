"""The feature writer: rows arrive in any order, and a killed run continues where it stopped.

In the work folder lie the two arrays with their blocks reserved, `sums.npy` (a CRC-32 per row, of what the encoder
gave) and `status.npy`. A checkpoint flushes data and sums first, then marks the rows in the status and flushes that: so
a marked row is always on the disk, and a row that was never written is undone, not zeros. At commit every row is read
back and compared with its sum; then the folder takes its final name, and the manifest names it.
"""

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from chips_core import atomic
from chips_core.config import settings_from
from chips_core.errors import InputError, PoolDamaged
from chips_core.store.features import Heads, Status, packed_heads

IDENTITY = "identity.json"
ARRAYS = ("image.npy", "text.npy", "sums.npy", "status.npy")
HEADS = "heads.safetensors"
FILES = (*ARRAYS, HEADS, IDENTITY)
CHECKPOINT_SECONDS = 10.0
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Identity:
    """What makes two feature runs the same one, so that the second may continue the first."""

    fingerprint: str
    pool_fingerprint: str
    count: int
    image_dim: int
    text_dim: int


class FeatureSink(Protocol):
    """What the feature writer needs of the pool."""

    def __call__(self, folder: Path, *, record: Mapping[str, Any]) -> None:
        """Commits the finished work folder."""


class FeatureWriter:
    """Writes the features of one encoder; made by `Pool.feature_writer`."""

    def __init__(
        self, folder: Path, *, identity: Identity, record: Mapping[str, Any], sink: FeatureSink, finished: bool = False
    ) -> None:
        self.identity = identity
        self.record = dict(record)
        self._folder = folder
        self._sink = sink
        self._finished = finished
        self._failed = False
        self._queued: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]] = []
        self._last = time.monotonic()
        if not finished:
            self._image, self._text, self._sums, self._status = _opened(folder, identity)

    def pending(self) -> npt.NDArray[np.int64]:
        """Returns the rows that are neither stored nor waiting for a checkpoint, in order."""
        if self._finished:
            return np.empty(0, dtype=np.int64)
        undone = np.asarray(self._status == Status.UNDONE)
        for rows, _ in self._queued:
            undone[rows] = False
        return np.flatnonzero(undone)

    def write(self, rows: npt.ArrayLike, *, image: npt.ArrayLike, text: npt.ArrayLike, status: npt.ArrayLike) -> None:
        """Stores rows, `image` (n, dv), `text` (n, dt), `status` (n,); features count where the status is DONE.

        A row that was stored before is first marked undone, then written anew. Features that are not finite, do not fit
        float16 or are all zero are refused with their row numbers, and nothing of the call is stored.
        """
        self._check_usable()
        numbers, states = self._checked_rows(rows, status)
        done = states == Status.DONE
        images = _checked_features(image, rows=numbers, done=done, dim=self.identity.image_dim, what="image")
        texts = _checked_features(text, rows=numbers, done=done, dim=self.identity.text_dim, what="text")
        self._forget(numbers)
        self._image[numbers[done]] = images[done]
        self._text[numbers[done]] = texts[done]
        self._sums[numbers[done]] = _sums_of(images[done], texts[done])
        self._queued.append((numbers, states))
        if time.monotonic() - self._last > CHECKPOINT_SECONDS:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Makes every row written so far durable."""
        if self._finished or not self._queued:
            return
        self._check_usable()
        self._failed = True  # until all of it is on disk: after a failed flush the system may forget what it lost
        for name in ARRAYS[:3]:
            atomic.sync_file(self._folder / name)
        for rows, states in self._queued:
            self._status[rows] = states
        atomic.sync_file(self._folder / "status.npy")
        self._queued.clear()
        self._failed = False
        self._last = time.monotonic()

    def commit(self, *, image_head: npt.ArrayLike, text_head: npt.ArrayLike, logit_scale: float) -> None:
        """Makes the features part of the pool, after reading every row back; `logit_scale` is the logarithm."""
        if self._finished:
            return
        heads = Heads(np.asarray(image_head, np.float32), np.asarray(text_head, np.float32), float(logit_scale))
        _check_heads(heads, self.identity)
        packed = packed_heads(heads)
        self.checkpoint()
        undone = len(self.pending())
        if undone:
            raise InputError(f"{undone:,} pairs are not encoded yet.", fix="run encode again; it continues there.")
        self._read_back()
        atomic.write_bytes(self._folder / HEADS, packed)
        self._sink(self._folder, record=self.record)
        self.release()
        self._finished = True

    def close(self) -> None:
        """Keeps what was written, where that is still possible; the pool calls it when its lock is given back."""
        if not self._failed:
            self.checkpoint()
        self.release()
        self._failed = True

    def release(self) -> None:
        """Lets go of the maps."""
        empty = np.empty(0)
        self._image = self._text = self._sums = self._status = empty

    def _check_usable(self) -> None:
        if self._failed or self._finished:
            raise InputError("This feature writer is closed or a flush failed.", fix="run encode again; it continues.")

    def _checked_rows(
        self, rows: npt.ArrayLike, status: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        numbers = np.asarray(rows, dtype=np.int64).reshape(-1)
        states = np.asarray(status, dtype=np.uint8).reshape(-1)
        inside = not len(numbers) or (numbers.min() >= 0 and numbers.max() < self.identity.count)
        if not inside or len(np.unique(numbers)) != len(numbers) or len(states) != len(numbers):
            raise InputError("The rows to write are not distinct rows of this pool.", fix="write each row once.")
        if not np.isin(states, [s for s in Status if s]).all():
            raise InputError("A row to write has an impossible status.", fix="use DONE, MISSING, BROKEN or CHANGED.")
        return numbers, states

    def _forget(self, rows: npt.NDArray[np.int64]) -> None:
        """Marks rows undone that are about to be written again, before their data changes."""
        for queued, _ in self._queued:
            if np.isin(queued, rows).any():
                self.checkpoint()
                break
        stored = rows[self._status[rows] != Status.UNDONE]
        if len(stored):
            self._status[stored] = Status.UNDONE
            atomic.sync_file(self._folder / "status.npy")

    def _read_back(self) -> None:
        """Compares every row on the disk with the sum of what was given; rows that differ are undone again."""
        image, text = (atomic.read_array(self._folder / name, mapped="r") for name in ARRAYS[:2])
        wrong: list[int] = []
        for first in range(0, self.identity.count, _ROWS_AT_A_TIME):
            part = slice(first, first + _ROWS_AT_A_TIME)
            differs = _sums_of(image[part], text[part]) != self._sums[part]
            wrong.extend(first + np.flatnonzero(differs & (self._status[part] == Status.DONE)))
        if wrong:
            self._status[wrong] = Status.UNDONE
            atomic.sync_file(self._folder / "status.npy")
            raise PoolDamaged(
                f"{len(wrong):,} rows of features do not read back as they were written; they count as undone again.",
                fix="run encode again, which writes them anew; check this disk if it happens twice.",
            )


def begin_work(folder: Path, *, identity: Identity) -> None:
    """Makes the work folder of a run that starts, or leaves that of the same run; refuses that of another."""
    if (folder / IDENTITY).is_file():
        found = settings_from(Identity, atomic.read_json(folder / IDENTITY), where=IDENTITY)
        if found != identity:
            raise _other_run(found, identity)
        return
    if folder.exists():  # killed before it was whole
        atomic.remove(folder)
    atomic.make_folder(folder)
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "image.npy": ((identity.count, identity.image_dim), np.float16),
        "text.npy": ((identity.count, identity.text_dim), np.float16),
        "sums.npy": ((identity.count,), np.uint32),
        "status.npy": ((identity.count,), np.uint8),
    }
    for name, (shape, dtype) in shapes.items():
        atomic.new_array(folder / name, shape=shape, dtype=dtype)
    atomic.write_json(folder / IDENTITY, asdict(identity))


def _opened(folder: Path, identity: Identity) -> tuple[Any, Any, Any, Any]:
    try:
        image, text, sums, status = (atomic.open_array(folder / name) for name in ARRAYS)
    except (PoolDamaged, FileNotFoundError) as error:
        raise _work_damaged(folder) from error
    rows = identity.count
    expected = [(rows, identity.image_dim), (rows, identity.text_dim), (rows,), (rows,)]
    if [a.shape for a in (image, text, sums, status)] != expected or status.max(initial=0) > max(Status):
        raise _work_damaged(folder)
    return image, text, sums, status


def _checked_features(
    values: npt.ArrayLike, *, rows: npt.NDArray[np.int64], done: npt.NDArray[np.bool_], dim: int, what: str
) -> npt.NDArray[np.float16]:
    """Returns the features as float16; refuses what cannot be kept so."""
    given = np.asarray(values)
    if given.shape != (len(rows), dim):
        raise InputError(f"The {what} features have shape {given.shape}, not {(len(rows), dim)}.", fix="encode again.")
    with np.errstate(over="ignore", invalid="ignore"):
        kept = given.astype(np.float16)
    bad = done & (~np.isfinite(kept).all(axis=1) | ~kept.any(axis=1))
    if bad.any():
        raise InputError(
            f"The {what} features of rows {', '.join(map(str, rows[bad][:5]))} are not finite, too large for float16, "
            f"or all zero ({int(bad.sum()):,} rows).",
            fix="mark such pairs BROKEN, or take another checkpoint.",
        )
    return kept


def _sums_of(images: npt.NDArray[Any], texts: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    crc: Callable[..., int] = zlib.crc32
    pairs = zip(np.ascontiguousarray(images), np.ascontiguousarray(texts), strict=True)
    return np.fromiter((crc(text.data, crc(image.data)) for image, text in pairs), dtype=np.uint32, count=len(images))


def _check_heads(heads: Heads, identity: Identity) -> None:
    fits = heads.image.ndim == heads.text.ndim == 2 and heads.image.shape[0] == heads.text.shape[0]
    if not fits or heads.image.shape[1] != identity.image_dim or heads.text.shape[1] != identity.text_dim:
        raise InputError(
            f"Heads of shapes {heads.image.shape} and {heads.text.shape} do not fit features of "
            f"{identity.image_dim} and {identity.text_dim} numbers.",
            fix="give them as (d, dv) and (d, dt).",
        )


def _other_run(found: Identity, asked: Identity) -> InputError:
    return InputError(
        f"The unfinished features {found.fingerprint} of pool {found.pool_fingerprint} ({found.count:,} pairs) are not "
        f"those asked for, {asked.fingerprint} of pool {asked.pool_fingerprint} ({asked.count:,} pairs).",
        fix="finish them with the settings they were begun with, or drop them: chips check POOL --repair.",
    )


def _work_damaged(folder: Path) -> PoolDamaged:
    return PoolDamaged(
        f"The unfinished features in {folder.name} are damaged.",
        fix="drop them: chips check POOL --repair, then encode.",
    )

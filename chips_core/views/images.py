"""The image of a pair for a page: found by row number, read through the guarded opener, re-encoded without metadata."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from chips_core.data import ImageLimits, ImageOpener, thumbnail
from chips_core.errors import InputError
from chips_core.store import Pool

REMEMBERED = 2_000  # re-encoded images kept in memory: about 20 MB of thumbnails


@dataclass(frozen=True, eq=False)
class _Source:
    """Where the images of one pool are; two pools that take turns in a folder are two sources."""

    opener: ImageOpener
    locators: tuple[str, ...]


def image_bytes(folder: Path, row: int, *, size: int) -> bytes:
    """Returns the image of the pair in input row `row` as a JPEG with its longer side at most `size`."""
    source = _opened(folder, _fingerprint(folder, (folder / "pool.json").stat().st_mtime_ns))
    if not 0 <= row < len(source.locators):
        raise InputError("There is no such pair.", fix="reload the page.")
    return _encoded(source, row, size)


@lru_cache(maxsize=REMEMBERED)
def _encoded(source: _Source, row: int, size: int) -> bytes:
    return thumbnail(source.opener, source.locators[row], size=size)


@lru_cache(maxsize=16)
def _fingerprint(folder: Path, _version: int) -> str:
    return Pool.open(folder).fingerprint


@lru_cache(maxsize=4)
def _opened(folder: Path, _fingerprint: str) -> _Source:
    pool = Pool.open(folder)
    return _Source(ImageOpener(pool.source_root, limits=ImageLimits()), tuple(pool.pairs(["image"])["image"]))

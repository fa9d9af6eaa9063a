"""The image of a pair for a page: found by row number, read through the guarded opener, re-encoded without metadata."""

from functools import lru_cache
from pathlib import Path

from chips_core.data import ImageLimits, ImageOpener, thumbnail
from chips_core.errors import InputError
from chips_core.store import Pool

REMEMBERED = 2_000  # re-encoded images kept in memory: about 20 MB of thumbnails


@lru_cache(maxsize=REMEMBERED)
def image_bytes(folder: Path, row: int, *, size: int) -> bytes:
    """Returns the image of the pair in input row `row` as a JPEG with its longer side at most `size`."""
    opener, locators = _opened(folder, (folder / "pool.json").stat().st_mtime_ns)
    if not 0 <= row < len(locators):
        raise InputError("There is no such pair.", fix="reload the page.")
    return thumbnail(opener, str(locators[row]), size=size)


@lru_cache(maxsize=4)
def _opened(folder: Path, _version: int) -> tuple[ImageOpener, list[str]]:
    pool = Pool.open(folder)
    return ImageOpener(pool.source_root, limits=ImageLimits()), pool.pairs(["image"])["image"].to_list()

"""The duplicates step: which images of a pool are nearly the same picture, saved, cropped or annotated anew.

Every image is read once and hashed; equal bytes are found without this step, from the hashes that intake stored.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chips_core import fingerprint
from chips_core.config import at_least
from chips_core.data import ImageOpener
from chips_core.errors import UnreadableInput
from chips_core.insight.duplicates import BITS, COMPARED, NEAR, Group, image_hash, near_by_hash, near_by_meaning
from chips_core.insight.vectors import embeddings_of
from chips_core.outcomes import Outcome
from chips_core.progress import Progress
from chips_core.store import Pool

KIND = "duplicates"
AT_ONCE = 256
SHOWN = (str(Outcome.KEPT), str(Outcome.DUPLICATE))  # rows whose image could be read at intake


@dataclass(frozen=True)
class Settings:
    """Which pool, and how many of 256 bits may differ between two images that count as the same."""

    pool: str
    bits: int = at_least(0, default=NEAR)
    workers: int = at_least(1, default=2)


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Finds the groups of nearly equal images, unless they are stored already, and returns how many there are."""
    pool = Pool.open(Path(settings.pool))
    name = f"near-{settings.bits:d}"
    if name not in {artifact.name for artifact in pool.tables(KIND)}:
        with pool.writing("duplicates"):
            groups = _groups(pool, settings, progress=progress)
            lines = [(row, number) for number, group in enumerate(groups) for row in group.rows]
            table = pd.DataFrame(lines, columns=["input_row", "group"]).astype("int64")
            record = {"bits": settings.bits, "groups": len(groups), "pairs": len(lines)}
            mark = fingerprint.of([pool.fingerprint, settings.bits])
            pool.write_table(KIND, name, table, record=record, fingerprint=mark)
    record = next(artifact.record for artifact in pool.tables(KIND) if artifact.name == name)
    return {"duplicates": name, "groups": record["groups"], "pairs": record["pairs"]}


def _groups(pool: Pool, settings: Settings, *, progress: Progress) -> tuple[Group, ...]:
    """Returns the groups by input row; in a pool too large to compare all, among the nearest in meaning."""
    pairs = pool.pairs(["image", "outcome"])
    shown = np.flatnonzero(pairs["outcome"].isin(SHOWN).to_numpy())
    opener = ImageOpener(pool.source_root)
    locators = pairs["image"].to_numpy(object)
    if len(shown) > COMPARED and pool.feature_sets():
        return _among_neighbours(pool, opener, locators=locators, settings=settings, progress=progress)
    hashes = np.zeros((len(shown), BITS // 8), np.uint8)
    known = np.zeros(len(shown), np.bool_)
    progress.start("compare images", total=len(shown), unit="images")
    with ThreadPoolExecutor(max(settings.workers, 1)) as threads:
        waiting = iter(enumerate(shown))
        while some := list(islice(waiting, AT_ONCE)):
            found = threads.map(lambda row: _hash(opener, str(locators[row])), [row for _, row in some])
            for (at, _), value in zip(some, found, strict=True):
                if value is not None:
                    hashes[at], known[at] = value, True
            progress.advance(len(some))
    near = near_by_hash(hashes, known=known, bits=settings.bits)
    return tuple(Group(tuple(int(shown[row]) for row in group.rows), "near") for group in near)


def _among_neighbours(
    pool: Pool, opener: ImageOpener, *, locators: npt.NDArray[Any], settings: Settings, progress: Progress
) -> tuple[Group, ...]:
    progress.start("compare images", total=0, unit="images")
    vectors, rows = embeddings_of(pool.features(), space="image")
    kept = np.flatnonzero((pool.pairs(["outcome"])["outcome"] == Outcome.KEPT).to_numpy())[rows]

    def hash_of(row: int) -> npt.NDArray[np.uint8] | None:
        progress.advance()
        return _hash(opener, str(locators[kept[row]]))

    near = near_by_meaning(vectors, hash_of=hash_of, bits=settings.bits)
    return tuple(Group(tuple(int(kept[row]) for row in group.rows), "near") for group in near)


def _hash(opener: ImageOpener, locator: str) -> npt.NDArray[np.uint8] | None:
    try:
        return image_hash(opener.read(locator).image)
    except UnreadableInput:
        return None

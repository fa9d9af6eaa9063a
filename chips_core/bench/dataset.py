"""A data set folder in memory, as the benchmarks use it: texts, splits, and small images as bytes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from chips_core.data.opener import ImageOpener
from chips_core.data.rows import Row
from chips_core.data.sources import open_source
from chips_core.errors import InputError, UnreadableInput
from chips_core.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_SIZE = 64


@dataclass(frozen=True)
class BenchData:
    """The pairs of a folder that have a caption and an image that can be read, in the order of their ids.

    Attributes:
        rows: the row of each pair.
        images: (N, 3, 64, 64) uint8, squeezed to a square.
        left_out: how many rows had no caption or no readable image.
    """

    rows: tuple[Row, ...]
    images: "Tensor" = field(repr=False)
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def places(self, split: str) -> list[int]:
        """Returns the places of the pairs of a split; a pair without a split is a training pair."""
        return [place for place, row in enumerate(self.rows) if (row.split or "train") == split]

    def column(self, name: str, *, places: Sequence[int] | None = None) -> list[str]:
        """Returns one column of the rows at some places, or of all."""
        chosen = range(len(self.rows)) if places is None else places
        return [getattr(self.rows[place], name) for place in chosen]

    def fingerprint(self, places: Sequence[int]) -> str:
        """Returns the SHA-256 of the images and captions at some places."""
        digest = hashlib.sha256()
        for place in places:
            digest.update(self.images[place].numpy().tobytes())
            digest.update(self.rows[place].caption.encode() + b"\0")
        return digest.hexdigest()


def read_dataset(folder: Path, *, progress: Progress | None = None) -> BenchData:
    """Returns the usable pairs of a data set folder.

    Args:
        folder: with `pairs.csv` and the images that it names.
        progress: told of every row.
    """
    import torch

    told = progress or Silent()
    source = open_source(folder)
    told.start("read", total=source.count_hint or 0, unit="rows")
    opener = ImageOpener(source.root)
    kept: list[tuple[Row, np.ndarray]] = []
    seen = 0
    for row in source.rows():
        seen += 1
        picture = None if row.outcome is not None or not row.caption.strip() else _picture(row, opener=opener)
        if picture is not None:
            kept.append((row, picture))
        told.advance()
    opener.close()
    if not kept:
        raise InputError("No row has a caption and a readable image.", fix="check the folder with `chips intake`.")
    kept.sort(key=lambda found: found[0].pair_id)
    images = torch.from_numpy(np.stack([picture for _, picture in kept]))
    return BenchData(tuple(row for row, _ in kept), images, left_out=seen - len(kept))


def _picture(row: Row, *, opener: ImageOpener) -> np.ndarray | None:
    """Returns the image as (3, 64, 64) bytes, None where it cannot be read; such rows are counted, not scored."""
    try:
        image = opener.read(row.image).image
    except UnreadableInput:
        return None
    small = image.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(small, dtype=np.uint8).transpose(2, 0, 1))

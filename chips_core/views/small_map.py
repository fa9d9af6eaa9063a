"""Small maps: a layout as two masks of one picture, all its pairs and the chosen ones; the page gives them colours."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chips_core.insight.regions import SIDE, Places

PIXELS = 300
FAINTEST = 0.4  # opacity of a place with one pair
FEW = 30_000  # pairs up to which a pair is drawn as a dot of three by three rather than as one pixel


@dataclass(frozen=True)
class SmallMap:
    """Two pictures of the same size, PNG in base64, whose opacity says how many pairs lie at a place."""

    every: str
    chosen: str


def small_map(places: Places, chosen: NDArray[np.bool_]) -> SmallMap:
    """Returns the picture of a layout's places (M, 2) with some of its pairs (M,) lifted out."""
    at = np.minimum(places.xy.astype(np.int64) * PIXELS // (SIDE + 1), PIXELS - 1)
    wide = len(at) <= FEW
    return SmallMap(_mask(at, wide=wide), _mask(at[chosen], wide=wide))


def _mask(at: NDArray[np.int64], *, wide: bool) -> str:
    counts = np.zeros((PIXELS + 2, PIXELS + 2))
    for dx, dy in [(x, y) for x in (0, 1, 2) for y in (0, 1, 2)] if wide else [(1, 1)]:
        np.add.at(counts, (PIXELS - 1 - at[:, 1] + dy, at[:, 0] + dx), 1.0)
    counts = counts[1:-1, 1:-1]
    top = np.log1p(np.percentile(counts[counts > 0], 95)) if counts.any() else 1.0
    opacity = np.where(counts > 0, FAINTEST + (1 - FAINTEST) * np.minimum(np.log1p(counts) / top, 1), 0.0)
    picture = np.zeros((PIXELS, PIXELS, 2), np.uint8)
    picture[..., 1] = np.rint(255 * opacity)
    buffer = io.BytesIO()
    Image.fromarray(picture, "LA").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")

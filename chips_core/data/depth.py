"""From deep pixels (16-bit, 32-bit, float) to 8 bits without losing the picture.

`Image.convert("RGB")` clips a 16-bit image to white; here the values between the 0.25th and the 99.75th percentile are
spread linearly over 0..255, so the result is monotone and at most half a percent of distinct extremes is clipped.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from chips_core.data.flags import Flag

Array = npt.NDArray[Any]
LOW, HIGH = 0.25, 99.75  # percentiles; a pool of 12-bit images in 16-bit files becomes as bright as one of 8-bit files
SAMPLE = 1_000_000  # pixels at a time; percentiles of larger images are taken on every k-th


def integers_to_bytes(values: Array) -> tuple[npt.NDArray[np.uint8], tuple[Flag, ...]]:
    """Returns (H, W) or (H, W, 3) integers as uint8; values that already fit 0..255 stay as they are."""
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high <= 255:
        return values.astype(np.uint8), ()
    if low == high:
        return np.full(values.shape, 128, dtype=np.uint8), (Flag.DEPTH_SCALED,)
    return stretched(values), (Flag.DEPTH_SCALED,)


def floats_to_bytes(values: Array) -> tuple[npt.NDArray[np.uint8], tuple[Flag, ...]]:
    """Returns (H, W) floats as uint8: 0..1 and 0..255 are taken as such scales, anything else is spread."""
    flags: list[Flag] = []
    finite = np.isfinite(values)
    if not finite.all():
        flags.append(Flag.NOT_FINITE)
        values = np.where(finite, values, values[finite].min() if finite.any() else 0.0)
    low, high = float(values.min()), float(values.max())
    flags.append(Flag.FLOAT_SCALED)
    if low >= 0 and high <= 1:
        return to_bytes(values, low=0.0, high=1.0), tuple(flags)
    if low >= 0 and high <= 255:
        return to_bytes(values, low=0.0, high=255.0), tuple(flags)
    if low == high:
        return np.full(values.shape, 128, dtype=np.uint8), tuple(flags)
    return stretched(values), tuple(flags)


def stretched(values: Array, *, used: Array | None = None) -> npt.NDArray[np.uint8]:
    """Returns the values between two percentiles spread over 0..255.

    Args:
        values: pixels of any numeric type.
        used: the values that the percentiles are taken from, when not all (padding left out).
    """
    flat = (values if used is None else used).reshape(-1)
    sample = flat[:: max(1, flat.size // SAMPLE)]
    low, high = (float(v) for v in np.percentile(sample, (LOW, HIGH)))
    if not high > low:
        low, high = float(flat.min()), float(flat.max())
    return to_bytes(values, low=low, high=high)


def to_bytes(values: Array, *, low: float, high: float) -> npt.NDArray[np.uint8]:
    """Returns round(255 * (values - low) / (high - low)) clipped to 0..255; in float64, because low may be 1e9."""
    span = high - low if high > low else 1.0
    flat = np.ascontiguousarray(values).reshape(-1)
    out = np.empty(flat.shape, dtype=np.uint8)
    for start in range(0, flat.size, SAMPLE):  # in pieces: float64 of a 100-megapixel image would be 800 MB
        scaled: Array = np.subtract(flat[start : start + SAMPLE], low, dtype=np.float64)
        scaled *= 255.0 / span
        np.rint(scaled, out=scaled)
        out[start : start + SAMPLE] = np.clip(scaled, 0, 255, out=scaled)
    return out.reshape(values.shape)

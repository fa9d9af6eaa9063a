"""Benchmark `clipcov`: how long ClipCov takes at a million pairs, in how much memory, and what it preserves."""

import resource
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chips_core.curate.clipcov import clipcov, cross_covariance_gap
from chips_core.progress import Progress

PAIRS, CLASSES, WIDTH, BUDGET = 1_000_000, 1_000, 512, 0.1
QUICK_PAIRS, QUICK_CLASSES = 20_000, 20
AT_ONCE = 65_536


def run(*, seed: int = 0, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Returns seconds, peak memory, and the gap of the classes' cross-covariances beside random and CLIPScore.

    Args:
        seed: of the made-up features: classes with a common direction, pairs of differing agreement.
        quick: a fiftieth of the pairs.
        progress: told of every stage.
    """
    pairs, classes = (QUICK_PAIRS, QUICK_CLASSES) if quick else (PAIRS, CLASSES)
    if progress is not None:
        progress.start("make features", total=pairs)
    image, text, codes = _features(pairs, classes=classes, seed=seed)
    rows, count = np.arange(pairs), round(BUDGET * pairs)
    if progress is not None:
        progress.note(f"ClipCov: {count:,} of {pairs:,}")
    began = time.perf_counter()
    chosen = clipcov(image, text, rows=rows, classes=codes, count=count)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    others = {
        "clipcov": chosen,
        "random": np.random.default_rng(seed).permutation(pairs)[:count],
        "clipscore": np.argsort(-_cosines(image, text), kind="stable")[:count],
    }
    return {
        "pairs": pairs,
        "classes": classes,
        "width": WIDTH,
        "chosen": count,
        "seconds": round(seconds, 2),
        "peak_mb": round(peak),
        **{
            key: {
                name: round(cross_covariance_gap(image, text, rows=rows, chosen=some, classes=codes, of_sums=sums), 4)
                for name, some in others.items()
            }
            for key, sums in (("cross_covariance_gap", False), ("cross_covariance_gap_of_sums", True))
        },
    }


def _features(pairs: int, *, classes: int, seed: int) -> tuple[NDArray[np.float16], NDArray[np.float16], Any]:
    draw = np.random.default_rng(seed)
    codes = draw.integers(classes, size=pairs)
    middle = draw.standard_normal((classes, WIDTH), dtype=np.float32)
    image, text = (np.empty((pairs, WIDTH), np.float16) for _ in range(2))
    for start in range(0, pairs, AT_ONCE):
        part = codes[start : start + AT_ONCE]
        meant = draw.standard_normal((len(part), WIDTH), dtype=np.float32) + middle[part]
        for out in (image, text):
            seen = meant + draw.standard_normal((len(part), WIDTH), dtype=np.float32)
            out[start : start + AT_ONCE] = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    return image, text, codes


def _cosines(image: NDArray[np.float16], text: NDArray[np.float16]) -> NDArray[np.float32]:
    parts = [
        np.einsum("ij,ij->i", image[s : s + AT_ONCE].astype(np.float32), text[s : s + AT_ONCE].astype(np.float32))
        for s in range(0, len(image), AT_ONCE)
    ]
    return np.concatenate(parts)

"""Pools for the app's benchmark, written as they are: clusters on a plane, made-up scores, one small image for all.

The app is measured, not what computed its tables; so the tables are written directly; a million pairs take a minute.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from chips_core import atomic
from chips_core.outcomes import Outcome
from chips_core.pairs_schema import PAIRS
from chips_core.store import Pool, Status

AT_ONCE = 65_536
IMAGES, SIDE = 24, 128
CLUSTERS, LABELS, SOURCES = 40, 12, 3
WIDTH = 8  # of the features: there, so that the pool counts as encoded
RUN, MAP = "bench", "image-bench"
COLUMNS = (
    ("queue", "How suspect the pair is.", "suspect", False),
    ("utility", "How useful the pair is.", "valuable", True),
    ("clipscore", "How alike image and caption are.", "valuable", False),
)


def make_pool(path: Path, *, pairs: int, seed: int = 0) -> Path:
    """Makes a pool of so many pairs that is encoded, scored and mapped for all the app can tell; returns its folder."""
    draw = np.random.default_rng(seed)
    images = path.parent / "images"
    _make_images(images, draw)
    pool = Pool.create(path, batches=_batches(pairs), record={"kind": "benchmark", "source_root": "../images"})
    with pool.writing("benchmark"):
        _encode(pool, pairs, draw)
    ids = pool.kept(["pair_id"])["pair_id"]
    rows = np.arange(pairs, dtype=np.int64)
    xy = _layout(pairs, draw)
    plane = pd.DataFrame({"pair_id": ids, "row": rows, "x": xy[:, 0], "y": xy[:, 1]})
    pool.write_table("maps", MAP, plane, record={"space": "image", "seed": seed}, fingerprint=f"map-{pairs}-{seed}")
    scores = {name: draw.normal(size=pairs).astype(np.float32) for name, *_ in COLUMNS}
    described = [
        {"column": name, "method": "bench", "name": name, "meaning": meaning, "higher_is": higher, "signed": signed}
        for name, meaning, higher, signed in COLUMNS
    ]
    record = {"columns": described, "methods": ["bench"], "target": "none", "mode": "audit", "pairs": pairs}
    table = pd.DataFrame({"pair_id": ids, "row": rows, **scores})
    pool.write_table("scores", RUN, table, record=record, fingerprint=f"scores-{pairs}-{seed}")
    return path


def _batches(pairs: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, pairs, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, pairs))
        count = len(numbers)
        empty = pa.array([""] * count)
        columns = dict.fromkeys(PAIRS.names, empty)
        columns |= {
            "pair_id": pa.array([f"p{number:07d}" for number in numbers]),
            "image": pa.array([f"{number % IMAGES}.png" for number in numbers]),
            "caption": pa.array(
                [f"Finding {number % 997} in region {number % 13}, view {number}." for number in numbers]
            ),
            "label": pa.array([f"class {number % LABELS}" for number in numbers]),
            "source": pa.array([f"source {number % SOURCES}" for number in numbers]),
            "split": pa.array(["train" if number % 10 else "test" for number in numbers]),
            "group": pa.array([f"g{number // 4}" for number in numbers]),
            "image_sha256": pa.array([f"{number % IMAGES:064d}" for number in numbers]),
            "outcome": pa.array([str(Outcome.KEPT)] * count),
            "flags": pa.array([[]] * count, type=pa.list_(pa.string())),
            "width": pa.array([SIDE] * count, type=pa.int32()),
            "height": pa.array([SIDE] * count, type=pa.int32()),
        }
        yield pa.RecordBatch.from_arrays([columns[name] for name in PAIRS.names], schema=PAIRS)


def _make_images(folder: Path, draw: np.random.Generator) -> None:
    if folder.is_dir():
        return
    atomic.make_folder(folder)
    for number in range(IMAGES):
        grey = draw.integers(0, 255, (SIDE // 8, SIDE // 8), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        buffer = io.BytesIO()
        Image.fromarray(grey).save(buffer, "PNG")
        atomic.write_bytes(folder / f"{number}.png", buffer.getvalue())


def _encode(pool: Pool, pairs: int, draw: np.random.Generator) -> None:
    record = {"encoder": "benchmark", "encoder_fingerprint": "none", "model": "none"}
    writer = pool.feature_writer(
        fingerprint=f"bench{pairs}", count=pairs, image_dim=WIDTH, text_dim=WIDTH, record=record
    )
    for start in range(0, pairs, AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, pairs))
        parts = (draw.normal(size=(len(rows), WIDTH)).astype(np.float32) for _ in range(2))
        image, text = parts
        writer.write(rows, image=image, text=text, status=np.full(len(rows), Status.DONE, dtype=np.uint8))
    writer.commit(image_head=np.eye(WIDTH), text_head=np.eye(WIDTH), logit_scale=2.0)


def _layout(pairs: int, draw: np.random.Generator) -> np.ndarray:
    centres = draw.uniform(-10, 10, (CLUSTERS, 2))
    sizes = draw.uniform(0.2, 1.2, CLUSTERS)
    which = draw.integers(0, CLUSTERS, pairs)
    return (centres[which] + draw.normal(size=(pairs, 2)) * sizes[which, None]).astype(np.float32)

"""Pools small enough to check by hand, and whole lives of a pool for the fault tests."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from chips_core.pairs_schema import PAIRS
from chips_core.store import FeatureWriter, Pool

IMAGE_DIM, TEXT_DIM = 4, 3
RECORD = {"encoder": "tiny"}


def batch(pair_ids: Sequence[str], **columns: Any) -> pa.RecordBatch:
    """Returns kept pairs with these ids; `columns` override columns, as one value for all or a list."""
    texts = {name: "" for name in PAIRS.names if PAIRS.field(name).type == pa.string()}
    defaults = {**texts, "outcome": "kept", "caption": "a caption", "flags": [], "width": 8, "height": 8}
    rows = [
        {**defaults, "pair_id": pair_id, **{k: v[i] if isinstance(v, list) else v for k, v in columns.items()}}
        for i, pair_id in enumerate(pair_ids)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=PAIRS)


def make_pool(path: Path, *, count: int = 3, broken: int = 1) -> Pool:
    """Makes a pool of `count` kept pairs p0, p1, ... and `broken` broken ones b0, ..."""
    batches = [batch([f"p{i}" for i in range(count)]), batch([f"b{i}" for i in range(broken)], outcome="broken")]
    return Pool.create(path, batches=batches, record={"source_root": "../images"})


def begin(pool: Pool, *, fingerprint: str = "f1", **changes: Any) -> FeatureWriter:
    """Begins or continues features inside `pool.writing`."""
    count = pool.outcomes().kept
    given = {"count": count, "image_dim": IMAGE_DIM, "text_dim": TEXT_DIM, "record": RECORD, **changes}
    return pool.feature_writer(fingerprint=fingerprint, **given)


def row_values(rows: Sequence[int]) -> dict[str, Any]:
    """Returns features that tell their row: image r + 1 everywhere, text -(r + 1), all done."""
    numbers = np.asarray(rows, dtype=np.float32)[:, None] + 1
    return {
        "image": np.repeat(numbers, IMAGE_DIM, axis=1),
        "text": np.repeat(-numbers, TEXT_DIM, axis=1),
        "status": np.ones(len(rows), dtype=np.uint8),
    }


def finish(writer: FeatureWriter) -> None:
    """Writes what is pending, a row at a time with a checkpoint each, and commits."""
    for row in writer.pending():
        writer.write([row], **row_values([row]))
        writer.checkpoint()
    writer.commit(image_head=np.ones((2, IMAGE_DIM)), text_head=np.ones((2, TEXT_DIM)), logit_scale=2.0)


def encode(pool: Pool) -> None:
    """Encodes what is not encoded yet."""
    with pool.writing("encode"):
        finish(begin(pool))


def score(pool: Pool, *, name: str = "run") -> None:
    """Scores every kept pair."""
    ids = pool.kept(["pair_id"])["pair_id"]
    table = pd.DataFrame({"pair_id": ids, "utility": np.arange(len(ids)) / 10})
    pool.write_table("scores", name, table, record={"method": "x"}, fingerprint="s1", arrays={"index": np.arange(6.0)})


def opened_or_made(path: Path) -> Pool:
    """Opens the pool, or makes it when a killed intake did not."""
    return Pool.open(path) if (path / "pool.json").exists() else make_pool(path)


def copy_of(pool: Path, to: Path) -> Path:
    """Replaces `to` by a copy of a pool folder."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(pool, to)
    return to

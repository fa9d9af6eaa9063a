"""Scored pools small enough to check by hand: the images of pair i and its caption point into known directions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from chips_core.pairs_schema import PAIRS
from chips_core.store import Pool

ANGLES = (0, 10, 20, 90, 100, 180)  # degrees: where the images of p0 to p5 point
CAPTIONS = ("disc", "disc", "ring", "ring", "bar", "bar")
CAPTION_ANGLES = {"disc": 5, "ring": 95, "bar": 180}
LABELS = ("a", "a", "a", "b", "b", "")
GROUPS = ("g0", "g0", "g1", "g1", "g2", "")
HASHES = ("h0", "h1", "h1", "h3", "h4", "h5")
QUEUE = (0.1, 0.2, 0.9, 0.4, 0.9, 0.0)
INFLUENCE = (0.5, 0.1, -0.8, 0.2, 0.3, 0.4)  # change of the loss without the pair: below zero it does harm
COLUMNS = [
    {"column": "delta_loss_if_removed", "method": "ecif_audit", "meaning": "Change.", "higher_is": "valuable"},
    {"column": "queue", "method": "queue", "meaning": "Look first.", "higher_is": "suspect"},
    {"column": "peer_loss", "method": "queue", "meaning": "Peers.", "higher_is": "suspect"},
]


def pairs_batch(count: int, **columns: Sequence[str]) -> pa.RecordBatch:
    """Returns kept pairs p0, p1, … with these columns, and a row b0 before them whose image is broken."""
    texts = {name: "" for name in PAIRS.names if PAIRS.field(name).type == pa.string()}
    rest = {**texts, "flags": [], "width": 8, "height": 8}
    broken = {**rest, "pair_id": "b0", "image": "b0.png", "caption": "torn", "outcome": "broken", "reason": "cut short"}
    kept = [
        {**rest, "outcome": "kept", "pair_id": f"p{i}", "image": f"p{i}.png"} | {k: v[i] for k, v in columns.items()}
        for i in range(count)
    ]
    return pa.RecordBatch.from_pylist([broken, *kept], schema=PAIRS)


def plain_pool(folder: Path, *, captions: Sequence[str] = CAPTIONS) -> Pool:
    """Makes a pool of six pairs, grey images beside it, not encoded."""
    images = folder.parent / f"{folder.name}-images"
    images.mkdir(parents=True)
    for i in range(len(captions)):
        Image.new("L", (32, 32), 40 * i).save(images / f"p{i}.png")
    columns = {"caption": captions, "label": LABELS, "group": GROUPS, "image_sha256": HASHES, "source": ["s"] * 6}
    record = {"source_root": f"../{images.name}"}
    return Pool.create(folder, batches=[pairs_batch(len(captions), **columns)], record=record)


def pool_of(folder: Path, count: int) -> Pool:
    """Makes a pool of `count` kept pairs that only have captions; encoded and scored by chance when there are any."""
    pool = Pool.create(
        folder,
        batches=[pairs_batch(count, caption=[f"view {i % 50}" for i in range(count)])],
        record={"source_root": "."},
    )
    if count:
        encode(pool, captions=[""] * count, angles=np.linspace(0, 90, count))
        table = pd.DataFrame({"pair_id": [f"p{i}" for i in range(count)], "queue": np.linspace(0, 1, count)})
        pool.write_table("scores", "run", table, record={"columns": COLUMNS}, fingerprint="s")
    return pool


def encode(pool: Pool, *, captions: Sequence[str] = CAPTIONS, angles: Sequence[float] = ANGLES) -> None:
    """Gives the pairs the directions above as features; the heads change nothing."""
    count, spoken = len(captions), [CAPTION_ANGLES.get(caption, 45) for caption in captions]
    with pool.writing("encode"):
        writer = pool.feature_writer(
            fingerprint="f1", count=count, image_dim=2, text_dim=2, record={"encoder": "by hand"}
        )
        rows = np.arange(count)
        writer.write(rows, image=_pointing(angles), text=_pointing(spoken), status=np.ones(count, np.uint8))
        writer.commit(image_head=np.eye(2), text_head=np.eye(2), logit_scale=1.0)


def score(pool: Pool, *, name: str = "run", scores: Mapping[str, Sequence[float]] | None = None) -> None:
    """Writes a run with the queue, peer loss and influence above."""
    values = scores or {"delta_loss_if_removed": INFLUENCE, "queue": QUEUE, "peer_loss": QUEUE}
    table = pd.DataFrame({"pair_id": [f"p{i}" for i in range(6)], "row": range(6), **values})
    pool.write_table("scores", name, table, record={"columns": COLUMNS, "features": "f1"}, fingerprint=f"s-{name}")


def scored_pool(folder: Path, *, captions: Sequence[str] = CAPTIONS) -> Pool:
    """Makes the pool, encoded and scored."""
    pool = plain_pool(folder, captions=captions)
    encode(pool, captions=captions)
    score(pool)
    return pool


def aimed_pool(folder: Path) -> Pool:
    """Makes the pool, encoded and scored, with a run that names its target set, as selections need."""
    pool = scored_pool(folder)
    record = pool.tables("scores")[0].record | {"target": "val"}
    pool.write_table("scores", "aimed", pool.table("scores", "run"), record=record, fingerprint="aimed")
    return Pool.open(pool.path)


def _pointing(degrees: Sequence[float]) -> np.ndarray:
    turned = np.deg2rad(np.asarray(degrees, dtype=np.float64))
    return np.stack([np.cos(turned), np.sin(turned)], axis=1)

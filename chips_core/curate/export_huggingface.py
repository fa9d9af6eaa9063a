"""The layout that the `datasets` library loads: Parquet shards with the images inside, and a README that names them.

    load_dataset("path/of/the/export")     # splits train, validation, test, each `data/SPLIT-NNNNN.parquet`

An image is a struct {bytes, path}; the schema's metadata says so, as `Dataset.push_to_hub` writes it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from chips_core import atomic
from chips_core.store.tables import write_parquet

SPLITS = {"val": "validation", "test": "test"}  # every other pair is of the split train
MOST_BYTES = 256 << 20  # of images in memory, whatever the number of pairs in a shard
PICTURE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


def kinds_of(table: pd.DataFrame) -> dict[str, pa.DataType]:
    """Returns the Arrow type of every column: whole numbers, numbers, and text for everything else."""
    return {
        str(name): pa.string() if kind.kind not in "if" else (pa.int64() if kind.kind == "i" else pa.float64())
        for name, kind in table.dtypes.items()
    }


def write_hub_layout(
    folder: Path, lines: Iterator[tuple[dict[str, Any], bytes, str]], *, kinds: Mapping[str, pa.DataType], size: int
) -> None:
    """Writes the shards and the README.

    Args:
        folder: empty.
        lines: of a pair, the bytes of its image, and a name for it.
        kinds: of the columns; that of the image is set here.
        size: pairs in a shard.
    """
    atomic.make_folder(folder / "data")
    schema = _schema(kinds)
    waiting: dict[str, list[dict[str, Any]]] = {}
    held: dict[str, int] = {}
    shards, pairs = dict[str, int](), dict[str, int]()

    def flush(split: str) -> None:
        number = shards[split] = shards.get(split, -1) + 1
        batch = pa.RecordBatch.from_pylist(waiting.pop(split, []), schema=schema)
        write_parquet(folder / "data" / f"{split}-{number:05d}.parquet", schema=schema, batches=[batch])
        pairs[split] = pairs.get(split, 0) + batch.num_rows
        held[split] = 0

    for line, data, name in lines:
        split = SPLITS.get(str(line.get("split", "")), "train")
        waiting.setdefault(split, []).append({**line, "image": {"bytes": data, "path": name}})
        held[split] = held.get(split, 0) + len(data)
        if len(waiting[split]) >= size or held[split] >= MOST_BYTES:
            flush(split)
    for split in list(waiting) or ([] if pairs else ["train"]):
        flush(split)
    atomic.write_bytes(folder / "README.md", _readme(kinds, pairs).encode())


def _schema(kinds: Mapping[str, pa.DataType]) -> pa.Schema:
    features = {
        name: {"_type": "Image"} if name == "image" else {"dtype": _dtype(kind), "_type": "Value"}
        for name, kind in kinds.items()
    }
    fields = [pa.field(name, PICTURE if name == "image" else kind) for name, kind in kinds.items()]
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _dtype(kind: pa.DataType) -> str:
    return {pa.int64(): "int64", pa.float64(): "float64"}.get(kind, "string")


def _readme(kinds: Mapping[str, pa.DataType], pairs: Mapping[str, int]) -> str:
    """Returns the card that `datasets` reads; it holds no text of the data set."""
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in pairs:
        lines += [f"  - split: {split}", f"    path: data/{split}-*"]
    lines += ["dataset_info:", "  features:"]
    for name, kind in kinds.items():
        lines += [f"  - name: {name}", f"    dtype: {'image' if name == 'image' else _dtype(kind)}"]
    lines += ["  splits:"]
    for split, count in pairs.items():
        lines += [f"  - name: {split}", f"    num_examples: {count}"]
    lines += ["---", "", "# Image-caption pairs", ""]
    lines += [f"{count:,} pairs in the split `{split}`." for split, count in pairs.items()]
    lines += [
        "",
        "How they were chosen and what was left out: `card.html`. Checksums: `manifest.json`.",
        "",
    ]
    return "\n".join(lines)

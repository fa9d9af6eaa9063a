"""The trace index of a pool: built in parts, each of which a stopped job keeps, checked against exact answers, stored.

An index is worth its place only where looking at every pair takes too long: up to EXACT_PAIRS it does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from chips_core import fingerprint
from chips_core.influence import reference
from chips_core.jobs.trace_pool import Prepared
from chips_core.progress import Progress
from chips_core.store import Pool
from chips_core.verify import trace_index
from chips_core.verify.trace_index import AT_ONCE, Agreement, Part, TraceIndex

KIND, PARTS = "indexes", "parts"
EXACT_PAIRS = 20_000  # a pass over so many pairs takes about a second
CHECKED = 8  # test images that are no landmarks, on which the index is compared with the exact answer
LEAST = 16  # landmarks, below which there is no index


def build_index(ready: Prepared, *, progress: Progress) -> Agreement | None:
    """Returns how the index agrees with the exact answer, built where it is not stored yet.

    None where the test images with a label are too few to build one.
    """
    checked, chosen = _images_of(ready)
    if len(chosen) < LEAST:
        return None
    name = _name(ready, chosen)
    if name not in _stored(ready.pool, KIND):
        with ready.pool.writing("trace index"):
            _build(ready, chosen, checked, name=name, progress=progress)
    return agreement_of(ready)


def index_of(ready: Prepared) -> TraceIndex | None:
    """Returns the stored index; None where there is none."""
    name = _name(ready, _images_of(ready)[1])
    if name not in _stored(ready.pool, KIND):
        return None
    return TraceIndex(**_tensors(ready.pool.arrays(KIND, name)))


def agreement_of(ready: Prepared) -> Agreement | None:
    """Returns what was measured when the stored index was built; None where there is none."""
    name = _name(ready, _images_of(ready)[1])
    record = next((artifact.record for artifact in ready.pool.tables(KIND) if artifact.name == name), None)
    return Agreement(**record["agreement"]) if record is not None else None


def _images_of(ready: Prepared) -> tuple[Tensor, Tensor]:
    """Returns the places of the images to check with, and of the landmarks."""
    labels, wrong = torch.from_numpy(ready.test.labels), torch.from_numpy(ready.wrong)
    order = trace_index.landmarks_first(labels, wrong=wrong, seed=ready.tracer.plan.seed)
    return order[:CHECKED], order[CHECKED : CHECKED + trace_index.LANDMARKS]


def _name(ready: Prepared, chosen: Tensor) -> str:
    ids = ready.test.pairs["pair_id"].iloc[chosen.tolist()].astype(str).tolist()
    settings = [reference.BLOCKS, trace_index.CANDIDATES, trace_index.RIDGE]
    return f"index-{fingerprint.of([ready.name, ids, ready.test.labels[chosen].tolist(), settings])}"


def _build(ready: Prepared, chosen: Tensor, checked: Tensor, *, name: str, progress: Progress) -> None:
    tracer, pool = ready.tracer, ready.pool
    images, labels = ready.test.features.image, torch.from_numpy(ready.test.labels)
    groups = torch.split(chosen, AT_ONCE)
    progress.start("build the trace index", total=len(tracer.pool) * tracer.plan.rounds(len(tracer.pool)) * len(groups))
    parts = []
    for number, some in enumerate(groups):
        key = f"{name}-{number:03d}"
        if key in _stored(pool, PARTS):
            progress.advance(len(tracer.pool) * tracer.plan.rounds(len(tracer.pool)))
        else:
            part = trace_index.part_of(tracer, images[some], labels[some], tick=progress.advance)
            ids = ready.test.pairs["pair_id"].iloc[some.tolist()].astype(str).to_numpy()
            table = pd.DataFrame({"pair_id": ids})
            pool.write_table(PARTS, key, table, record={"index": name}, fingerprint=key, arrays=_arrays(part))
        parts.append(Part(**_tensors(pool.arrays(PARTS, key))))
    index = TraceIndex.of(parts)
    progress.start("check the trace index", total=len(checked), unit="images")
    found = trace_index.measured(
        index, tracer, images[checked], labels[checked], sizes=ready.sizes, tick=progress.advance
    )
    _store(ready, index, name=name, landmarks_used=len(chosen), found=found)
    for number in range(len(groups)):
        pool.remove(PARTS, f"{name}-{number:03d}")


def _store(ready: Prepared, index: TraceIndex, *, name: str, landmarks_used: int, found: Agreement) -> None:
    table = pd.DataFrame({"pair_id": ready.pair_ids, "row": ready.found.rows})
    record = {"landmarks": landmarks_used, "bytes": index.bytes, "agreement": asdict(found)}
    pool = ready.pool
    pool.write_table(KIND, name, table, record=record, fingerprint=name, arrays=_arrays(index))


def _arrays(found: Part | TraceIndex) -> dict[str, Any]:
    """Returns its tensors, as arrays to be stored."""
    return {part.name: getattr(found, part.name).numpy() for part in fields(found)}


def _stored(pool: Pool, kind: str) -> Sequence[str]:
    return [artifact.name for artifact in pool.tables(kind)]


def _tensors(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}

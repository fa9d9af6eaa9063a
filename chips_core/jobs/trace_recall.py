"""How often a quick answer misses a pair, measured on the pool itself and stored.

A quick answer is worth its place only where measuring every pair takes too long: up to EXACT_PAIRS all are measured.
"""

from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from chips_core import fingerprint
from chips_core.influence import reference, screen
from chips_core.jobs.trace_pool import Prepared
from chips_core.progress import Progress
from chips_core.verify import trace_search
from chips_core.verify.trace_search import Agreement

KIND = "recalls"
EXACT_PAIRS = 10_000  # of which all can be measured within a second
CHECKED = 8  # wrong predictions on which the quick answer is compared with the exact one


def is_large(ready: Prepared) -> bool:
    """Returns whether a question to the pool is answered quickly, unless the exact answer is asked for."""
    return len(ready.found.rows) > EXACT_PAIRS


def measure_recall(ready: Prepared, *, progress: Progress) -> Agreement | None:
    """Returns how quick answers agree with exact ones, measured once and stored; None for a pool that needs none."""
    pool, places = ready.pool, _checked(ready)
    if not is_large(ready) or not len(places):
        return None
    known = recall_of(ready)
    if known is not None:
        return known
    images, labels = ready.test.features.image[places], torch.from_numpy(ready.test.labels[places])
    progress.start("compare quick answers with exact ones", total=len(places), unit="images")
    with pool.writing("measure recall"):
        found = trace_search.measured(ready.tracer, images, labels, sizes=ready.sizes, tick=progress.advance)
        table = pd.DataFrame({"pair_id": ready.test.pairs["pair_id"].iloc[places].astype(str).to_numpy()})
        name = _name(ready)
        pool.write_table(KIND, name, table, record={"agreement": asdict(found)}, fingerprint=name)
    return found


def recall_of(ready: Prepared) -> Agreement | None:
    """Returns what was measured before; None where nothing was."""
    name = _name(ready)
    record = next((artifact.record for artifact in ready.pool.tables(KIND) if artifact.name == name), None)
    return Agreement(**record["agreement"]) if record is not None else None


def _checked(ready: Prepared) -> npt.NDArray[np.int64]:
    return np.flatnonzero(ready.wrong)[:CHECKED]


def _name(ready: Prepared) -> str:
    settings = [reference.BLOCKS, screen.RANK, trace_search.CANDIDATES, trace_search.ANCHORS]
    asked = [*ready.measured_on(_checked(ready)), settings, ready.sizes is not None]
    return f"recall-{fingerprint.of(asked)}"

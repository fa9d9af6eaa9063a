"""A pool made ready to be traced: the fitted model, the test images, and what was measured of it before.

What does not depend on the image is kept in the pool: the fitted heads (kind `fits`), the size of every pair's removal
(kind `traces`), the index of a large pool (kind `indexes`) and the measured agreement of predictions with real refits
(kind `honesty`). With them a click costs one linear solve and one pass over the features, or a search of the index.
"""

from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from chips_core import fingerprint
from chips_core.config import at_least
from chips_core.errors import InputError, NoTargetSet
from chips_core.influence.blocks import BlockPlan
from chips_core.influence.relative import PROBES, Sizes
from chips_core.jobs.evaluate import EncodedSplit, encoded_split
from chips_core.jobs.fitting import fitted_heads
from chips_core.jobs.scoring_set import ScoringSet, scoring_set
from chips_core.progress import Progress
from chips_core.store import Pool
from chips_core.verify.trace_index import Mode
from chips_core.verify.tracer import FIT, SETTINGS, Honesty, Tracer, honesty_of

KIND, HONESTY = "traces", "honesty"
REMOVALS, SHARE, HONEST_IMAGES = 24, 0.02, 12
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Settings:
    """Which image of which split to trace; without an image, the wrong predictions are listed and all is prepared.

    Attributes:
        index: whether an index is built: `auto` only where looking at every pair takes too long.
        exact: look at every pair even where there is an index.
    """

    pool: str
    test: str = "test"
    image: str | None = None
    top: int = at_least(1, default=20)
    mode: Mode = "relative"
    target: str | None = None
    features: str | None = None
    retrain: bool = False
    probes: int = PROBES
    index: Literal["auto", "always", "never"] = "auto"
    exact: bool = False


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that a click needs, in memory.

    Attributes:
        found: the pool's pairs as tensors; row i of the tracer is `found.rows[i]` of the kept pairs.
        tracer: the pool and the model fitted to it.
        sizes: of every pair's removal; None where they are not measured yet: only plain influence is there then.
        test: the test images.
        logits: (T, C) of the fitted model.
        honesty: as measured on this pool; None before.
    """

    pool: Pool
    found: ScoringSet
    tracer: Tracer
    sizes: Sizes | None
    test: EncodedSplit
    logits: torch.Tensor
    name: str
    honesty: Honesty | None = field(default=None)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of their codes."""
        return self.found.classes

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """(T,) the predicted class of each test image."""
        return np.asarray(self.logits.argmax(1).numpy(), np.int64)

    @property
    def wrong(self) -> Bools:
        """(T,) test images with a label that the model gets wrong."""
        return np.asarray((self.test.labels >= 0) & (self.predicted != self.test.labels))

    @property
    def pair_ids(self) -> npt.NDArray[np.object_]:
        """(N,) the ids of the pool's pairs."""
        return self.found.pairs["pair_id"].iloc[self.found.rows].astype(str).to_numpy(object)


def prepare(pool: Pool, settings: Settings, *, progress: Progress, measure: bool = True) -> Prepared:
    """Returns what every trace of a pool needs, computed and stored where it is not there yet.

    Args:
        pool: the pool.
        settings: see `Settings`.
        progress: told of the fit and of the measurement.
        measure: measure the sizes of the removals where they are missing; it takes a minute, all else seconds.
    """
    if not pool.feature_sets():
        raise InputError(f"Pool '{pool.path.name}' is not encoded yet.", fix="run: chips encode POOL --model NAME")
    features, plan = settings.features or pool.feature_sets()[-1].name, BlockPlan()
    found = scoring_set(pool, target=settings.target, plan=plan, features=features)
    if found.inputs.prompts is None or len(found.classes) < 2:
        raise NoTargetSet(
            f"Pool '{pool.path.name}' has {len(found.classes)} classes with prompts: no prediction can be wrong.",
            fix="bring the data in again with a label column of two classes or more, and encode it.",
        )
    test = encoded_split(pool, pool.features(features), split=settings.test, classes=found.classes)
    with pool.writing("trace"):
        fitted = fitted_heads(pool, found, features=features, progress=progress, settings=FIT)
        tracer = Tracer(found.inputs.pool, found.inputs.heads, fitted, plan, found.inputs.prompts)
        key = [features, found.target, len(found.rows), asdict(FIT), asdict(SETTINGS), asdict(plan), settings.probes]
        name = f"trace-{fingerprint.of(key)}"
        if measure:
            _measure_sizes(pool, found, tracer, name=name, probes=settings.probes, progress=progress)
    logits = tracer.logits(test.features.image)
    sizes = _stored_sizes(pool, name)
    return Prepared(pool, found, tracer, sizes, test, logits, name, honesty=_stored_honesty(pool, name))


def measure_honesty(ready: Prepared, *, progress: Progress) -> Honesty | None:
    """Returns how well predictions agree with real refits on this pool, measured once and stored; None without errors.

    The images are the first wrong predictions by id; where nothing is wrong there is nothing to trace either.
    """
    places = np.flatnonzero(ready.wrong)[:HONEST_IMAGES]
    if ready.honesty is not None or not len(places):
        return ready.honesty
    images, labels = ready.test.features.image[places], torch.from_numpy(ready.test.labels[places])
    progress.start("refit without random pairs", total=REMOVALS, unit="removals")
    found = honesty_of(ready.tracer, images, labels, removals=REMOVALS, share=SHARE, seed=0, tick=progress.advance)
    table = pd.DataFrame([asdict(found)])
    pool = ready.pool
    pool.write_table(HONESTY, ready.name, table, record=asdict(found), fingerprint=ready.name)
    return found


def _measure_sizes(
    pool: Pool, found: ScoringSet, tracer: Tracer, *, name: str, probes: int, progress: Progress
) -> None:
    if name in {artifact.name for artifact in pool.tables(KIND)}:
        return
    total = len(found.rows) * tracer.plan.rounds(len(found.rows)) * -(-probes // 8)
    progress.start("measure removals", total=total)
    sizes = tracer.sizes(probes=probes, tick=progress.advance)
    columns = {part: getattr(sizes, part).numpy() for part in ("pos", "neg", "cross")}
    ids = found.pairs["pair_id"].iloc[found.rows].to_numpy()
    table = pd.DataFrame({"pair_id": ids, "row": found.rows, **columns})
    pool.write_table(KIND, name, table, record={"probes": probes, **asdict(SETTINGS)}, fingerprint=name)


def _stored_sizes(pool: Pool, name: str) -> Sizes | None:
    if name not in {artifact.name for artifact in pool.tables(KIND)}:
        return None
    stored = pool.table(KIND, name)
    parts = [torch.from_numpy(stored[part].to_numpy(dtype=np.float64, copy=True)) for part in ("pos", "neg", "cross")]
    return Sizes(parts[0], parts[1], parts[2], torch.zeros(0, dtype=torch.float64))


def _stored_honesty(pool: Pool, name: str) -> Honesty | None:
    record = next((artifact.record for artifact in pool.tables(HONESTY) if artifact.name == name), None)
    return Honesty(**record) if record is not None else None

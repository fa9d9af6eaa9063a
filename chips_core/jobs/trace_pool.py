"""A pool made ready to be traced: the fitted model, the test images, and what was measured of it before.

Two questions can be wrong: which class an image shows, and which of the split's captions is its own (retrieval, which
needs no labels). Either is a choice among texts, so the same tracer answers both.

What does not depend on the image is kept in the pool: the fitted heads (kind `fits`), the size of every pair's removal
(kind `traces`), and what was measured of the answers: how predictions agree with real refits (kind `honesty`), and in a
large pool how quick answers agree with exact ones (kind `recalls`).
"""

from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from chips_core import fingerprint
from chips_core.config import at_least
from chips_core.errors import InputError, NoTargetSet, NotFitted
from chips_core.influence.blocks import BlockPlan
from chips_core.influence.relative import PROBES, Sizes
from chips_core.jobs.evaluate import EncodedSplit, encoded_split
from chips_core.jobs.fitting import fitted_heads, is_fitted
from chips_core.jobs.scoring_set import ScoringSet, scoring_set
from chips_core.progress import Progress
from chips_core.store import Pool
from chips_core.verify.trace_search import Mode, Way
from chips_core.verify.tracer import FIT, SETTINGS, Honesty, Tracer, honesty_of

KIND, HONESTY = "traces", "honesty"
REMOVALS, SHARE, HONEST_IMAGES = 24, 0.02, 12
FITTED_AT_ONCE = 5_000  # pairs to which the heads are fitted while a person waits; more are work for a job
MOST_CAPTIONS = 5_000  # pairs of a split whose captions are compared: every image with every caption
NO_LABELS = "retrieval errors need no labels (chips trace --question caption)."
Bools = npt.NDArray[np.bool_]
Question = Literal["class", "caption"]


@dataclass(frozen=True)
class Settings:
    """Which image of which split to trace; without an image, the wrong predictions are listed and all is prepared.

    Attributes:
        question: what is asked of an image: its class, or its own caption among those of the split.
        mode: what ranks; None is `plain` through the whole fit, else `relative`.
        way: how pairs are measured; None is `quick` in a large pool, else `exact`.
    """

    pool: str
    test: str = "test"
    question: Question = "class"
    image: str | None = None
    top: int = at_least(1, default=20)
    mode: Mode | None = None
    target: str | None = None
    features: str | None = None
    retrain: bool = False
    probes: int = PROBES
    way: Way | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that a click needs, in memory.

    Attributes:
        found: the pool's pairs as tensors; row i of the tracer is `found.rows[i]` of the kept pairs.
        tracer: the pool and the model fitted to it.
        sizes: of every pair's removal; None where they are not measured yet: only plain influence is there then.
        test: the test images; their labels are the right answers.
        classes: the possible answers in the order of their codes: the classes, or the captions of the split.
        logits: (T, C) of the fitted model.
        name: of the pool's model and the question.
        question: what is asked of an image.
        honesty: as measured on this pool; None before.
    """

    pool: Pool
    found: ScoringSet
    tracer: Tracer
    sizes: Sizes | None
    test: EncodedSplit
    classes: tuple[str, ...]
    logits: torch.Tensor
    name: str
    question: Question = "class"
    honesty: Honesty | None = None

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """(T,) the predicted answer of each test image."""
        return np.asarray(self.logits.argmax(1).numpy(), np.int64)

    @property
    def wrong(self) -> Bools:
        """(T,) test images with a label that the model gets wrong."""
        return np.asarray((self.test.labels >= 0) & (self.predicted != self.test.labels))

    @cached_property
    def pair_ids(self) -> npt.NDArray[np.object_]:
        """(N,) the ids of the pool's pairs."""
        return self.found.pairs["pair_id"].iloc[self.found.rows].astype(str).to_numpy(object)

    def measured_on(self, places: npt.NDArray[np.int64]) -> list[Any]:
        """Returns what a measurement on some test images depends on: model and question, their ids and answers."""
        ids = self.test.pairs["pair_id"].iloc[places].astype(str).tolist()
        return [self.name, ids, self.test.labels[places].tolist()]


def prepare(pool: Pool, settings: Settings, *, progress: Progress, measure: bool = True) -> Prepared:
    """Returns what every trace of a pool needs, computed and stored where it is not there yet.

    Args:
        pool: the pool.
        settings: see `Settings`.
        progress: told of the fit and of the measurement.
        measure: measure the sizes of the removals where they are missing, and fit however large the pool is: minutes.

    Raises:
        NotFitted: `measure` is off, and the fit, which is missing, is no matter of seconds.
    """
    if not pool.feature_sets():
        raise InputError(f"Pool '{pool.path.name}' is not encoded yet.", fix="run: chips encode POOL --model NAME")
    features, plan = settings.features or pool.feature_sets()[-1].name, BlockPlan()
    found = scoring_set(pool, target=settings.target, plan=plan, features=features)
    classes, prompts, test = _asked(pool, found, settings, features=features)
    large = len(found.rows) > FITTED_AT_ONCE
    if not measure and large and not is_fitted(pool, found, features=features, settings=FIT):
        raise NotFitted(
            f"The model is not fitted to the {len(found.rows):,} pairs of pool '{pool.path.name}' yet.",
            fix=f"run: chips trace POOL --question {settings.question}",
        )
    with pool.writing("trace") if measure else nullcontext():
        fitted = fitted_heads(pool, found, features=features, progress=progress, settings=FIT, snapshots=False)
        tracer = Tracer(found.inputs.pool, found.inputs.heads, fitted, plan, prompts)
        key = [features, found.target, len(found.rows), asdict(FIT), asdict(SETTINGS), asdict(plan), settings.probes]
        name = f"trace-{fingerprint.of(key)}"
        if measure:
            _measure_sizes(pool, found, tracer, name=name, probes=settings.probes, progress=progress)
    logits, sizes = tracer.logits(test.features.image), _stored_sizes(pool, name)
    asked = name if settings.question == "class" else f"{name}-{settings.question}"
    ready = Prepared(pool, found, tracer, sizes, test, classes, logits, asked, settings.question)
    return replace(ready, honesty=_stored_honesty(ready))


def measure_honesty(ready: Prepared, *, progress: Progress) -> Honesty | None:
    """Returns how well predictions agree with real refits on this pool, measured once and stored; None without errors.

    The images are the first wrong predictions of the split; where nothing is wrong there is nothing to trace either.
    """
    pool, places = ready.pool, _honest_places(ready)
    if ready.honesty is not None or not len(places):
        return ready.honesty
    images, labels = ready.test.features.image[places], torch.from_numpy(ready.test.labels[places])
    progress.start("refit without random pairs", total=REMOVALS, unit="removals")
    with pool.writing("measure honesty"):
        found = honesty_of(ready.tracer, images, labels, removals=REMOVALS, share=SHARE, seed=0, tick=progress.advance)
        name, table = _honesty_name(ready), pd.DataFrame([asdict(found)])
        pool.write_table(HONESTY, name, table, record={"removals": REMOVALS, "share": SHARE}, fingerprint=name)
    return found


def _asked(
    pool: Pool, found: ScoringSet, settings: Settings, *, features: str
) -> tuple[tuple[str, ...], torch.Tensor, EncodedSplit]:
    """Returns the possible answers, their text features (C, dt), and the test images with the right answer of each.

    For captions: the different captions of the split, in order; where it is larger, of its first MOST_CAPTIONS pairs.
    """
    stored = pool.features(features)
    if settings.question == "class":
        if found.inputs.prompts is None or len(found.classes) < 2:
            raise _no_classes(pool, found.classes)
        test = encoded_split(pool, stored, split=settings.test, classes=found.classes)
        if not (test.labels >= 0).any():
            raise NoTargetSet(
                f"No pair of the split '{settings.test}' has a label: no prediction of a class can be wrong.",
                fix=f"give labels to that split and bring the data in again; {NO_LABELS}",
            )
        return found.classes, found.inputs.prompts, test
    test = encoded_split(pool, stored, split=settings.test, most=MOST_CAPTIONS)
    codes, captions = pd.factorize(test.pairs["caption"].astype(str).to_numpy(object), sort=True)
    if len(captions) < 2:
        raise InputError("All images of the split have the same caption.", fix="name a split whose captions differ.")
    first = np.unique(codes, return_index=True)[1]
    texts = test.features.text[torch.from_numpy(first)]
    return tuple(captions), texts, replace(test, labels=np.asarray(codes, np.int64))


def _no_classes(pool: Pool, classes: tuple[str, ...]) -> NoTargetSet:
    there = "only one class" if classes else "no labels, so it has no class prompts"
    return NoTargetSet(
        f"Pool '{pool.path.name}' has {there}: no prediction of a class can be wrong.",
        fix=f"bring the data in again with a label column of two classes or more, and encode it; {NO_LABELS}",
    )


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


def _honest_places(ready: Prepared) -> npt.NDArray[np.int64]:
    return np.flatnonzero(ready.wrong)[:HONEST_IMAGES]


def _honesty_name(ready: Prepared) -> str:
    """Returns the name under which the honesty of this model, question and test images is kept."""
    columns = sorted(field.name for field in fields(Honesty))
    return f"honesty-{fingerprint.of([*ready.measured_on(_honest_places(ready)), REMOVALS, SHARE, columns])}"


def _stored_honesty(ready: Prepared) -> Honesty | None:
    name = _honesty_name(ready)
    if name not in {artifact.name for artifact in ready.pool.tables(HONESTY)}:
        return None
    line = ready.pool.table(HONESTY, name).to_dict(orient="records")[0]
    return Honesty(**{str(column): value for column, value in line.items()})

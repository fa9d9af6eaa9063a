"""The trace step: from a test image that the model gets wrong to the training pairs that made it so.

What does not depend on the image is kept in the pool: the fitted heads (kind `fits`), the size of every pair's removal
(kind `traces`) and the measured agreement of predictions with real refits (kind `honesty`). With them a click costs
one linear solve and one pass over the features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from chips_core import fingerprint
from chips_core.config import at_least
from chips_core.errors import InputError, NoTargetSet
from chips_core.influence.blocks import BlockPlan
from chips_core.influence.endpoint import Heads, embed
from chips_core.influence.relative import PROBES, Sizes
from chips_core.jobs.evaluate import EncodedSplit, encoded_split
from chips_core.jobs.fitting import fitted_heads
from chips_core.jobs.scoring_set import ScoringSet, scoring_set
from chips_core.progress import Progress
from chips_core.store import Pool
from chips_core.verify.tracer import SETTINGS, Honesty, Traced, Tracer, honesty_of

KIND, HONESTY = "traces", "honesty"
Mode = Literal["relative", "plain"]
REMOVALS, SHARE, HONEST_IMAGES = 24, 0.02, 12
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Settings:
    """Which image of which split to trace; without an image, the wrong predictions are listed and all is prepared."""

    pool: str
    test: str = "test"
    image: str | None = None
    top: int = at_least(1, default=20)
    mode: Mode = "relative"
    target: str | None = None
    features: str | None = None
    retrain: bool = False
    probes: int = PROBES


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


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Traces one image, or prepares the pool and lists its wrong predictions."""
    pool = Pool.open(Path(settings.pool))
    ready = prepare(pool, settings, progress=progress)
    if settings.image is None:
        measured = measure_honesty(ready, progress=progress)
        return {"trace": ready.name, **_listed(ready), "honesty": asdict(measured) if measured else None}
    place = place_of(ready, settings.image)
    traced = trace(ready, [place])
    table = pairs_of(ready, traced, [place], mode=settings.mode)
    harmful, helpful = table.head(settings.top), table.iloc[::-1].head(settings.top)
    harmful = harmful[harmful["influence"] < 0]
    helpful = helpful[helpful["influence"] > 0]
    progress.note("predicting the removal of the harmful pairs")
    removal = what_if(ready, [place], harmful["place"].tolist(), retrain=settings.retrain)
    return {
        "trace": ready.name,
        "mode": settings.mode,
        "image": image_facts(ready, place),
        "harmful": _plain(harmful),
        "helpful": _plain(helpful),
        "without_harmful": removal,
        "honesty": asdict(ready.honesty) if ready.honesty else None,
    }


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
        fitted = fitted_heads(pool, found, features=features, progress=progress)
        tracer = Tracer(found.inputs.pool, found.inputs.heads, fitted, plan, found.inputs.prompts)
        key = [features, found.target, len(found.rows), asdict(SETTINGS), asdict(plan), settings.probes]
        name = f"trace-{fingerprint.of(key)}"
        if measure:
            _measure_sizes(pool, found, tracer, name=name, probes=settings.probes, progress=progress)
    logits = tracer.logits(test.features.image)
    sizes = _stored_sizes(pool, name)
    return Prepared(pool, found, tracer, sizes, test, logits, name, honesty=_stored_honesty(pool, name))


def place_of(ready: Prepared, pair_id: str) -> int:
    """Returns the place of a test image in the split."""
    places = np.flatnonzero((ready.test.pairs["pair_id"] == pair_id).to_numpy())
    if not len(places):
        raise InputError("No test image has that id.", fix="run `chips trace POOL` without --image to list the errors.")
    return int(places[0])


def trace(ready: Prepared, places: Sequence[int]) -> Traced:
    """Returns the influence of every pair on the mean loss of one test image, or of all errors of a cell."""
    images, labels = _images(ready, places)
    return ready.tracer.trace(images, labels, sizes=ready.sizes)


def pairs_of(ready: Prepared, traced: Traced, places: Sequence[int], *, mode: Mode) -> pd.DataFrame:
    """Returns one line a pair of the pool, the most harmful first.

    Columns: place (in the tracer), row (of the kept pairs), pair_id, label, caption, influence, pos, neg,
    delta_loss_if_removed, similarity (to the nearest of the images), same_patient, same_image, role.
    """
    pairs = ready.found.pairs.iloc[ready.found.rows].reset_index(drop=True)
    test = ready.test.pairs.iloc[list(places)]
    own, _ = embed(ready.test.features.image[list(places)], ready.tracer.heads.image)
    all_images, _ = embed(ready.found.inputs.pool.image, ready.tracer.heads.image)
    influence = traced.relative if mode == "relative" else traced.plain
    if influence is None:
        raise InputError("The sizes of the removals are not measured yet.", fix="use the plain mode, or prepare first.")
    table = pd.DataFrame(
        {
            "place": np.arange(len(pairs)),
            "row": ready.found.rows,
            "pair_id": pairs["pair_id"].astype(str),
            "label": pairs["label"].astype(str),
            "caption": pairs["caption"].astype(str),
            "influence": influence.numpy(),
            "pos": traced.pos.numpy(),
            "neg": traced.neg.numpy(),
            "delta_loss_if_removed": traced.plain.numpy(),
            "similarity": (all_images @ own.T).max(1).values.double().numpy(),
            "same_patient": pairs["group"].isin(set(test["group"]) - {""}),
            "same_image": pairs["image_sha256"].isin(set(test["image_sha256"]) - {""}),
        }
    )
    table["role"] = [role(pos, neg) for pos, neg in zip(table["pos"], table["neg"], strict=True)]
    return table.sort_values(["influence", "pair_id"], kind="stable", ignore_index=True)


def role(pos: float, neg: float) -> str:
    """Returns in words by which of its roles a pair moved the prediction."""
    wrong = pos + neg < 0
    mine, both = abs(pos) >= abs(neg), min(abs(pos), abs(neg)) > 0.5 * max(abs(pos), abs(neg)) and pos * neg > 0
    if both:
        return (
            f"as a partner and as a wrong answer of others, it pushed {'away from' if wrong else 'towards'} the truth"
        )
    if mine:
        return f"as a partner: its caption pulled such images {'away from' if wrong else 'towards'} the true class"
    return f"as a wrong answer of others: it pushed such images {'away from' if wrong else 'towards'} the true class"


def what_if(ready: Prepared, places: Sequence[int], removed: Sequence[int], *, retrain: bool) -> dict[str, Any]:
    """Returns the probabilities of the classes before, as predicted without some pairs, and as really refitted.

    Args:
        ready: the pool.
        places: test images; probabilities and losses are their means.
        removed: places of the pairs in the tracer.
        retrain: whether to really fit the heads again.
    """
    members = torch.zeros(len(ready.found.rows), dtype=torch.bool)
    members[torch.tensor(list(removed), dtype=torch.int64)] = True
    models: dict[str, Heads] = {"before": ready.tracer.heads, "predicted": ready.tracer.edited(members)}
    if retrain:
        models["retrained"] = ready.tracer.retrained(members)
    return {"removed": int(members.sum()), **{name: _seen(ready, places, heads) for name, heads in models.items()}}


def image_facts(ready: Prepared, place: int) -> dict[str, Any]:
    """Returns what is known of a test image and what the model makes of it."""
    code, guess = int(ready.test.labels[place]), int(ready.predicted[place])
    probabilities = torch.softmax(ready.logits[place].double(), 0)
    return {
        "pair_id": str(ready.test.pairs["pair_id"].iloc[place]),
        "label": ready.classes[code] if code >= 0 else None,
        "predicted": ready.classes[guess],
        "probabilities": {name: float(p) for name, p in zip(ready.classes, probabilities, strict=True)},
        "also_in_training": bool(ready.test.leaked[place]),
    }


def errors_table(ready: Prepared) -> pd.DataFrame:
    """Returns one line a wrong prediction, the surest first: place, row, pair_id, label, predicted, confidence."""
    places = np.flatnonzero(ready.wrong)
    confidence = torch.softmax(ready.logits.double(), 1).max(1).values.numpy()[places]
    names = np.asarray(ready.classes, dtype=object)
    table = pd.DataFrame(
        {
            "place": places,
            "row": ready.test.rows[places],
            "pair_id": ready.test.pairs["pair_id"].iloc[places].astype(str).to_numpy(),
            "label": names[ready.test.labels[places]],
            "predicted": names[ready.predicted[places]],
            "confidence": confidence,
            "also_in_training": ready.test.leaked[places],
        }
    )
    return table.sort_values(["confidence", "pair_id"], ascending=[False, True], ignore_index=True)


def measure_honesty(ready: Prepared, *, progress: Progress) -> Honesty | None:
    """Returns how well predictions agree with real refits on this pool, measured once and stored; None without errors.

    The images are the first wrong predictions by id; where nothing is wrong there is nothing to trace either.
    """
    places = np.flatnonzero(ready.wrong)[:HONEST_IMAGES]
    if ready.honesty is not None or not len(places):
        return ready.honesty
    images, labels = _images(ready, places.tolist())
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


def _images(ready: Prepared, places: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.from_numpy(ready.test.labels[list(places)])
    if not len(places) or bool((labels < 0).any()):
        raise InputError("A test image without a label cannot be traced.", fix="choose one that has a label.")
    return ready.test.features.image[list(places)], labels


def _seen(ready: Prepared, places: Sequence[int], heads: Heads) -> dict[str, Any]:
    images, labels = _images(ready, places)
    probabilities = torch.softmax(ready.tracer.logits(images, heads).double(), 1)
    return {
        "loss": float(ready.tracer.losses(images, labels, heads).mean()),
        "right": int((probabilities.argmax(1) == labels).sum()),
        "probabilities": {name: float(p) for name, p in zip(ready.classes, probabilities.mean(0), strict=True)},
    }


def _listed(ready: Prepared) -> dict[str, Any]:
    errors = errors_table(ready).drop(columns=["place", "row"])
    labelled = int((ready.test.labels >= 0).sum())
    return {"pairs": len(ready.found.rows), "images": labelled, "wrong": len(errors), "errors": _plain(errors)}


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns lines of plain Python values."""
    return [
        {str(key): value.item() if isinstance(value, np.generic) else value for key, value in line.items()}
        for line in table.to_dict(orient="records")
    ]

"""The demo step: a pool of phantoms, encoded by the small model that ships with the product, scored and mapped.

It runs the same steps that a person would type, one after the other, and finds finished work again: a demo that was
stopped goes on where it was.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chips_core.config import at_least
from chips_core.errors import InputError
from chips_core.jobs.models import DEMO
from chips_core.jobs.steps import run_step
from chips_core.phantoms import dataset_rows, plan, write_dataset
from chips_core.progress import Progress
from chips_core.store import Pool

SOURCE = "source"  # the data set, inside the pool's folder
MODEL = "model"  # a model trained anew, inside the data set's folder
TABLE = "pairs.csv"


@dataclass(frozen=True)
class Settings:
    """Where to, which phantoms (`train`, `val` and `test` are how many), and whether to train the model anew."""

    pool: str
    seed: int = at_least(0, default=0)
    retrain: bool = False
    train: int = 2400
    val: int = 300
    test: int = 300


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Builds the demo pool and returns what each step answered."""
    pool = Path(settings.pool)
    _phantoms(settings, source=pool / SOURCE, progress=progress)
    answers: dict[str, Any] = {"pool": pool.name, "seed": settings.seed}
    if (pool / "pool.json").exists():
        answers["intake"] = {"outcomes": Pool.open(pool).outcomes().counts}
    else:
        taken = {"source": str(pool / SOURCE), "pool": str(pool)}
        answers["intake"] = run_step("intake", taken, progress=progress)
    model = _model(settings, folder=pool / SOURCE / MODEL, progress=progress)
    answers["encode"] = run_step("encode", {"pool": str(pool), "model": model}, progress=progress)
    for name in ("score", "map"):
        answers[name] = run_step(name, {"pool": str(pool)}, progress=progress)
    return {**answers, "trace": _made_ready_to_trace(pool, progress=progress)}


def _made_ready_to_trace(path: Path, *, progress: Progress) -> Mapping[str, Any]:
    """Fits the model that is traced, so that the page of wrong predictions need not be waited for."""
    from chips_core.jobs.trace_pool import Settings as TraceSettings
    from chips_core.jobs.trace_pool import prepare

    ready = prepare(Pool.open(path), TraceSettings(str(path)), progress=progress, measure=False)
    return {"trace": ready.name, "images": len(ready.wrong), "wrong": int(ready.wrong.sum())}


def _phantoms(settings: Settings, *, source: Path, progress: Progress) -> None:
    """Writes the data set unless it is there; a folder that holds another one is refused."""
    size = {"seed": settings.seed, "train": settings.train, "val": settings.val, "test": settings.test}
    if not (source / TABLE).exists():
        if (source.parent / "pool.json").exists():
            raise InputError(
                f"The pool '{source.parent.name}' is not a demo pool.", fix="choose a new folder for the demo."
            )
        write_dataset(source, progress=progress, **size)
        return
    with (source / TABLE).open(encoding="utf-8", newline="") as table:
        if list(csv.DictReader(table)) != dataset_rows(plan(**size)):
            raise InputError(
                f"The folder '{source.parent.name}' holds other phantoms than these settings give.",
                fix="choose a new folder, or the seed that it was built with.",
            )


def _model(settings: Settings, *, folder: Path, progress: Progress) -> str:
    """Returns the name of the model to encode with; trains one first where that was asked for."""
    if not settings.retrain:
        return DEMO
    from chips_core.verify.demo_model import DESCRIPTION, retrain

    description = folder / DESCRIPTION
    return str(description if description.exists() else retrain(folder, progress=progress))

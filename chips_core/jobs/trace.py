"""The trace step: from a test image that the model gets wrong to the training pairs that made it so."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from chips_core.jobs import trace_answers as answers
from chips_core.jobs.trace_pool import Prepared, Settings, measure_honesty, prepare
from chips_core.jobs.trace_recall import is_large, measure_recall
from chips_core.progress import Progress
from chips_core.store import Pool

__all__ = ["Settings", "run"]


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Traces one image, or prepares the pool and lists its wrong predictions."""
    pool = Pool.open(Path(settings.pool))
    ready = prepare(pool, settings, progress=progress)
    if settings.image is None:
        return _prepared(ready, progress=progress)
    place = answers.place_of(ready, settings.image)
    way = settings.way or ("quick" if is_large(ready) else "exact")
    mode = settings.mode or ("plain" if way == "fit" else "relative")
    if way == "fit":
        progress.start("follow the fit back", total=ready.tracer.course.pairs_seen)
    table = answers.explain(ready, [place], mode=mode, top=settings.top, way=way, tick=progress.advance)
    harmful, helpful = table[table["influence"] < 0], table[table["influence"] > 0].iloc[::-1]
    progress.note("predicting the removal of the harmful pairs")
    removal = answers.what_if(ready, [place], harmful["place"].tolist(), retrain=settings.retrain)
    return {
        "trace": ready.name,
        "question": ready.question,
        "mode": mode,
        "way": way,
        "image": answers.image_facts(ready, place),
        "harmful": answers.plain_lines(harmful),
        "helpful": answers.plain_lines(helpful),
        "without_harmful": removal,
        "honesty": asdict(ready.honesty) if ready.honesty else None,
    }


def _prepared(ready: Prepared, *, progress: Progress) -> Mapping[str, Any]:
    """Returns the wrong predictions, after measuring what is not measured yet."""
    measured = measure_honesty(ready, progress=progress)
    recall = measure_recall(ready, progress=progress)
    errors: pd.DataFrame = answers.errors_table(ready).drop(columns=["place", "row"])
    return {
        "trace": ready.name,
        "question": ready.question,
        "pairs": len(ready.found.rows),
        "images": int((ready.test.labels >= 0).sum()),
        "wrong": len(errors),
        "errors": answers.plain_lines(errors),
        "accuracy": answers.accuracy_of(ready) if ready.question == "class" else None,
        "honesty": asdict(measured) if measured else None,
        "recall": asdict(recall) if recall else None,
    }

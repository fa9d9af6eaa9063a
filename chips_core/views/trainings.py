"""Trainings on selections: where they go, and what each gained and cost, from the report beside its checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chips_core import atomic
from chips_core.errors import ChipsError
from chips_core.store import Pool
from chips_core.views.exporting import home_of, place_of

TRAININGS = "trainings"  # the folder of the trainings, in a root
REPORT = "report.json"
PARTS = {"heads": "Heads, on cached features", "last": "Last blocks too", "full": "The whole model"}
MOST = 50


@dataclass(frozen=True)
class TrainedTask:
    """One task before and after a training; numbers are None where there was nothing to judge by.

    Attributes:
        training: the name of its folder.
        selection: that was trained on.
        part: of the model that was trained, in words.
        task: pool, split and source, in words.
        before: zero-shot accuracy.
        after: the same.
        change: paired, with the ends of its interval where there is one.
        recall: how often the own caption comes first, before and after.
    """

    training: str
    selection: str
    part: str
    task: str
    before: float | None
    after: float | None
    change: tuple[float, float | None, float | None] | None
    recall: tuple[float | None, float | None]


def training_target(name: str) -> Path:
    """Returns the folder of a training of that name, always in the trainings' folder."""
    return place_of(TRAININGS, name)


def splits_to_judge(pool: Pool) -> list[str]:
    """Returns the splits that a training can be judged on, test first."""
    found = set(pool.kept(["split"])["split"]) - {"", "train"}
    return sorted(found, key=lambda split: (split != "test", split))


def trainings_of(pool_id: str, selections: frozenset[str]) -> tuple[TrainedTask, ...]:
    """Returns what the finished trainings on these selections of a pool gave, the newest first."""
    home = home_of(TRAININGS)
    if home is None or not home.is_dir():
        return ()
    reports = sorted(home.glob(f"*/{REPORT}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return tuple(task for path in reports[:MOST] for task in _tasks(path, pool_id) if task.selection in selections)


def _tasks(path: Path, pool_id: str) -> list[TrainedTask]:
    try:
        told = atomic.read_json(path)
    except (ChipsError, OSError):
        return []
    if not isinstance(told, dict) or not isinstance(told.get("tasks"), list) or told.get("pool") != pool_id:
        return []
    part = PARTS.get(str(told.get("settings", {}).get("part", "")), "")
    return [_task(path.parent.name, str(told.get("selection", "")), part, task) for task in told["tasks"]]


def _task(training: str, selection: str, part: str, task: Mapping[str, Any]) -> TrainedTask:
    named = ", ".join(str(task[key]) for key in ("split", "source") if task.get(key))
    named += "" if task.get("trained_on", True) else f" of {task.get('pool', '')}, retained"
    change = task.get("change")
    return TrainedTask(
        training=training,
        selection=selection,
        part=part,
        task=named,
        before=task.get("before"),
        after=task.get("after"),
        change=None if change is None else (change["mean"], change["low"], change["high"]),
        recall=(task.get("recall_before"), task.get("recall_after")),
    )

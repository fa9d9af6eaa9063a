"""What exporting shows: what would be written, where it goes, and the exports that are there."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from chips_core import atomic
from chips_core.curate.export import CARD, MANIFEST, MARK
from chips_core.curate.export_plan import ALLOWED, NEEDED, ExportPlan, export_plan
from chips_core.errors import ChipsError, InputError
from chips_core.store import Pool
from chips_core.views.curate import events_of, version_of
from chips_core.views.pools import roots

EXPORTS = "exports"  # the folder of the exports, in a root
MOST_EXPORTS = 50
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,59}")


@dataclass(frozen=True)
class Export:
    """An export that is there: its name, what is in it, and whether it is of the pool in question."""

    name: str
    kind: str
    selection: str
    pairs: int
    bytes: int
    pool: str


@dataclass(frozen=True)
class ClassChange:
    """One class before and after: its name, its pairs, and the share of them that goes."""

    name: str
    before: int
    after: int

    @property
    def removed(self) -> float:
        """The share of its pairs that is left behind."""
        return 1 - self.after / self.before if self.before else 0.0


def home_of(kind: str) -> Path | None:
    """Returns the folder that holds things of a kind, in the first of the app's folders; None where there is none."""
    return next((root / kind for root in roots() if root.is_dir()), None)


def place_of(kind: str, name: str) -> Path:
    """Returns the folder of a thing of that name, always in its kind's folder; says what is wrong with a name."""
    home = home_of(kind)
    if home is None or not _NAME.fullmatch(name.strip()):
        raise InputError("That cannot be the name of a folder.", fix="use letters, digits, dots, dashes, underscores.")
    return home / name.strip()


def exports_home() -> Path | None:
    """Returns the folder that exports go to: `exports` in the first of the app's folders; None where there is none."""
    return home_of(EXPORTS)


def export_target(name: str) -> Path:
    """Returns the folder of an export of that name, always in the exports' folder; says what is wrong with a name."""
    return place_of(EXPORTS, name)


def suggested_name(selection: str) -> str:
    """Returns a name for a folder that is as near to a selection's as the rules allow."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in selection.strip())
    return plain.lstrip(".-")[:40] or "selection"


def exports_there(pool_id: str) -> tuple[Export, ...]:
    """Returns the finished exports, those of a pool before those of others, the newest first."""
    home = exports_home()
    if home is None or not home.is_dir():
        return ()
    folders = [path.parent for path in home.glob(f"*/{MANIFEST}") if _NAME.fullmatch(path.parent.name)]
    folders.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    found = [one for path in folders[:MOST_EXPORTS] if (one := _export(path)) is not None]
    return tuple(sorted(found, key=lambda one: one.pool != pool_id))


def card_of(name: str) -> bytes:
    """Returns the data card of an export; says so where there is none."""
    path = export_target(name) / CARD
    if path.is_symlink() or not path.is_file() or _export(path.parent) is None:
        raise InputError("There is no data card of that name.", fix="choose an export from the list.")
    return path.read_bytes()


def preview(pool: Pool, selection: str, *, columns: Sequence[str] = ()) -> ExportPlan:
    """Returns what an export would hold; computed once while neither the pool nor its verdicts change."""
    return _preview(pool.path, version_of(pool.path), events_of(pool.path), selection, tuple(columns))


def class_changes(plan: ExportPlan) -> tuple[ClassChange, ...]:
    """Returns every class before and after, what loses the largest share first."""
    counts = next(found.counts for found in plan.coverage if found.column == "label")
    found = [ClassChange(name or "not said", before, after) for name, before, after in counts if before]
    return tuple(sorted(found, key=lambda change: (-change.removed, -change.before, change.name)))


def in_a_sentence(plan: ExportPlan) -> str:
    """Returns for example `1,204 of 3,000 pairs stay behind: 41.2 % of pneumonia, 3.1 % of effusion, …`."""
    changes = [change for change in class_changes(plan) if change.removed > 0]
    gone = len(plan.left_behind)
    named = ", ".join(f"{change.removed:.1%} of {change.name}" for change in changes[:3])
    more = f"; {len(changes) - 3:,} more classes lose pairs" if len(changes) > 3 else ""
    tail = f": {named}{more}" if named else ""
    return f"{gone:,} of {gone + len(plan.table):,} pairs stay behind{tail}."


def columns_offered(pool: Pool) -> list[str]:
    """Returns the columns that an export may hold besides those that it always holds: of the pairs, then the scores."""
    scores = [
        str(entry["column"]) for artifact in pool.tables("scores") for entry in artifact.record.get("columns", [])
    ]
    return list(dict.fromkeys([*(name for name in ALLOWED if name not in NEEDED), *scores]))


@lru_cache(maxsize=4)
def _preview(folder: Path, _version: int, _events: int, selection: str, columns: tuple[str, ...]) -> ExportPlan:
    return export_plan(Pool.open(folder), selection=selection, columns=columns)


def _export(folder: Path) -> Export | None:
    """Returns what a folder's manifest says; None where it is none of ours."""
    try:
        told = atomic.read_json(folder / MANIFEST)
    except (ChipsError, OSError):
        return None
    if not isinstance(told, dict) or told.get("format") != MARK:
        return None
    size = sum(int(entry["bytes"]) for entry in told["files"].values())
    return Export(folder.name, told["kind"], told["selection"], int(told["pairs"]), size, told["pool"]["id"])

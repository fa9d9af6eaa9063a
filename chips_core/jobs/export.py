"""The export step: a selection as files for training elsewhere, or only a preview of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from chips_core.curate.export import ExportSettings, check_target, export
from chips_core.curate.export_formats import Format
from chips_core.curate.export_plan import export_plan
from chips_core.progress import Progress
from chips_core.store import Pool


@dataclass(frozen=True)
class Settings:
    """Which selection, where to, and in which form."""

    pool: str
    selection: str
    to: str
    format: Format = "csv"
    columns: tuple[str, ...] | list[str] = ()
    images: Literal["copy", "none"] | None = None
    originals: bool = False
    shard_size: int = 1000
    force: bool = False
    dry_run: bool = False


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Writes the export and returns how many pairs are in it, what is left behind, and the files."""
    pool = Pool.open(Path(settings.pool))
    plan = export_plan(pool, selection=settings.selection, columns=settings.columns)
    labels = next(found for found in plan.coverage if found.column == "label")
    answer = {
        "selection": settings.selection,
        "pairs": len(plan.table),
        "dropped": dict(plan.dropped),
        "per_class": [list(line) for line in labels.counts],
        "warnings": list(plan.warnings),
        "files": 0,
    }
    if settings.dry_run:
        check_target(Path(settings.to), pool=pool, force=settings.force)
        return answer
    copies = None if settings.images is None else settings.images == "copy"
    how = ExportSettings(settings.format, copies, settings.originals, settings.shard_size, settings.force)
    manifest, warnings = export(plan, pool=pool, to=Path(settings.to), settings=how, progress=progress)
    for words in warnings:
        progress.note(words)
    return {**answer, "pairs": manifest["pairs"], "warnings": list(warnings), "files": len(manifest["files"])}

"""The intake step: a source of pairs becomes a pool, every row with exactly one outcome."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from chips_core.config import at_least
from chips_core.data import ColumnMap, ImageLimits, SourceKind, examine, open_source
from chips_core.progress import Progress
from chips_core.store import Pool


@dataclass(frozen=True)
class Settings:
    """What to take in, and how to read it; columns left empty are guessed from their names."""

    source: str
    pool: str
    kind: str | None = None
    image_root: str | None = None
    id_col: str | None = None
    image_col: str | None = None
    caption_col: str | None = None
    label_col: str | None = None
    group_col: str | None = None
    split_col: str | None = None
    check: Literal["full", "header"] = "full"
    max_megapixels: float = at_least(1, default=100)
    workers: int = at_least(0, default=0)


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Makes the pool and returns its outcome counts and the columns that were used."""
    pool_path = Path(settings.pool)
    source = open_source(
        Path(settings.source),
        kind=SourceKind(settings.kind) if settings.kind else None,
        columns=_columns(settings),
        image_root=_root(settings),
    )
    progress.note(f"Source: {source.kind}; columns: {source.mapping.in_words()}.")
    limits = ImageLimits(max_megapixels=settings.max_megapixels)
    batches = examine(source, limits=limits, check=settings.check, workers=settings.workers, progress=progress)
    record = {
        "kind": str(source.kind),
        "mapping": source.mapping.given(),
        "source_root": os.path.relpath(source.root.resolve(), pool_path.absolute()),
        "settings": {"check": settings.check, "max_megapixels": settings.max_megapixels},
    }
    pool = Pool.create(pool_path, batches=batches, record=record)
    report = pool.outcomes()
    progress.note(report.in_words())
    report.raise_if_nothing_kept()
    return {"pool": pool_path.name, "fingerprint": pool.fingerprint, "kind": record["kind"], "outcomes": report.counts}


def _columns(settings: Settings) -> ColumnMap:
    return ColumnMap(
        pair_id=settings.id_col,
        image=settings.image_col,
        caption=settings.caption_col,
        label=settings.label_col,
        group=settings.group_col,
        split=settings.split_col,
    )


def _root(settings: Settings) -> Path | None:
    return Path(settings.image_root) if settings.image_root else None

"""Exports: a folder with a selection, made whole under another name and then moved to its own, or not there at all.

Nothing is written inside the pool or its source. No path of this machine and no metadata of an image comes along; the
manifest beside the files says what is in them, how it was chosen, and the SHA-256 of each.
"""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chips_core import __version__, atomic, fingerprint
from chips_core.curate.card import CardFacts, data_card
from chips_core.curate.export_formats import Format, Written, write_format
from chips_core.curate.export_plan import ExportPlan
from chips_core.data import ImageOpener
from chips_core.errors import InputError, NotWritable, UsageError
from chips_core.progress import Progress
from chips_core.store import Pool

MARK = "chips-lens-export"
MANIFEST, CARD = "manifest.json", "card.html"
WITH_IMAGES = ("webdataset", "openclip", "huggingface")
INSIDE = {"webdataset": "in the shards", "huggingface": "in the tables"}
PACKAGES = ("numpy", "pandas", "pillow", "pyarrow")


@dataclass(frozen=True)
class ExportSettings:
    """How to write.

    Attributes:
        form: of the files.
        copy_images: whether images come along; None for what the format needs.
        originals: whether they come as they are, with their metadata.
        shard_size: pairs in a shard, where the format has shards.
        force: whether an earlier export at that place is replaced.
    """

    form: Format
    copy_images: bool | None = None
    originals: bool = False
    shard_size: int = 1000
    force: bool = False

    @property
    def copies(self) -> bool:
        """Whether images are copied."""
        return self.form in WITH_IMAGES if self.copy_images is None else self.copy_images


def export(
    plan: ExportPlan, *, pool: Pool, to: Path, settings: ExportSettings, progress: Progress
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Writes a plan to a folder and returns the manifest and what to know about it."""
    _check_images(plan, settings)
    target = check_target(to, pool=pool, force=settings.force)
    atomic.make_folder(target.parent)
    _sweep(target)
    check_target(to, pool=pool, force=settings.force)  # an earlier export may have come back
    made = _beside(target, mark="-")
    done = False
    try:
        atomic.make_folder(made)
        written = _write(plan, made, pool=pool, settings=settings, progress=progress)
        warnings = (*plan.warnings, *_warnings(written, settings))
        facts = CardFacts(written.pairs, settings.form, warnings, pool.id, pool.fingerprint)
        atomic.write_bytes(made / CARD, data_card(plan, facts).encode())
        manifest = _manifest(plan, made, pool=pool, settings=settings, written=written, warnings=warnings)
        atomic.write_json(made / MANIFEST, manifest)
        _put_in_place(made, target)
        done = True
    finally:
        if not done and made.exists():
            atomic.remove(made)
    return manifest, warnings


def check_target(to: Path, *, pool: Pool, force: bool) -> Path:
    """Returns the folder to write, or says why nothing may be written there."""
    target = Path(os.path.abspath(to))
    if target.is_symlink():
        raise UsageError("The target is a link.", fix="name a new folder.")
    real = Path(os.path.realpath(target))
    pool_folder = Path(os.path.realpath(pool.path))
    guarded = {"pool": pool_folder, "source of the pool": Path(os.path.realpath(pool.source_root))}
    for what, folder in guarded.items():
        if real == folder or real.is_relative_to(folder) or folder.is_relative_to(real):
            raise UsageError(f"The target lies in the {what}, or holds it.", fix="name a new folder elsewhere.")
    parent = next(path for path in real.parents if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise NotWritable("The target's folder cannot be written to.", fix="name a folder that you may write to.")
    if target.exists() and not (force and is_export(target)):
        empty = target.is_dir() and not any(target.iterdir())
        if not empty:
            fix = "name a new folder" + (", or replace it with --force." if is_export(target) else ".")
            raise InputError(f"There is something in the folder '{target.name}' already.", fix=fix)
    return real


def _check_images(plan: ExportPlan, settings: ExportSettings) -> None:
    if settings.originals and not settings.copies:
        raise UsageError("Originals are asked for, but no images.", fix="add --images copy.")
    if settings.form in INSIDE and settings.copy_images is False:
        raise UsageError("This format holds the images.", fix="leave --images out, or choose csv.")
    inside = plan.table["image"].str.contains("#", regex=False).any() if len(plan.table) else False
    if settings.form == "openclip" and not settings.copies and inside:
        raise UsageError("Some images are inside archives, where open_clip cannot read them.", fix="use --images copy.")


def _write(plan: ExportPlan, folder: Path, *, pool: Pool, settings: ExportSettings, progress: Progress) -> Written:
    opener = ImageOpener(pool.source_root)
    try:
        return write_format(
            plan,
            folder,
            form=settings.form,
            opener=opener,
            copy_images=settings.copies,
            originals=settings.originals,
            shard_size=settings.shard_size,
            progress=progress,
        )
    finally:
        opener.close()


def _warnings(written: Written, settings: ExportSettings) -> list[str]:
    found = []
    if written.unreadable:
        found.append(f"{written.unreadable:,} images could not be read any more; their pairs stay out.")
    if written.refused_captions:
        found.append(f"{written.refused_captions:,} captions would be read as missing by open_clip; they stay out.")
    if settings.originals:
        found.append(f"Images are the original files; {written.with_metadata:,} of them hold metadata (EXIF, text, …).")
    return found


def _manifest(
    plan: ExportPlan,
    folder: Path,
    *,
    pool: Pool,
    settings: ExportSettings,
    written: Written,
    warnings: tuple[str, ...],
) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    images = "beside the table" if settings.copies else "relative to the pool's source folder"
    return {
        "format": MARK,
        "version": 1,
        "kind": settings.form,
        "selection": plan.selection,
        "pairs": written.pairs,
        "left_behind": dict(plan.dropped),
        "columns": list(plan.table.columns),
        "images": INSIDE.get(settings.form, images),
        "cells": "text like a formula has a ' before it" if settings.form == "csv" else "as in the pool",
        "recipe": plan.record.get("recipe", {}),
        "pool": {"id": pool.id, "fingerprint": pool.fingerprint},
        "runs": {**plan.record.get("origin", {}).get("runs", {}), **plan.runs},
        "warnings": list(warnings),
        "versions": {"chips-lens": __version__, **{name: version(name) for name in PACKAGES}},
        "files": {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": fingerprint.of_file(path)}
            for path in files
        },
    }


def _put_in_place(made: Path, target: Path) -> None:
    """Gives the finished folder its name; an earlier export is put aside first and removed last."""
    if not target.exists() or not any(target.iterdir()):
        atomic.move(made, target)
        return
    aside = _beside(target, mark="~")
    atomic.move(target, aside)
    atomic.move(made, target)
    atomic.remove(aside)


def is_export(folder: Path) -> bool:
    """Whether a folder holds an export, by its manifest."""
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        return False
    found = atomic.read_json(path)
    return isinstance(found, dict) and found.get("format") == MARK


def _beside(target: Path, *, mark: str) -> Path:
    """Returns a new temporary name: `-` while an export is made, `~` for an earlier one that makes way."""
    return target.parent / f"{atomic.TEMPORARY}{target.name}{mark}{secrets.token_hex(4)}"


def _sweep(target: Path) -> None:
    """Removes what killed exports to the same place left; an earlier export that made way comes back first."""
    ours = re.compile(re.escape(f"{atomic.TEMPORARY}{target.name}") + "([-~])[0-9a-f]{8}")
    left = [(path, match[1]) for path in sorted(target.parent.iterdir()) if (match := ours.fullmatch(path.name))]
    for path, mark in left:
        if mark == "~" and not target.exists() and is_export(path):
            atomic.move(path, target)
        else:
            atomic.remove(path)

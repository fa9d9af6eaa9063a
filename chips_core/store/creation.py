"""Making a pool: the checks before it, what a killed intake left, and the pairs on their way to the disk."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from chips_core import atomic
from chips_core.errors import InputError
from chips_core.store.artifacts import seal
from chips_core.store.lock import NAME as LOCK
from chips_core.store.lock import OWNER
from chips_core.store.manifest import NAME as MANIFEST
from chips_core.store.manifest import Artifact, now
from chips_core.store.pairs import write_pairs

WORK = "work"
_BEFORE_A_POOL = (WORK, LOCK, OWNER, "jobs", "images", "source")  # what may lie in the folder of a pool to be made


def checked_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record as the JSON file will give it back."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(record), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"A record cannot be stored as JSON: {error}.", fix="use plain, finite values.") from error
    return plain


def check_source_root(intake: Mapping[str, Any]) -> None:
    """Raises InputError unless the source root is relative to the pool folder, so that both can move together."""
    root = intake.get("source_root", ".")
    if not isinstance(root, str) or os.path.isabs(root) or "\0" in root:
        raise InputError("'source_root' must be relative to the pool folder.", fix="use os.path.relpath(root, pool).")


def check_new(path: Path) -> None:
    """Raises InputError unless the folder is new, empty, or holds only what may be there before a pool."""
    if (path / MANIFEST).exists():
        raise InputError(f"There is a pool in '{path.name}' already.", fix="choose another folder.")
    if path.exists() and not path.is_dir():
        raise InputError(f"'{path.name}' is a file.", fix="choose another folder.")
    children = list(path.iterdir()) if path.is_dir() else []
    if any(child.name not in _BEFORE_A_POOL and not _is_of_killed_intake(child) for child in children):
        raise InputError(f"The folder '{path.name}' is not empty.", fix="choose a new folder for the pool.")


def clear_killed_intake(path: Path) -> None:
    """Removes what an intake left that was killed before its commit; only under the lock."""
    check_new(path)  # again, now that nobody else can make a pool here
    atomic.remove(path / WORK)
    for child in path.iterdir():
        if _is_of_killed_intake(child) and not child.name.startswith(f"{atomic.TEMPORARY}{OWNER}"):
            atomic.remove(child)


def store_pairs(path: Path, batches: Iterable[pa.RecordBatch]) -> Artifact:
    """Streams the pairs to their final file and returns their artifact, not yet committed."""
    atomic.make_folder(path / WORK)
    temporary = path / WORK / "pairs.parquet"
    written = write_pairs(temporary, batches=batches)
    name = f"pairs-{written.fingerprint}.parquet"
    atomic.move(temporary, path / name)
    record = {"rows": written.rows, "outcomes": written.outcomes.counts}
    return Artifact("pairs", "pairs", seal(path, [name]), written.fingerprint, record, now())


def _is_of_killed_intake(child: Path) -> bool:
    return child.name.startswith((atomic.TEMPORARY, "pairs-"))

"""The files of an artifact: hashed when they are committed, verified before they are used."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from chips_core import atomic, fingerprint
from chips_core.errors import PoolDamaged
from chips_core.store.manifest import Artifact, StoredFile
from chips_core.store.paths import inside
from chips_core.store.tables import damaged


def seal(root: Path, paths: Iterable[str]) -> tuple[StoredFile, ...]:
    """Returns the entries of files that are in their final place, read from the disk."""
    return tuple(StoredFile(p, (root / p).stat().st_size, fingerprint.of_file(root / p)) for p in paths)


def verify(root: Path, artifact: Artifact) -> None:
    """Raises PoolDamaged, naming the file, unless every byte of the artifact is as it was committed."""
    for file in artifact.files:
        check_size(root, file)
        if fingerprint.of_file(root / file.path) != file.sha256:
            raise damaged(file.path)


def check_size(root: Path, file: StoredFile) -> Path:
    """Returns the path of a file that is there and as large as recorded; a cut file would kill who maps it (SIGBUS)."""
    path = inside(root, file.path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise PoolDamaged(
            f"{file.path} is missing or cannot be read.",
            fix="put it back, or run: chips check POOL --repair, which drops what can be computed again.",
        ) from error
    if size != file.bytes or not path.is_file():
        raise damaged(file.path)
    return path


def file_named(artifact: Artifact, ending: str) -> StoredFile:
    """Returns the one file of an artifact whose path ends so."""
    found = [file for file in artifact.files if file.path.endswith(ending)]
    if len(found) != 1:
        raise PoolDamaged(f"pool.json: artifact '{artifact.key}' has no file '{ending}'.", fix="do not use this pool.")
    return found[0]


def open_array(root: Path, file: StoredFile) -> np.ndarray[Any, Any]:
    """Returns a read-only map of a .npy file, opened only when it is as large as recorded."""
    try:
        return atomic.read_array(check_size(root, file), mapped="r")
    except PoolDamaged as error:
        raise damaged(file.path) from error

"""Older manifests brought up to the current format, one version at a time, in memory.

A pool is never rewritten merely because it was opened: the upgraded manifest reaches the disk with the next commit.
Version 1 is the first, so there is nothing to upgrade from yet. To add version n + 1: raise `CURRENT`, and add
`UPGRADES[n]`, a function from a version n document to a version n + 1 document.
"""

from collections.abc import Callable, Mapping
from typing import Any

from chips_core.errors import PoolDamaged, PoolTooNew

CURRENT = 1
_RESTORE = "take pool.json from a copy of this folder."
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
UPGRADES: dict[int, Upgrade] = {}


def upgraded(
    document: dict[str, Any], *, upgrades: Mapping[int, Upgrade] = UPGRADES, current: int = CURRENT
) -> dict[str, Any]:
    """Returns the document in the current format; a later or an unknown version is refused."""
    version = checked_version(document, current=current)
    while version < current:
        if version not in upgrades:
            raise PoolDamaged(f"pool.json has format {version}, which never existed.", fix="do not use this pool.")
        document = {**upgrades[version](document), "version": version + 1}
        version += 1
    return document


def checked_version(document: dict[str, Any], *, current: int = CURRENT) -> int:
    """Returns the format version that a document states."""
    if "version" not in document:
        raise PoolDamaged("pool.json: the key 'version' is missing.", fix=_RESTORE)
    version = document["version"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise PoolDamaged("pool.json: 'version' is not a whole number.", fix=_RESTORE)
    if version > current:
        raise PoolTooNew(
            f"This pool has format version {version}; this version of CHIPS Lens reads up to {current}.",
            fix="update CHIPS Lens, then open the pool again.",
        )
    return version

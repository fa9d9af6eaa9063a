"""Which pools there are, and in which state the one at hand is: a page never meets a pool that it cannot show.

Everything that a person types as a path goes through `allowed_path`: only what lies under the roots after every link
was followed is looked at, so that the app cannot be asked for any other file of its machine.
"""

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from chips_core.errors import InputError, PoolDamaged, PoolNotFound, PoolTooNew
from chips_core.store import Pool

PoolCondition = Literal["none", "coming", "damaged", "newer", "empty", "not encoded", "ready"]
MANIFEST = "pool.json"
JOBS = "jobs"
_FORMS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|\\")  # addresses, drives, pipes and Windows shares
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}")


@dataclass(frozen=True)
class PoolState:
    """A pool's folder, what condition it is in, one sentence about it, and what to do."""

    folder: Path
    condition: PoolCondition
    sentence: str = ""
    next_step: str = ""
    pool: Pool | None = None


def roots() -> list[Path]:
    """Returns the folders that the app may look into: CHIPS_ROOTS, else the folder of the opened pool and ./pools."""
    given = os.environ.get("CHIPS_ROOTS", "")
    if given:
        return [Path(part).resolve() for part in given.split(os.pathsep) if part]
    opened = os.environ.get("CHIPS_POOL", "")
    found = [Path(opened).resolve().parent] if opened else []
    return [*found, *[path for path in [Path("pools").resolve()] if path not in found]]


def allowed_path(given: str) -> Path:
    """Returns the real path of what a person typed, which exists and lies under one of the roots; else says why not.

    A relative path is looked for in each root. The message never repeats what was typed: it may name a patient.
    """
    text = given.strip()
    if not text or len(text) > 4096 or not text.isprintable() or _FORMS.match(text):
        raise InputError("That is not the path of a file or a folder on this machine.", fix=_where_to_put())
    for root in roots():
        try:
            path = (root / text).resolve(strict=True)
        except (OSError, RuntimeError):  # not there, not readable, or links in a circle
            continue
        if any(path == known or path.is_relative_to(known) for known in roots()):
            return path
    raise InputError("There is nothing to read at that path under the app's folders.", fix=_where_to_put())


def new_pool_folder(name: str) -> Path:
    """Returns the folder for a new pool of that name, where pools live; says what is wrong with a name."""
    name = name.strip()
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise InputError(
            "That cannot be the name of a pool.", fix="use letters, digits, spaces, dots, dashes and underscores."
        )
    home = pools_home()
    if home is None:
        raise InputError("None of the app's folders can be written to.", fix=_where_to_put())
    folder = home / name
    if (folder / MANIFEST).exists() or (folder.exists() and not (folder / JOBS).is_dir() and any(folder.iterdir())):
        raise InputError("There is a folder of that name already.", fix="choose another name.")
    return folder


def suggested_name(source: Path) -> str:
    """Returns a name for the pool of a source that is free and allowed."""
    plain = re.sub(r"[^A-Za-z0-9 ._-]+", "-", source.stem).strip(" ._-")[:40] or "pool"
    for name in (plain, f"{plain} pool", *[f"{plain} pool {number}" for number in range(2, 100)]):
        try:
            new_pool_folder(name)
        except InputError:
            continue
        return name
    return plain


def pools_home() -> Path | None:
    """Returns the folder for new pools: beside the opened one, else a writable root, rather one that holds pools."""
    opened = os.environ.get("CHIPS_POOL", "")
    places = [Path(opened).resolve().parent] if opened else []
    known = roots()
    places += sorted(known, key=lambda root: not any(_pools_in(root)))
    places = [place for place in places if any(place == root or place.is_relative_to(root) for root in known)]
    return next((place for place in places if os.access(_there(place), os.W_OK)), None)


def find_pools() -> dict[str, Path]:
    """Returns the pools directly inside the roots by the name that tells them apart, the app's own first."""
    opened = Path(os.environ["CHIPS_POOL"]).resolve() if os.environ.get("CHIPS_POOL") else None
    found = [child for root in roots() for child in _pools_in(root)]
    if opened is not None and opened not in found and (opened / MANIFEST).is_file():
        found.append(opened)
    named: dict[str, Path] = {}
    for path in sorted(set(found), key=lambda path: (path != opened, path.name, str(path))):
        named[path.name if path.name not in named else f"{path.name} in {path.parent.name}"] = path
    return named


def find_coming() -> dict[str, Path]:
    """Returns the folders inside the roots in which a job makes a pool that is not there yet."""
    return {
        child.name: child
        for root in roots()
        if root.is_dir()
        for child in _children(root)
        if (child / JOBS).is_dir() and not (child / MANIFEST).exists()
    }


def pool_state(folder: Path | None) -> PoolState:
    """Returns the state of the pool in `folder`."""
    if folder is None:
        return PoolState(Path(), "none", "There is no pool yet.", "Bring in a data set, or build the demo.")
    if (folder / JOBS).is_dir() and not (folder / MANIFEST).exists():
        words = f"Pool '{folder.name}' is not there yet: a job brings it in, or has tried to."
        return PoolState(folder, "coming", words, "See how far it is on the Runs page.")
    try:
        pool = _opened(folder, _version(folder))
    except PoolNotFound as error:
        return PoolState(folder, "none", error.what, "Bring in a data set, or build the demo.")
    except PoolTooNew as error:
        return PoolState(folder, "newer", error.what, _sentence(error.fix))
    except PoolDamaged as error:
        return _damaged(folder, error)
    return _state_of(pool, folder)


def _state_of(pool: Pool, folder: Path) -> PoolState:
    try:
        outcomes = pool.outcomes()
    except PoolDamaged as error:
        return _damaged(folder, error)
    if not outcomes.kept:
        words = f"Pool '{folder.name}' holds no pair that can be used: {outcomes.in_words()}."
        fix = "See the reasons on the Overview page, mend the source, and bring it in again under a new name."
        return PoolState(folder, "empty", words, fix, pool)
    if not pool.feature_sets():
        words = f"Pool '{folder.name}' is not encoded yet."
        return PoolState(folder, "not encoded", words, "Choose a model on the Runs page and start.", pool)
    return PoolState(folder, "ready", pool=pool)


def _damaged(folder: Path, error: PoolDamaged) -> PoolState:
    words = f"Pool '{folder.name}' is damaged, so nothing of it is shown: {error.what}"
    return PoolState(folder, "damaged", words, _sentence(error.fix))


def _sentence(words: str) -> str:
    """Returns words as a sentence of their own."""
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".") if words else ""


@lru_cache(maxsize=8)
def _opened(folder: Path, _version: int) -> Pool:
    """Keeps a pool open while its manifest stays as it is: its files are then verified once, not at every click."""
    return Pool.open(folder)


def _version(folder: Path) -> int:
    try:
        return (folder / MANIFEST).stat().st_mtime_ns
    except OSError:
        return 0


def _pools_in(root: Path) -> list[Path]:
    return [child for child in _children(root) if (child / MANIFEST).is_file()]


def _children(root: Path) -> list[Path]:
    try:
        return [child for child in root.iterdir() if child.is_dir()]
    except OSError:
        return []


def _there(folder: Path) -> Path:
    """Returns the folder, or the nearest one above it that exists: what decides whether it can be made."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _where_to_put() -> str:
    listed = ", ".join(str(root) for root in roots())
    return f"put the data under one of {listed}; or start the app with CHIPS_ROOTS naming the folder that holds it."

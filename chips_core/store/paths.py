"""Paths inside a pool: relative, plain, and never through a link, whoever wrote the manifest."""

import os
import re
from pathlib import Path, PurePosixPath

from chips_core.errors import InputError, PoolDamaged

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_KIND = re.compile(r"[a-z][a-z_]{0,39}")
_RELATIVE_LIMIT = 512


def checked_relative(text: object, *, where: str) -> str:
    """Returns `text` when it is a plain path below the pool folder; `../`, absolute paths and NUL are refused."""
    if not isinstance(text, str) or not text or len(text) > _RELATIVE_LIMIT:
        raise PoolDamaged(f"pool.json: {where} has no usable file path.", fix="do not use this pool.")
    parts = PurePosixPath(text).parts
    plain = "/".join(parts) == text and not text.startswith("/")
    if not plain or ".." in parts or any(c in text for c in "\\:\0\n\r"):
        raise PoolDamaged(
            f"pool.json: {where} names a file that is not plainly inside the pool folder.", fix="do not use this pool."
        )
    return text


def inside(root: Path, relative: str) -> Path:
    """Returns the path of a file of the pool; a link anywhere below `root` is refused, for it may lead out."""
    path = root / relative
    real_root = Path(os.path.realpath(root))
    if Path(os.path.realpath(path)) != real_root / relative:
        raise PoolDamaged(f"{relative} goes through a link; a pool holds plain files.", fix="do not use this pool.")
    return path


def is_file_name(name: str) -> bool:
    """Whether `name` can be an artifact's name and a file's name on every system."""
    return _NAME.fullmatch(name) is not None


def checked_name(name: str) -> str:
    """Returns `name` when it can be an artifact's name and a file's name on every system."""
    if not is_file_name(name):
        raise InputError(
            f"'{name[:40]}' cannot be a name.", fix="use up to 100 letters, digits, dots, dashes and underscores."
        )
    return name


def checked_kind(kind: str, *, reserved: tuple[str, ...] = ()) -> str:
    """Returns `kind` when it can be a kind of artifact and its folder's name."""
    if not _KIND.fullmatch(kind) or kind in reserved:
        raise InputError(f"'{kind[:40]}' cannot be a kind of table.", fix="use small letters, such as scores.")
    return kind

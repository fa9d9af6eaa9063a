"""Fingerprints: short names for exact contents, so that a result can be tied to everything that made it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

LENGTH = 16  # hexadecimal digits kept of a SHA-256: 64 bits, plenty for names; files keep the whole hash


def of(value: Any) -> str:
    """Returns the fingerprint of plain data or a dataclass: the same for equal contents, whatever the key order."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def of_bytes(data: bytes | memoryview) -> str:
    """Returns the whole SHA-256 of `data` in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def of_chunks(chunks: Iterable[bytes | memoryview]) -> str:
    """Returns the whole SHA-256 of the chunks laid end to end."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def of_file(path: Path) -> str:
    """Returns the whole SHA-256 of a file, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

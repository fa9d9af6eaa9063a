"""pool.json: what the pool holds, and its only commit point.

An artifact exists when the manifest names it. The manifest is replaced whole (`atomic.write_bytes`) and ends with the
SHA-256 of everything before it, so that one changed bit is noticed. It is read as if a stranger had written it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chips_core import atomic
from chips_core.errors import PoolDamaged, PoolNotFound
from chips_core.store.paths import checked_relative
from chips_core.store.upgrades import CURRENT, checked_version, upgraded

NAME = "pool.json"
FORMAT = "chips pool"
SIZE_LIMIT = 16 << 20
_KEYS = ("format", "version", "id", "fingerprint", "created", "intake", "artifacts")
_HEX = frozenset("0123456789abcdef")
_RESTORE = "take pool.json from a copy of this folder, or run intake again into a new one."


@dataclass(frozen=True)
class StoredFile:
    """One file of an artifact: where it is in the pool, its size and its SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Artifact:
    """Something computed: immutable, named, with the record of what made it."""

    name: str
    kind: str
    files: tuple[StoredFile, ...]
    fingerprint: str
    record: dict[str, Any]
    created: str

    @property
    def key(self) -> str:
        """The name under which the manifest holds it."""
        return self.kind if self.kind == self.name else f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Manifest:
    """What pool.json says; artifacts in the order in which they were committed."""

    id: str
    fingerprint: str
    created: str
    intake: dict[str, Any]
    artifacts: dict[str, Artifact] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[Artifact]:
        """Returns the artifacts of one kind, the oldest first."""
        return [artifact for artifact in self.artifacts.values() if artifact.kind == kind]

    def with_artifact(self, artifact: Artifact) -> "Manifest":
        """Returns the manifest with one artifact more."""
        return replace(self, artifacts={**self.artifacts, artifact.key: artifact})

    def without(self, key: str) -> "Manifest":
        """Returns the manifest with one artifact less."""
        return replace(self, artifacts={k: a for k, a in self.artifacts.items() if k != key})


def now() -> str:
    """Returns the time as the pool records it: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Commits the manifest."""
    atomic.write_bytes(root / NAME, sealed(as_document(manifest)))


def read_manifest(root: Path) -> Manifest:
    """Returns what pool.json says, after checking all of it."""
    path = root / NAME
    try:
        with path.open("rb") as handle:
            data = handle.read(SIZE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PoolNotFound(
            f"There is no pool in '{root.name}'.", fix="check the path, or make one: chips intake SOURCE POOL."
        ) from error
    except (PermissionError, IsADirectoryError) as error:
        raise PoolNotFound(f"pool.json in '{root.name}' cannot be read.", fix="ask its owner for access.") from error
    if len(data) > SIZE_LIMIT:
        raise PoolDamaged(f"pool.json is larger than {SIZE_LIMIT:,} bytes.", fix=_RESTORE)
    return parsed(data)


def sealed(document: Mapping[str, Any]) -> bytes:
    """Returns the bytes of a manifest: the document as JSON, its own SHA-256 as the last key."""
    body = json.dumps({**document, "sha256": ""}, indent=1, allow_nan=False) + "\n"
    digest = hashlib.sha256(body.encode("ascii")).hexdigest()
    return (body.removesuffix('""\n}\n') + f'"{digest}"\n}}\n').encode("ascii")


def parsed(data: bytes) -> Manifest:
    """Returns the manifest in the bytes of pool.json; anything unexpected is refused by name."""
    document = atomic.parse_json(data, where=NAME)
    if not isinstance(document, dict):
        raise PoolDamaged("pool.json does not hold an object.", fix=_RESTORE)
    checked_version(document)  # first: a later format may be sealed in another way
    _check_seal(data, document)
    document = upgraded(document)
    _check_keys(document, expected=_KEYS, where="")
    if document["format"] != FORMAT:
        raise PoolDamaged("pool.json is not the manifest of a pool.", fix=_RESTORE)
    artifacts = _of_type(document["artifacts"], dict, where="'artifacts'")
    found = [_artifact(key, value) for key, value in artifacts.items()]
    if "pairs" not in artifacts:
        raise PoolDamaged("pool.json: the artifact 'pairs' is missing.", fix=_RESTORE)
    _check_no_file_twice(found)
    return Manifest(
        id=_of_type(document["id"], str, where="'id'"),
        fingerprint=_of_type(document["fingerprint"], str, where="'fingerprint'"),
        created=_of_type(document["created"], str, where="'created'"),
        intake=_of_type(document["intake"], dict, where="'intake'"),
        artifacts={artifact.key: artifact for artifact in found},
    )


def as_document(manifest: Manifest) -> dict[str, Any]:
    """Returns the manifest as plain data, in the order of the file."""
    document = {"format": FORMAT, "version": CURRENT, **asdict(manifest)}
    document["artifacts"] = {
        key: {"kind": a.kind, "fingerprint": a.fingerprint, "created": a.created, "record": a.record,
              "files": [asdict(file) for file in a.files]}
        for key, a in manifest.artifacts.items()
    }  # fmt: skip
    return {key: document[key] for key in _KEYS}


def _artifact(key: str, value: object) -> Artifact:
    where = f"artifact '{key[:80]}'"
    document = _of_type(value, dict, where=where)
    _check_keys(document, expected=("kind", "fingerprint", "created", "record", "files"), where=f"{where}: ")
    files = _of_type(document["files"], list, where=f"{where}: 'files'")
    kind = _of_type(document["kind"], str, where=f"{where}: 'kind'")
    artifact = Artifact(
        name=key.removeprefix(f"{kind}/"),
        kind=kind,
        files=tuple(_file(file, where=where) for file in files),
        fingerprint=_of_type(document["fingerprint"], str, where=f"{where}: 'fingerprint'"),
        record=_of_type(document["record"], dict, where=f"{where}: 'record'"),
        created=_of_type(document["created"], str, where=f"{where}: 'created'"),
    )
    if artifact.key != key or not artifact.files:
        raise PoolDamaged(f"pool.json: {where} does not fit its kind or has no files.", fix=_RESTORE)
    return artifact


def _file(value: object, *, where: str) -> StoredFile:
    document = _of_type(value, dict, where=f"{where}: a file")
    _check_keys(document, expected=("path", "bytes", "sha256"), where=f"{where}: a file: ")
    path = checked_relative(document["path"], where=where)
    size = _of_type(document["bytes"], int, where=f"{where}: 'bytes'")
    digest = _of_type(document["sha256"], str, where=f"{where}: 'sha256'")
    if size < 0 or len(digest) != 64 or not set(digest) <= _HEX:
        raise PoolDamaged(f"pool.json: {where}: 'bytes' or 'sha256' is not possible.", fix=_RESTORE)
    return StoredFile(path, size, digest)


def _check_seal(data: bytes, document: dict[str, Any]) -> None:
    if "sha256" not in document:
        raise PoolDamaged("pool.json: the key 'sha256' is missing.", fix=_RESTORE)
    tail = b'"\n}\n'
    start = len(data) - len(tail) - 64  # where the digits of the checksum begin
    if not data.endswith(tail) or data[start - 1 : start] != b'"':
        raise PoolDamaged("pool.json does not end as it was written.", fix=_RESTORE)
    body, digest = data[:start] + tail, data[start : -len(tail)]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise PoolDamaged("pool.json was changed after it was written: its checksum does not fit.", fix=_RESTORE)


def _check_keys(document: dict[str, Any], *, expected: tuple[str, ...], where: str) -> None:
    for key in expected:
        if key not in document:
            raise PoolDamaged(f"pool.json: {where}the key '{key}' is missing.", fix=_RESTORE)
    unknown = sorted(set(document) - set(expected) - {"sha256"})
    if unknown:
        raise PoolDamaged(f"pool.json: {where}the key '{unknown[0][:80]}' is unknown.", fix=_RESTORE)


def _check_no_file_twice(artifacts: list[Artifact]) -> None:
    paths = [file.path for artifact in artifacts for file in artifact.files]
    if len(set(paths)) < len(paths):
        raise PoolDamaged("pool.json: two artifacts name the same file.", fix=_RESTORE)


def _of_type(value: object, kind: type, *, where: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise PoolDamaged(f"pool.json: {where} is not of the type that it must have.", fix=_RESTORE)
    return value

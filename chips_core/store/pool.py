"""The pool: a folder with the pairs and everything that was computed of them.

Artifacts are immutable, and exist when the manifest names them. One process writes at a time (`writing`); readers
never lock. Before an artifact is used for the first time its files are compared with their SHA-256 (once per `Pool`
object), and every Parquet page is checked at every read: no score is ever computed from damaged data.
"""

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from chips_core import atomic
from chips_core.errors import EncoderMismatch, InputError, PoolDamaged
from chips_core.outcomes import Outcome, OutcomeReport
from chips_core.store import artifacts, scores
from chips_core.store.creation import (
    WORK,
    check_new,
    check_source_root,
    checked_record,
    clear_killed_intake,
    store_pairs,
)
from chips_core.store.features import Features, check_shapes, unpacked_heads
from chips_core.store.lock import NAME as LOCK
from chips_core.store.lock import WriterLock
from chips_core.store.manifest import Artifact, Manifest, now, read_manifest, write_manifest
from chips_core.store.pairs import read_pairs
from chips_core.store.paths import checked_kind, checked_name, inside
from chips_core.store.tables import read_parquet, to_arrow, to_frame, write_parquet
from chips_core.store.writer import FILES, IDENTITY, FeatureWriter, Identity, begin_work

RESERVED = ("pairs", "features", WORK, LOCK, "jobs", "images", "source", "thumbnails")


class Pool:
    """A pool on disk; made by `Pool.create` and `Pool.open`."""

    def __init__(self, path: Path, manifest: Manifest, lock: WriterLock) -> None:
        self.path = path
        self.manifest = manifest
        self._lock = lock
        self._verified: set[str] = set()
        self._writers: list[FeatureWriter] = []

    @classmethod
    def create(cls, path: Path, *, batches: Iterable[pa.RecordBatch], record: Mapping[str, Any]) -> "Pool":
        """Makes a pool of batches with the schema PAIRS, streamed to disk; `record` says where they came from.

        A `source_root` in the record is where the images are, relative to the pool folder. The folder
        must be new, empty, or what a killed intake left.
        """
        path = Path(os.path.abspath(path))
        intake = checked_record(record)
        check_source_root(intake)
        check_new(path)
        atomic.make_folder(path)
        path.chmod(atomic.FOLDER_MODE)
        lock = WriterLock(path)
        with lock.held("intake", on_first=lambda: clear_killed_intake(path)):
            pairs = store_pairs(path, batches)
            manifest = Manifest(secrets.token_hex(8), pairs.fingerprint, now(), intake).with_artifact(pairs)
            write_manifest(path, manifest)
            return cls(path, manifest, lock)

    @classmethod
    def open(cls, path: Path) -> "Pool":
        """Opens a pool without reading its pairs; writes nothing, so a read-only disk will do."""
        pool = cls.open_damaged(path)
        artifacts.check_size(pool.path, pool._pairs_file)
        return pool

    @classmethod
    def open_damaged(cls, path: Path) -> "Pool":
        """Opens a pool whose artifacts may be damaged, for repair; its manifest must be sound."""
        path = Path(os.path.abspath(path))
        return cls(path, read_manifest(path), WriterLock(path))

    @property
    def id(self) -> str:
        """The pool's random name, the same wherever the folder is copied to."""
        return self.manifest.id

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the pairs' contents."""
        return self.manifest.fingerprint

    @property
    def source_root(self) -> Path:
        """The folder that the image locators are relative to."""
        relative = self.manifest.intake.get("source_root")
        if not isinstance(relative, str) or os.path.isabs(relative):
            raise InputError(f"Pool '{self.path.name}' does not say where its images are.", fix="name their folder.")
        return Path(os.path.normpath(self.path / relative))

    def refresh(self) -> bool:
        """Reads the manifest again and returns whether another process changed it."""
        found = read_manifest(self.path)
        if found.id != self.id:
            raise PoolDamaged(f"'{self.path.name}' holds another pool than before.", fix="open the pool again.")
        changed = found != self.manifest
        self.manifest = found
        return changed

    def outcomes(self) -> OutcomeReport:
        """Returns how many input rows ended in which outcome, without reading them."""
        counts = self.manifest.artifacts["pairs"].record.get("outcomes")
        names = {str(outcome) for outcome in Outcome}
        if not isinstance(counts, dict) or set(counts) != names or not all(type(n) is int for n in counts.values()):
            raise PoolDamaged("pool.json: the outcomes of 'pairs' are not possible.", fix="run intake again.")
        return OutcomeReport(counts)

    def pairs(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Returns all input rows in the order of the source; texts exactly as given."""
        return to_frame(self._pairs_table(columns, kept_only=False))

    def kept(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Returns the pairs that can be scored; the one at index i is row i of the features."""
        return to_frame(self._pairs_table(columns, kept_only=True))

    @contextmanager
    def writing(self, command: str) -> Iterator[None]:
        """Holds the pool's writer lock; a second writer gets PoolBusy. May be nested in the same thread."""
        outermost = False

        def begin() -> None:
            nonlocal outermost
            outermost = True
            self.refresh()
            self._sweep()

        with self._lock.held(command, on_first=begin):
            try:
                yield
            finally:
                if outermost:
                    writers, self._writers = self._writers, []
                    for writer in writers:
                        writer.close()

    def feature_writer(
        self,
        *,
        fingerprint: str,
        count: int,
        image_dim: int,
        text_dim: int,
        record: Mapping[str, Any],
        beside: bool = False,
    ) -> FeatureWriter:
        """Begins or continues the features named `fingerprint`; only inside `writing`, whose end keeps the rows.

        Refused when other features are there, finished (unless `beside`) or not, and when `count` is not the number of
        kept pairs. For features that are finished already the writer has nothing pending and its commit does nothing.
        """
        if not self._lock.is_held():
            raise RuntimeError("feature_writer needs `with pool.writing(command)` around it")
        identity = Identity(checked_name(fingerprint), self.fingerprint, int(count), int(image_dim), int(text_dim))
        plain = checked_record(record)
        if count != self.outcomes().kept:
            raise InputError(
                f"{count:,} features do not fit {self.outcomes().kept:,} kept pairs.", fix="encode them all."
            )
        folder = self.path / WORK / f"features-{fingerprint}"
        if f"features/{fingerprint}" in self.manifest.artifacts:
            return FeatureWriter(folder, identity=identity, record=plain, sink=self._commit_features, finished=True)
        self._refuse_other_features(fingerprint, record=plain, beside=beside)
        _take_back_uncommitted(self.path / "features" / fingerprint, to=folder)
        begin_work(folder, identity=identity)
        writer = FeatureWriter(folder, identity=identity, record=plain, sink=self._commit_features)
        self._writers.append(writer)
        return writer

    def feature_sets(self) -> list[Artifact]:
        """Returns the features that are there, the oldest first."""
        return self.manifest.of_kind("features")

    def features(self, name: str | None = None, *, verify: bool = True) -> Features:
        """Returns features, by default the newest, after verifying their files (once per Pool object).

        With `verify=False` only sizes are checked, at once however large they are: for display, never for a score.
        """
        sets = self.feature_sets()
        if name is None and not sets:
            raise InputError(f"Pool '{self.path.name}' is not encoded yet.", fix="run: chips encode POOL --model NAME.")
        artifact = self._artifact("features", name if name is not None else sets[-1].name)
        if verify:
            self._verify(artifact)
        image, text, status = (
            artifacts.open_array(self.path, artifacts.file_named(artifact, f"/{part}.npy"))
            for part in ("image", "text", "status")
        )
        heads = artifacts.check_size(self.path, artifacts.file_named(artifact, "/heads.safetensors")).read_bytes()
        features = Features(
            artifact.name, artifact.fingerprint, image, text, status, unpacked_heads(heads), artifact.record
        )
        check_shapes(features, count=self.outcomes().kept)
        return features

    def write_table(
        self,
        kind: str,
        name: str,
        table: pa.Table | pd.DataFrame,
        *,
        record: Mapping[str, Any],
        fingerprint: str,
        arrays: Mapping[str, np.ndarray[Any, Any]] | None = None,
    ) -> Artifact:
        """Stores an immutable table, with arrays beside it if any; the same name and fingerprint again does nothing.

        Scores must be finite; null says 'no score' and is only for pairs that cannot be read.
        """
        checked_kind(kind, reserved=RESERVED)
        key, plain = f"{kind}/{checked_name(name)}", checked_record(record)
        arrow = to_arrow(table)
        if kind == "scores":
            scores.check(self, name, table=arrow, record=plain)
        with self.writing(f"write {kind}"):
            there = self.manifest.artifacts.get(key)
            if there is not None and there.fingerprint == fingerprint:
                return there
            if there is not None:
                raise InputError(
                    f"'{key}' is there already ({there.fingerprint}, not {fingerprint}).",
                    fix="choose another name: what is computed is never replaced.",
                )
            atomic.make_folder(self.path / kind)
            atomic.sweep(self.path / kind)  # of a writer killed in a kind that the manifest does not know yet
            write_parquet(self.path / f"{key}.parquet", schema=arrow.schema, batches=arrow.to_batches())
            paths = [f"{key}.parquet"]
            for part, array in (arrays or {}).items():
                paths.append(f"{key}.{checked_kind(part)}.npy")
                atomic.write_array(self.path / paths[-1], array)
            files = artifacts.seal(self.path, paths)
            return self._commit(Artifact(name, kind, files, fingerprint, plain, now()))

    def table(self, kind: str, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Returns columns of a stored table, verified."""
        artifact = self._artifact(kind, name)
        self._verify(artifact)
        return to_frame(read_parquet(self.path / artifacts.file_named(artifact, ".parquet").path, columns=columns))

    def arrays(self, kind: str, name: str) -> dict[str, np.ndarray[Any, Any]]:
        """Returns read-only maps of the arrays stored beside a table, verified."""
        artifact = self._artifact(kind, name)
        self._verify(artifact)
        start = len(artifact.key) + 1
        files = [file for file in artifact.files if file.path.endswith(".npy")]
        return {file.path[start : -len(".npy")]: artifacts.open_array(self.path, file) for file in files}

    def tables(self, kind: str) -> list[Artifact]:
        """Returns the tables of a kind with their records, the oldest first."""
        return self.manifest.of_kind(kind)

    def remove(self, kind: str, name: str) -> None:
        """Removes something computed: first from the manifest, then from the disk. Pairs are never removed."""
        if kind == "pairs":
            raise InputError("The pairs cannot be removed from their pool.", fix="make a new pool.")
        with self.writing(f"remove {kind}"):
            artifact = self._artifact(kind, name)
            manifest = self.manifest.without(artifact.key)
            write_manifest(self.path, manifest)
            self.manifest = manifest
            self._verified.discard(artifact.key)
            for file in artifact.files:
                atomic.remove(inside(self.path, file.path))
            if kind == "features":
                atomic.remove(self.path / artifact.key)

    @property
    def _pairs_file(self) -> Any:
        return artifacts.file_named(self.manifest.artifacts["pairs"], ".parquet")

    def _pairs_table(self, columns: Sequence[str] | None, *, kept_only: bool) -> pa.Table:
        self._verify(self.manifest.artifacts["pairs"])
        wanted = list(columns) if columns is not None else None
        return read_pairs(self.path / self._pairs_file.path, columns=wanted, kept_only=kept_only)

    def _artifact(self, kind: str, name: str) -> Artifact:
        found = self.manifest.artifacts.get(f"{kind}/{name}")
        if found is None:
            there = ", ".join(a.name for a in self.manifest.of_kind(kind)) or "none"
            raise InputError(f"Pool '{self.path.name}' has no {kind} '{name}'.", fix=f"there are: {there}.")
        return found

    def _verify(self, artifact: Artifact) -> None:
        if artifact.key in self._verified:
            for file in artifact.files:
                artifacts.check_size(self.path, file)
            return
        artifacts.verify(self.path, artifact)
        self._verified.add(artifact.key)

    def _commit(self, artifact: Artifact) -> Artifact:
        manifest = self.manifest.with_artifact(artifact)
        write_manifest(self.path, manifest)
        self.manifest = manifest
        return artifact

    def _commit_features(self, folder: Path, *, record: Mapping[str, Any]) -> None:
        name = folder.name.removeprefix("features-")
        atomic.make_folder(self.path / "features")
        atomic.move(folder, self.path / "features" / name)
        files = artifacts.seal(self.path, [f"features/{name}/{file}" for file in FILES])
        self._commit(Artifact(name, "features", files, name, dict(record), now()))

    def _refuse_other_features(self, fingerprint: str, *, record: Mapping[str, Any], beside: bool) -> None:
        asked = f"{record.get('encoder', 'another encoder')} ({fingerprint})"
        finished = self.feature_sets()
        if finished and not beside:
            held = f"{finished[-1].record.get('encoder', 'another encoder')} ({finished[-1].fingerprint})"
            raise EncoderMismatch(
                f"Pool '{self.path.name}' holds features of {held}, but this run makes those of {asked}.",
                fix="use the same encoder and settings, or a new pool.",
            )
        for folder in sorted((self.path / WORK).glob("features-*")):
            other = folder.name.removeprefix("features-")
            if other != fingerprint and (folder / IDENTITY).is_file():
                raise EncoderMismatch(
                    f"Pool '{self.path.name}' holds unfinished features {other}, but this run makes those of {asked}.",
                    fix="finish them with the settings they were begun with, or drop them: chips check POOL --repair.",
                )

    def _sweep(self) -> None:
        """Removes what a killed writer left half-written; only under the lock."""
        for folder in owned_folders(self.path, self.manifest):
            atomic.sweep(folder)


def owned_folders(root: Path, manifest: Manifest) -> list[Path]:
    """Returns the folders in which only the lock's holder writes."""
    kinds = {artifact.kind for artifact in manifest.artifacts.values()} | {
        "features",
        "scores",
        "maps",
        "traces",
        "selections",
    }
    found = [root, *(root / kind for kind in sorted(kinds)), root / WORK]
    for parent in (root / WORK, root / "features"):
        found += sorted(parent.glob("*/"))
    return [folder for folder in found if folder.is_dir() and not folder.is_symlink()]


def _take_back_uncommitted(folder: Path, *, to: Path) -> None:
    """Moves features back to the work folder that were moved to their place, but killed before the commit."""
    if folder.is_dir() and not to.exists() and (folder / IDENTITY).is_file():
        atomic.make_folder(to.parent)
        atomic.move(folder, to)
    elif folder.exists():
        atomic.remove(folder)

"""review.sqlite: its tables, how it is opened, and how its errors are told.

SQLite in WAL mode with `synchronous=FULL`: a verdict that was acknowledged survives a crash and a power cut. The tables
are STRICT, every value is checked before it is bound, and every event carries a checksum of its own contents.
"""

import hashlib
import json
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from chips_core import atomic
from chips_core.errors import DiskFault, InputError, NoSpace, NotWritable, PoolBusy, PoolDamaged, PoolTooNew

FILE = "review.sqlite"
VERSION = 1
BUSY_SECONDS = 5.0
TEXT_LIMIT = 100_000
_FIX_SAVE = "nothing was saved; try again."
_RESTORE = "take review.sqlite from a copy of this folder."

SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    """
    CREATE TABLE events (
      id INTEGER PRIMARY KEY,
      action INTEGER NOT NULL,        -- the id of its first event: an action is undone as a whole
      created TEXT NOT NULL,
      reviewer TEXT NOT NULL,
      kind TEXT NOT NULL,
      pair_id TEXT,
      verdict TEXT,                   -- null in a verdict: taken back
      reason TEXT,
      note TEXT,
      score_version TEXT,
      content_hash TEXT,
      reading INTEGER NOT NULL,
      undoes INTEGER REFERENCES events(id),
      selection INTEGER,
      detail TEXT,
      checksum TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX events_of_pair ON events(pair_id)",
    "CREATE INDEX events_of_action ON events(action)",
    "CREATE INDEX events_undone ON events(undoes) WHERE undoes IS NOT NULL",
    """
    CREATE TABLE selections (
      id INTEGER PRIMARY KEY,
      name TEXT NOT NULL,
      created TEXT NOT NULL,
      reviewer TEXT NOT NULL,
      recipe TEXT NOT NULL,
      deleted INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    "CREATE UNIQUE INDEX selections_by_name ON selections(name) WHERE deleted = 0",
    """
    CREATE TABLE selection_pairs (
      selection INTEGER NOT NULL REFERENCES selections(id),
      position INTEGER NOT NULL,
      pair_id TEXT NOT NULL,
      PRIMARY KEY (selection, position)
    ) STRICT, WITHOUT ROWID
    """,
)
UPGRADES: dict[int, tuple[str, ...]] = {}  # statements that bring version n to n + 1, run in one transaction
EVENT_COLUMNS = (
    "id", "action", "created", "reviewer", "kind", "pair_id", "verdict", "reason", "note", "score_version",
    "content_hash", "reading", "undoes", "selection", "detail",
)  # fmt: skip


def connect(root: Path, *, pool_id: str) -> sqlite3.Connection:
    """Returns a connection to the review database of a pool, made if there is none; read-only where it must be."""
    path = root / FILE
    with told():
        connection = _opened(path)
        try:
            _prepare(connection, pool_id=pool_id)
            if not path.exists():  # the disk is read-only and nobody reviewed yet: nothing to read, nowhere to save
                connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Holds the write lock of the database for the block; commits all of it or nothing."""
    with told():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


@contextmanager
def told() -> Iterator[None]:
    """Turns SQLite's errors into ours: busy, full, read-only, disk error, damaged."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise PoolBusy("The verdicts are being written by another process.", fix=_FIX_SAVE) from error
        if code == sqlite3.SQLITE_FULL:
            raise NoSpace("The disk is full: the verdict was not saved.", fix="free space on that disk.") from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise NotWritable(
                "review.sqlite cannot be written to: not saved.", fix="copy the pool where you may write."
            ) from error
        if code == sqlite3.SQLITE_IOERR:
            raise DiskFault("The disk gave an error: not saved.", fix="check this disk, then try again.") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise PoolDamaged("review.sqlite is damaged.", fix=_RESTORE) from error
        raise


def problems_of(root: Path, *, pool_id: str) -> list[str]:
    """Returns what is wrong with the review database of a pool; nothing when there is none."""
    if not (root / FILE).exists():
        return []
    try:
        connection = connect(root, pool_id=pool_id)
    except PoolTooNew:
        raise
    except PoolDamaged as error:
        return [error.what]
    try:
        with told():
            answers = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")]
            problems = [answer for answer in answers if answer != "ok"]
            return problems or _event_problems(connection)
    except PoolDamaged as error:
        return [error.what]
    finally:
        connection.close()


def checksum(values: Sequence[Any]) -> str:
    """Returns the checksum of an event's values, in the order of EVENT_COLUMNS."""
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:32]


def text(value: object, *, what: str, optional: bool = False) -> str | None:
    """Returns `value` as the text to store; numbers, NaN, bytes and text that is not Unicode are refused."""
    if value is None and optional:
        return None
    if not isinstance(value, str):
        raise InputError(f"The {what} must be text, not {type(value).__name__}.", fix=_FIX_SAVE)
    plain = str(value)
    if len(plain) > TEXT_LIMIT:
        raise InputError(f"The {what} is longer than {TEXT_LIMIT:,} characters.", fix="shorten it.")
    if any("\ud800" <= character <= "\udfff" for character in plain):
        raise InputError(f"The {what} holds half a character.", fix="remove it and try again.")
    return plain


def required_text(value: object, *, what: str) -> str:
    """Returns `value` as text that is there and not empty."""
    plain = text(value, what=what)
    if not plain:
        raise InputError(f"The {what} is empty.", fix="give it.")
    return plain


def whole_number(value: object, *, what: str) -> int:
    """Returns `value` as a whole number from 1 on; numpy's become Python's, for SQLite would store them as bytes."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer | float | np.floating):
        raise InputError(f"The {what} must be a whole number.", fix=_FIX_SAVE)
    number = float(value)
    if not math.isfinite(number) or number != int(number) or not 1 <= number < 2**31:
        raise InputError(f"The {what} must be a whole number from 1 on.", fix=_FIX_SAVE)
    return int(value)


def _opened(path: Path) -> sqlite3.Connection:
    try:
        atomic.create_empty(path)  # private to this user; SQLite gives its other files the same rights
    except NotWritable:
        if not path.exists():
            return _empty_in_memory()
    if not _writable(path):
        wal = path.with_name(f"{FILE}-wal")
        quiet = not wal.exists() or wal.stat().st_size == 0
        address = f"{path.absolute().as_uri()}?mode=ro" + ("&immutable=1" if quiet else "")
        return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switches to WAL; where the file system cannot, the rollback journal stays, which is as safe."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:  # this pragma does not wait for the timeout by itself
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _empty_in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection, *, pool_id: str) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    if _version(connection) < VERSION:
        with transaction(connection):
            _upgrade(connection, pool_id=pool_id)
    if _version(connection) > VERSION:
        raise PoolTooNew("The verdicts were written by a later version of CHIPS Lens.", fix="update CHIPS Lens.")
    found = connection.execute("SELECT value FROM meta WHERE key = 'pool_id'").fetchone()
    if found is None or found[0] != pool_id:
        raise PoolDamaged("review.sqlite belongs to another pool.", fix="put this pool's own file back.")


def _upgrade(connection: sqlite3.Connection, *, pool_id: str) -> None:
    version = _version(connection)  # again: another process may have been quicker
    if version == 0:
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('pool_id', ?)", (pool_id,))
        version = VERSION
    while version < VERSION:
        for statement in UPGRADES[version]:
            connection.execute(statement)
        version += 1
    connection.execute(f"PRAGMA user_version = {version:d}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _event_problems(connection: sqlite3.Connection) -> list[str]:
    columns = ", ".join(EVENT_COLUMNS)
    problems, expected = [], 0
    for *values, stored in connection.execute(f"SELECT {columns}, checksum FROM events ORDER BY id"):  # noqa: S608
        expected += 1
        if values[0] != expected:
            problems.append(f"event {expected} is missing")
            expected = values[0]
        if checksum(values) != stored:
            problems.append(f"event {values[0]} is not what was written")
    return problems[:20]

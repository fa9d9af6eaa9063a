"""What people decide: verdicts, notes and selections, in an append-only log where undo is a new event.

Every change is one transaction with its events; it is on the disk when the method returns. A `Review` may be used by
several threads and several processes at once.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import pandas as pd

from chips_core import fingerprint
from chips_core.errors import InputError
from chips_core.store.manifest import now, read_manifest
from chips_core.store.review_database import (
    EVENT_COLUMNS,
    checksum,
    connect,
    required_text,
    text,
    told,
    transaction,
    whole_number,
)

LONGEST_NAME = 80  # of a selection
UNSAVED, EVERYTHING = "unsaved-", "all"  # how the address of an unsaved selection begins; every kept pair
_NUMBERS = {"id": "int64", "event_id": "int64", "reading": "int64", "undone": "bool"}


class Verdict(StrEnum):
    """What a person can say about a pair."""

    CORRECT = "correct"
    WRONG_PAIR = "wrong pair"
    WRONG_FINDING = "wrong finding"
    LATERALITY = "laterality"
    NEGATION = "negation"
    WRONG_VIEW = "wrong modality or view"
    CITES_OTHER = "cites prior or other figure"
    UNINFORMATIVE = "uninformative"
    UNREADABLE = "unreadable"
    PATIENT_DATA = "patient data seen"
    UNSURE = "unsure"


@dataclass(frozen=True)
class Undone:
    """The action that was undone: its id, its kind, and the pairs that it was about."""

    action: int
    kind: str
    pair_ids: tuple[str, ...]


@dataclass(frozen=True)
class NamedSelection:
    """A selection without its pair ids; `recipe` says how it was made."""

    id: int
    name: str
    created: str
    reviewer: str
    recipe: dict[str, Any]
    count: int


def selection_name(name: str) -> str:
    """Returns the name to give to a selection; what could be taken for something else is refused. It names no file."""
    title = name.strip()
    reserved = title == EVERYTHING or title.startswith(UNSAVED)
    if not title or len(title) > LONGEST_NAME or not title.isprintable() or reserved:
        raise InputError(
            "That cannot be the name of a selection.", fix=f"use 1 to {LONGEST_NAME} characters, on one line."
        )
    return title


def content_hash(*, image_sha256: str, caption: str) -> str:
    """Returns the fingerprint of what a reviewer saw, so that a verdict on changed content is known to be old."""
    return fingerprint.of([image_sha256, caption])


class Review:
    """The verdicts, notes and selections of one pool."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, pool_path: Path) -> Self:
        """Opens the review of a pool, made if there is none; on a read-only disk it can be read."""
        return cls(connect(Path(pool_path).absolute(), pool_id=read_manifest(Path(pool_path)).id))

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_verdict(
        self,
        *,
        pair_id: str,
        verdict: Verdict | str | None,
        reviewer: str,
        reason: str | None = None,
        note: str | None = None,
        score_version: str | None = None,
        content_hash: str | None = None,
        reading: int = 1,
    ) -> int:
        """Stores a verdict, or with None takes it back; returns the action's id, for `undo`."""
        return self.add_verdicts(
            pair_ids=[pair_id],
            verdict=verdict,
            reviewer=reviewer,
            reason=reason,
            note=note,
            score_version=score_version,
            content_hashes=[content_hash],
            reading=reading,
        )

    def add_verdicts(
        self,
        *,
        pair_ids: Sequence[str],
        verdict: Verdict | str | None,
        reviewer: str,
        reason: str | None = None,
        note: str | None = None,
        score_version: str | None = None,
        content_hashes: Sequence[str | None] | None = None,
        reading: int = 1,
    ) -> int:
        """Stores one verdict on many pairs, all or none, undone together; returns the action's id."""
        common = {
            "verdict": _checked_verdict(verdict),
            "reason": text(reason, what="reason", optional=True),
            "note": text(note, what="note", optional=True),
            "score_version": text(score_version, what="score version", optional=True),
            "reading": whole_number(reading, what="reading"),
        }
        hashes = content_hashes if content_hashes is not None else [None] * len(pair_ids)
        if isinstance(pair_ids, str) or len(hashes) != len(pair_ids):
            raise InputError("Give a list of pair ids, and a content hash for each or none.", fix="nothing was saved.")
        if not pair_ids:
            raise InputError("There is no pair to give a verdict on.", fix="choose some pairs first.")
        events = [
            {
                **common,
                "pair_id": required_text(pair_id, what="pair id"),
                "content_hash": text(found, what="content hash", optional=True),
            }
            for pair_id, found in zip(pair_ids, hashes, strict=True)
        ]
        return self._write("verdict", reviewer=reviewer, events=events)

    def add_note(self, *, pair_id: str, note: str, reviewer: str) -> int:
        """Stores a note on a pair; returns the action's id."""
        event = {"pair_id": required_text(pair_id, what="pair id"), "note": required_text(note, what="note")}
        return self._write("note", reviewer=reviewer, events=[event])

    def undo_last(self, *, reviewer: str, kinds: Sequence[str] = ()) -> Undone | None:
        """Undoes this reviewer's last action that still holds, and returns it; None when there is none.

        With `kinds`, such as `verdict`, actions of other kinds are passed over.
        """
        name = required_text(reviewer, what="reviewer")
        with self._writing():
            action = self._one(
                "SELECT max(action) FROM events WHERE reviewer = ? AND kind <> 'undo' AND action NOT IN "
                "(SELECT undoes FROM events WHERE undoes IS NOT NULL) "
                "AND (? = '[]' OR kind IN (SELECT value FROM json_each(?)))",
                name,
                json.dumps(list(kinds)),
                json.dumps(list(kinds)),
            )[0]
            if action is None:
                return None
            rows = self._all("SELECT kind, pair_id, selection, detail FROM events WHERE action = ? ORDER BY id", action)
            kind = str(rows[0][0])
            if rows[0][2] is not None:
                self._undo_selection(kind, selection=rows[0][2], detail=json.loads(rows[0][3]))
            self._append("undo", reviewer=name, events=[{"undoes": action}])
            return Undone(int(action), kind, tuple(row[1] for row in rows if row[1] is not None))

    def current_verdicts(self, *, by_reviewer: bool = False) -> pd.DataFrame:
        """Returns the verdicts that hold now, one per pair, or one per pair and reviewer: the last one given.

        Columns: pair_id, verdict, reviewer, created, note (the pair's last), reason, score_version, content_hash,
        reading, event_id.
        """
        group = "pair_id, reviewer" if by_reviewer else "pair_id"
        query = f"""
            WITH live AS (
              SELECT * FROM events WHERE action NOT IN (SELECT undoes FROM events WHERE undoes IS NOT NULL)
            ), last AS (SELECT max(id) AS id FROM live WHERE kind = 'verdict' GROUP BY {group}),
            notes AS (SELECT pair_id, max(id) AS id FROM live WHERE note IS NOT NULL GROUP BY pair_id)
            SELECT v.pair_id, v.verdict, v.reviewer, v.created, n.note, v.reason, v.score_version, v.content_hash,
              v.reading, v.id AS event_id
            FROM last JOIN events v USING (id)
            LEFT JOIN notes ON notes.pair_id = v.pair_id LEFT JOIN events n ON n.id = notes.id
            WHERE v.verdict IS NOT NULL ORDER BY v.pair_id, v.reviewer
            """  # noqa: S608
        return self._frame(query)

    def history(self, pair_id: str) -> pd.DataFrame:
        """Returns every event about a pair, the oldest first; `undone` says which no longer hold."""
        return self._frame(
            "SELECT id, created, reviewer, kind, verdict, reason, note, score_version, content_hash, reading, "
            "action IN (SELECT undoes FROM events WHERE undoes IS NOT NULL) AS undone "
            "FROM events WHERE pair_id = ? ORDER BY id",
            required_text(pair_id, what="pair id"),
        )

    def last_event_id(self) -> int:
        """Returns the number of the newest event, 0 before the first: when it grew, somebody did something."""
        return int(self._one("SELECT coalesce(max(id), 0) FROM events")[0])

    def create_selection(
        self, *, name: str, pair_ids: Sequence[str], reviewer: str, recipe: Mapping[str, Any] | None = None
    ) -> int:
        """Stores a named selection with its pair ids in their order; returns the action's id."""
        title = required_text(name, what="name of the selection")
        if isinstance(pair_ids, str):
            raise InputError("Give a list of pair ids.", fix="nothing was saved.")
        ids = [required_text(pair_id, what="pair id") for pair_id in pair_ids]
        if len(set(ids)) != len(ids):
            raise InputError("A pair is in the selection twice.", fix="give each pair once.")
        plain = _checked_recipe(recipe or {})
        with self._writing():
            self._refuse_taken(title)
            number = int(self._one("SELECT coalesce(max(id), 0) + 1 FROM selections")[0])
            values = (number, title, now(), required_text(reviewer, what="reviewer"), plain)
            self._connection.execute("INSERT INTO selections VALUES (?, ?, ?, ?, ?, 0)", values)
            rows = ((number, position, pair_id) for position, pair_id in enumerate(ids))
            self._connection.executemany("INSERT INTO selection_pairs VALUES (?, ?, ?)", rows)
            event = {"selection": number, "detail": json.dumps({"name": title, "count": len(ids)})}
            return self._append("selection created", reviewer=reviewer, events=[event])

    def rename_selection(self, *, name: str, new_name: str, reviewer: str) -> int:
        """Gives a selection another name, its pairs staying linked; returns the action's id."""
        title = required_text(new_name, what="name of the selection")
        with self._writing():
            number = self._selection_id(name)
            self._refuse_taken(title)
            self._connection.execute("UPDATE selections SET name = ? WHERE id = ?", (title, number))
            event = {"selection": number, "detail": json.dumps({"old": name, "name": title})}
            return self._append("selection renamed", reviewer=reviewer, events=[event])

    def delete_selection(self, *, name: str, reviewer: str) -> int:
        """Deletes a selection, which can be undone; returns the action's id."""
        with self._writing():
            number = self._selection_id(name)
            self._connection.execute("UPDATE selections SET deleted = 1 WHERE id = ?", (number,))
            event = {"selection": number, "detail": json.dumps({"name": name})}
            return self._append("selection deleted", reviewer=reviewer, events=[event])

    def selections(self) -> list[NamedSelection]:
        """Returns the selections that are there, the oldest first."""
        rows = self._all(
            "SELECT id, name, created, reviewer, recipe, (SELECT count(*) FROM selection_pairs WHERE selection = s.id) "
            "FROM selections s WHERE deleted = 0 ORDER BY id"
        )
        return [NamedSelection(n, name, made, who, json.loads(recipe), k) for n, name, made, who, recipe, k in rows]

    def selection_pairs(self, name: str) -> list[str]:
        """Returns the pair ids of a selection in their order."""
        with self._lock:
            number = self._selection_id(name)
            return [
                r[0]
                for r in self._all("SELECT pair_id FROM selection_pairs WHERE selection = ? ORDER BY position", number)
            ]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, transaction(self._connection):
            yield

    def _write(self, kind: str, *, reviewer: str, events: Sequence[Mapping[str, Any]]) -> int:
        with self._writing():
            return self._append(kind, reviewer=reviewer, events=events)

    def _append(self, kind: str, *, reviewer: str, events: Sequence[Mapping[str, Any]]) -> int:
        """Adds the events of one action inside a transaction and returns the action's id."""
        action = self.last_event_id() + 1
        common = {
            "action": action,
            "created": now(),
            "reviewer": required_text(reviewer, what="reviewer"),
            "kind": kind,
        }
        rows = []
        for number, event in enumerate(events, start=action):
            values = {**dict.fromkeys(EVENT_COLUMNS), "reading": 1, **common, **event, "id": number}
            row = [values[column] for column in EVENT_COLUMNS]
            rows.append([*row, checksum(row)])
        marks = ", ".join("?" * (len(EVENT_COLUMNS) + 1))
        columns = ", ".join(EVENT_COLUMNS)
        self._connection.executemany(f"INSERT INTO events ({columns}, checksum) VALUES ({marks})", rows)  # noqa: S608
        return action

    def _undo_selection(self, kind: str, *, selection: int, detail: Mapping[str, Any]) -> None:
        if kind == "selection created":
            self._connection.execute("UPDATE selections SET deleted = 1 WHERE id = ?", (selection,))
            return
        name = detail["old"] if kind == "selection renamed" else detail["name"]
        self._refuse_taken(name)
        self._connection.execute("UPDATE selections SET name = ?, deleted = 0 WHERE id = ?", (name, selection))

    def _selection_id(self, name: str) -> int:
        found = self._all("SELECT id FROM selections WHERE deleted = 0 AND name = ?", required_text(name, what="name"))
        if not found:
            raise InputError("There is no selection of that name.", fix="choose one from the list.")
        return int(found[0][0])

    def _refuse_taken(self, name: str) -> None:
        if self._all("SELECT 1 FROM selections WHERE deleted = 0 AND name = ?", name):
            raise InputError("A selection of that name is there already.", fix="choose another name.")

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock, told():
            return self._connection.execute(query, values).fetchall()

    def _one(self, query: str, *values: Any) -> tuple[Any, ...]:
        return self._all(query, *values)[0]

    def _frame(self, query: str, *values: Any) -> pd.DataFrame:
        with self._lock, told():
            cursor = self._connection.execute(query, values)
            names = [column[0] for column in cursor.description]
            frame = pd.DataFrame(cursor.fetchall(), columns=names, dtype=object)  # None stays None, text stays text
        return frame.astype({name: kind for name, kind in _NUMBERS.items() if name in names})


def _checked_verdict(verdict: object) -> str | None:
    if verdict is None:
        return None
    if not isinstance(verdict, str) or verdict not in set(Verdict):
        raise InputError("That is not one of the verdicts.", fix=f"the verdicts are {', '.join(Verdict)}.")
    return str(Verdict(verdict))


def _checked_recipe(recipe: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(recipe), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError("The recipe cannot be stored as JSON.", fix="use plain, finite values.") from error

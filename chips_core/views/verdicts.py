"""Verdicts as a page gives them: a key each, saved at once, taken back one by one, and what they add up to."""

import getpass
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from chips_core.errors import ChipsError
from chips_core.store.review import Review, Verdict


@dataclass(frozen=True)
class Choice:
    """A verdict that a person can give: its key, its word in the ledger, and whether it says that the pair is wrong."""

    key: str
    verdict: Verdict
    wrong: bool


CHOICES = (
    Choice("k", Verdict.CORRECT, wrong=False),
    Choice("m", Verdict.WRONG_PAIR, wrong=True),
    Choice("f", Verdict.WRONG_FINDING, wrong=True),
    Choice("l", Verdict.LATERALITY, wrong=True),
    Choice("n", Verdict.NEGATION, wrong=True),
    Choice("o", Verdict.WRONG_VIEW, wrong=True),
    Choice("p", Verdict.CITES_OTHER, wrong=True),
    Choice("u", Verdict.UNINFORMATIVE, wrong=True),
    Choice("x", Verdict.UNREADABLE, wrong=True),
    Choice("h", Verdict.PATIENT_DATA, wrong=False),
    Choice("s", Verdict.UNSURE, wrong=False),
)
"""The verdicts in the order of their buttons; C and R are Streamlit's own keys."""
BY_KEY: Mapping[str, Choice] = MappingProxyType({choice.key: choice for choice in CHOICES})
WRONG = frozenset(str(choice.verdict) for choice in CHOICES if choice.wrong)
UNDECIDED = frozenset({str(Verdict.UNSURE), str(Verdict.PATIENT_DATA)})
WRONG_MEANS = "Wrong: every verdict but correct, unsure and patient data seen; the last two count on neither side."
FIRST = (10, 50)  # places of the queue for which precision is told


@dataclass(frozen=True)
class Held:
    """The verdict that holds for a pair now; `event` is its number in the ledger."""

    verdict: str
    reviewer: str
    event: int


@dataclass(frozen=True)
class Answer:
    """What became of an act: whether it was saved, a sentence, and the pairs that it was about."""

    saved: bool
    text: str
    pair_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Precision:
    """Of the first `places` of a queue (None: of all), how many were decided, and how many of these are wrong."""

    places: int | None
    decided: int
    wrong: int


class Ledger:
    """The verdicts of one pool for its pages: read once, kept current, safe for several sessions at a time."""

    def __init__(self, folder: Path) -> None:
        self._review = Review.open(folder)
        self._lock = threading.RLock()
        self._held: dict[str, Held] = {}
        self._own: dict[str, dict[str, Held]] = {}  # by reviewer, who each may hold another verdict on a pair
        self._event = -1  # the newest event that both know

    def close(self) -> None:
        """Closes the database."""
        self._review.close()

    def held(self) -> Mapping[str, Held]:
        """Returns the verdicts that hold now, by pair id: of several reviewers' the last."""
        with self._lock:
            self._read()
            return self._held

    def own(self, reviewer: str) -> Mapping[str, Held]:
        """Returns a reviewer's own verdicts that hold, by pair id, whatever others said of the same pairs later."""
        with self._lock:
            self._read()
            return self._own.get(reviewer, {})

    def given(self, pair_id: str) -> tuple[Held, ...]:
        """Returns every reviewer's verdict on a pair that holds, the last first: it is the pair's."""
        with self._lock:
            self._read()
            found = [own[pair_id] for own in self._own.values() if pair_id in own]
        return tuple(sorted(found, key=lambda one: -one.event))

    def _read(self) -> None:
        """Reads the verdicts again, where somebody added to the ledger."""
        newest = self._review.last_event_id()
        if newest == self._event:
            return
        table = self._review.current_verdicts(by_reviewer=True).sort_values("event_id")
        self._held, self._own, self._event = {}, {}, newest
        columns = (table[name] for name in ("pair_id", "verdict", "reviewer", "event_id"))
        for pair, verdict, who, event in zip(*columns, strict=True):
            self._held[pair] = self._own.setdefault(who, {})[pair] = Held(verdict, who, int(event))

    def note_of(self, pair_id: str) -> str:
        """Returns the note that a pair has now; an empty text when it has none."""
        events = self._review.history(pair_id)
        notes = [note for note, undone in zip(events["note"], events["undone"], strict=True) if note and not undone]
        return str(notes[-1]) if notes else ""

    def history(self, pair_id: str) -> pd.DataFrame:
        """Returns every event about a pair, the oldest first."""
        return self._review.history(pair_id)

    def judge(
        self,
        choice: Choice,
        *,
        pair_id: str,
        reviewer: str,
        seen: int,
        note: str | None = None,
        score_version: str | None = None,
        content_hash: str | None = None,
    ) -> Answer:
        """Saves one verdict before it returns, unless another window changed the pair since it was shown.

        Args:
            choice: the verdict.
            pair_id: on which pair.
            reviewer: who gives it.
            seen: the event of the verdict that the person saw on the pair, 0 for none.
            note: a note that comes with it.
            score_version: the run that was looked at.
            content_hash: of what was shown.
        """
        try:
            with self._lock:
                there = self.held().get(pair_id)
                if (there.event if there else 0) != seen:
                    return Answer(False, _told_of_other(there), (pair_id,))
                event = self._review.add_verdict(
                    pair_id=pair_id,
                    verdict=choice.verdict,
                    reviewer=reviewer,
                    note=note,
                    score_version=score_version,
                    content_hash=content_hash,
                )
                if event == self._event + 1:  # nobody else wrote: no need to read all verdicts again
                    given = {pair_id: Held(str(choice.verdict), reviewer, event)}
                    self._held = {**self._held, **given}
                    self._own = {**self._own, reviewer: {**self._own.get(reviewer, {}), **given}}
                    self._event = event
        except ChipsError as error:
            return _not_saved(error, (pair_id,))
        return Answer(True, f"Saved: {choice.verdict}.", (pair_id,))

    def judge_all(
        self,
        choice: Choice,
        *,
        pair_ids: Sequence[str],
        reviewer: str,
        score_version: str | None = None,
        content_hashes: Sequence[str] | None = None,
        note: str | None = None,
    ) -> Answer:
        """Saves one verdict on many pairs, all or none, taken back by one undo."""
        try:
            self._review.add_verdicts(
                pair_ids=pair_ids,
                verdict=choice.verdict,
                reviewer=reviewer,
                note=note or None,
                score_version=score_version,
                content_hashes=content_hashes,
            )
        except ChipsError as error:
            return _not_saved(error)
        return Answer(True, f"Saved: {choice.verdict} on {len(pair_ids):,} pairs. Z takes it back.", tuple(pair_ids))

    def save_note(self, note: str, *, pair_id: str, reviewer: str) -> Answer:
        """Saves a note on a pair, beside its verdict."""
        try:
            self._review.add_note(pair_id=pair_id, note=note, reviewer=reviewer)
        except ChipsError as error:
            return _not_saved(error, (pair_id,))
        return Answer(True, "Note saved.", (pair_id,))

    def undo(self, reviewer: str) -> Answer:
        """Takes back this reviewer's last verdict or note that still holds."""
        try:
            undone = self._review.undo_last(reviewer=reviewer, kinds=("verdict", "note"))
        except ChipsError as error:
            return _not_saved(error)
        if undone is None:
            return Answer(False, f"There is nothing of {reviewer} left to take back.")
        which = undone.pair_ids[0] if len(undone.pair_ids) == 1 else f"{len(undone.pair_ids):,} pairs"
        return Answer(True, f"Taken back: the {undone.kind} on {which}.", undone.pair_ids)


def default_reviewer() -> str:
    """Returns the name to begin with: the user that the app runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "reviewer"


def precision(verdicts: Iterable[str | None], *, places: int | None) -> Precision:
    """Returns how many of the first places were decided and how many of these are wrong.

    Args:
        verdicts: in the order of the queue, None where there is none.
        places: how many places count; None for all.
    """
    decided = wrong = 0
    for place, verdict in enumerate(verdicts):
        if places is not None and place >= places:
            break
        if verdict is not None and verdict not in UNDECIDED:
            decided += 1
            wrong += verdict in WRONG
    return Precision(places, decided, wrong)


def tally(verdicts: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Returns how often each verdict was given, those that were, in the order of their buttons."""
    counts = Counter(verdicts)
    return tuple((str(c.verdict), counts[str(c.verdict)]) for c in CHOICES if counts[str(c.verdict)])


def _told_of_other(there: Held | None) -> str:
    if there is None:
        return "Not saved: its verdict was taken back in another window meanwhile. Press again to give yours."
    words = f"Not saved: {there.reviewer} gave it '{there.verdict}' in another window meanwhile."
    return f"{words} It is shown now; press again to replace it."


def _not_saved(error: ChipsError, pair_ids: tuple[str, ...] = ()) -> Answer:
    return Answer(False, f"Not saved: {error.what} Do this: {error.fix}", pair_ids)

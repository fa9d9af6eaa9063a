"""The reviewer: draws a desk and does what the person asks for.

A verdict is saved in the callback, before the next pair is drawn; the page around the reviewer does not run again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from chips_core.errors import ChipsError
from chips_core.views import queue as queues
from chips_core.views.queue import Codes
from chips_core.views.verdicts import BY_KEY, Answer, Choice
from chips_core.views.walk import Walk, at, backward, onward
from pages.parts.errors import in_words, show_error
from pages.parts.review.component import draw_feed, message
from pages.parts.review.desk import Desk, keep, walk_of
from pages.parts.review.payload import Screen, payload

TOLD, REPLY = "review_told", "review_reply"
LONGEST_NOTE = 4_000


@st.fragment
def review(desk: Desk, *, below: Callable[[], None] | None = None) -> None:
    """Draws the reviewer on a desk, and what changes with each verdict `below` it."""
    try:
        codes = desk.codes()
        walk = walk_of(desk, codes)
        note = "" if walk.row is None else desk.ledger.note_of(str(desk.scored.ids[walk.row]))
    except ChipsError as error:
        show_error(error, before="The verdicts cannot be read.")
        return
    state = st.session_state
    screen = Screen(walk, codes, note, told=state.get(TOLD), reply=state.get(REPLY, 0))
    data, ahead = payload(desk, screen)
    draw_feed(data, on_act=partial(act, desk))
    if below is not None:
        below()
    if desk.nearby is not None:
        desk.nearby.prepare(ahead)  # while the person looks at this one


def act(desk: Desk) -> None:
    """Does what the person asked for: saves, steps or takes back."""
    asked = message()
    try:
        told = _done(desk, asked)
    except ChipsError as error:
        told = Answer(False, f"Not saved: {in_words(error)}")
    number = asked.get("n")
    st.session_state[TOLD] = told
    st.session_state[REPLY] = number if isinstance(number, int) else 0


def _done(desk: Desk, asked: dict[str, Any]) -> Answer | None:
    codes = desk.codes()
    walk = walk_of(desk, codes)
    shown = None if walk.row is None else str(desk.scored.ids[walk.row])
    if asked.get("do") == "undo":
        return _undo(desk, walk)
    if asked.get("pair") != shown:
        return Answer(False, "Not saved: another pair was on screen than the one the key was meant for.")
    note = asked.get("note")
    note = note[:LONGEST_NOTE] if isinstance(note, str) else None
    if asked.get("do") == "verdict" and walk.row is not None:
        choice = BY_KEY.get(str(asked.get("key")))
        return _verdict(desk, walk, choice, note=note, seen=asked.get("seen")) if choice else None
    answer = _note(desk, walk, note) if note is not None else None
    if answer is None or answer.saved:
        _step(desk, walk, codes, asked.get("do"))
    return answer


def _verdict(desk: Desk, walk: Walk, choice: Choice, *, note: str | None, seen: Any) -> Answer:
    row = walk.row
    assert row is not None  # noqa: S101 - the caller looked
    answer = desk.ledger.judge(
        choice,
        pair_id=str(desk.scored.ids[row]),
        reviewer=desk.reviewer,
        seen=seen if isinstance(seen, int) else 0,
        note=note,
        score_version=desk.scored.version,
        content_hash=desk.scored.content_hashes([row])[0],
    )
    if answer.saved and not desk.stays:
        is_open = queues.open_places(desk.codes(), desk.queue, desk.state)
        keep(desk, onward(walk, desk.queue, is_open, wrap=desk.state == queues.OPEN))
    return answer


def _note(desk: Desk, walk: Walk, note: str) -> Answer | None:
    if walk.row is None:
        return None
    if not note.strip():
        return Answer(False, "Not saved: a note cannot be emptied. Write another, or take it back with Z.")
    return desk.ledger.save_note(note, pair_id=str(desk.scored.ids[walk.row]), reviewer=desk.reviewer)


def _step(desk: Desk, walk: Walk, codes: Codes, do: Any) -> None:
    if desk.stays:
        return
    is_open = queues.open_places(codes, desk.queue, desk.state)
    if do == "back":
        keep(desk, backward(walk, desk.queue, is_open))
    elif do == "next":
        ahead = onward(walk, desk.queue, is_open, wrap=desk.state == queues.OPEN)
        keep(desk, ahead if ahead.row is not None else walk)  # the last pair stays on screen


def _undo(desk: Desk, walk: Walk) -> Answer:
    answer = desk.ledger.undo(desk.reviewer)
    if len(answer.pair_ids) == 1 and not desk.stays:
        row = desk.scored.row_of(answer.pair_ids[0])
        if row is not None:
            keep(desk, at(walk, row))
    return answer

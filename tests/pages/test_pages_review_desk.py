"""What each act at the reviewer does: it saves, steps, takes back, and refuses what the person cannot have meant."""

import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from chips_core.errors import NoSpace
from chips_core.store import Pool, Review
from chips_core.views.nearby import nearby_of
from chips_core.views.queue import OPEN, Filters, load_run, worklist
from chips_core.views.verdicts import Ledger
from chips_core.views.walk import Walk
from pages.parts.review import desk as desks
from pages.parts.review import reviewer
from pages.parts.review.desk import Desk, walk_of
from pages.parts.review.payload import Screen, payload
from pages.parts.review.reviewer import TOLD, act

sys.path.insert(0, str(Path(__file__).parents[1] / "views"))
from review_pools import scored_pool


@pytest.fixture
def pool(tmp_path):
    return scored_pool(tmp_path / "pool").path


@pytest.fixture
def state(monkeypatch):
    """The session's state, and under "message" what the browser says."""
    kept = {}
    for module in (desks, reviewer):
        monkeypatch.setattr(module, "st", SimpleNamespace(session_state=kept))
    monkeypatch.setattr(reviewer, "message", lambda: dict(kept.get("message", {})))
    return kept


@pytest.fixture
def desk(pool):
    opened = Pool.open(pool)
    scored = load_run(opened, "run")
    queue = worklist(scored, scored.rankings[0], Filters())
    ledger = Ledger(pool)
    yield Desk(opened, scored, scored.rankings[0], queue, "queue", OPEN, "ann", False, ledger, nearby_of(opened))
    ledger.close()


def does(desk, state, **message):
    state["message"] = {"n": 1, "seen": 0, "note": None} | message
    act(desk)
    return state[TOLD]


def on_screen(desk):
    row = walk_of(desk, desk.codes()).row
    return None if row is None else str(desk.scored.ids[row])


def test_act__verdict_saves_and_goes_on(desk, state):
    assert on_screen(desk) == "p2"
    assert does(desk, state, do="verdict", key="m", pair="p2", note="odd").saved
    assert desk.ledger.held()["p2"].verdict == "wrong pair"
    assert desk.ledger.note_of("p2") == "odd"
    assert on_screen(desk) == "p4"


@pytest.mark.parametrize(
    "message",
    [
        {"do": "verdict", "key": "m", "pair": "p4"},
        {"do": "verdict", "key": "m", "pair": None},
        {"do": "verdict", "key": "?", "pair": "p2"},
        {"do": "verdict", "key": ["m"], "pair": "p2"},
        {"do": "verdict", "pair": {"a": 1}},
        {"do": "nothing", "pair": "p2", "n": "x"},
        {},
    ],
)
def test_act__what_cannot_be_meant_changes_nothing(desk, state, message):
    on_screen(desk)
    does(desk, state, **message)
    assert desk.ledger.held() == {}
    assert on_screen(desk) == "p2"


def stop_saving(desk, pool, how):
    """Makes that nothing more can be saved; returns what has to be kept open for that."""
    review = desk.ledger._review
    connection = review._connection
    if how == "read-only":
        connection.execute("PRAGMA query_only = ON")
    elif how == "locked":
        connection.execute("PRAGMA busy_timeout = 50")
        other = Review.open(pool)
        other._connection.execute("BEGIN IMMEDIATE")
        return other
    else:
        connection.execute("PRAGMA max_page_count = 1")  # none beyond those that are there
        for size in (4000, 1):
            with suppress(NoSpace):
                for _ in range(2000):
                    review.add_verdict(pair_id="another", verdict="unsure", reviewer="bob", note="x" * size)
    return None


@pytest.mark.parametrize("how", ["full", "read-only", "locked"])
def test_g4__what_cannot_be_saved_is_told_and_the_pair_keeps_its_verdict(desk, state, pool, how):
    on_screen(desk)
    assert does(desk, state, do="verdict", key="k", pair="p2").saved
    does(desk, state, do="back", pair="p4")
    other = stop_saving(desk, pool, how)
    told = does(desk, state, do="verdict", key="m", pair="p2", seen=desk.given(2)[0].event)
    assert not told.saved
    assert told.text.startswith("Not saved")
    assert on_screen(desk) == "p2"  # nothing moves on
    data, _ = payload(desk, Screen(walk_of(desk, desk.codes()), desk.codes(), "", told=told))
    assert data["verdict"]["key"] == "k"  # the page shows the old one
    assert data["told"] == {"text": told.text, "ok": False}
    if other is not None:
        other._connection.execute("ROLLBACK")
        other.close()


def test_payload__says_whose_verdicts_a_pair_has_the_last_first(desk, state):
    on_screen(desk)
    assert does(desk, state, do="verdict", key="m", pair="p2").saved
    screen = Screen(Walk(2), desk.codes(), "")
    assert payload(desk, screen)[0]["verdict"] == {"key": "m", "words": "Verdict: wrong pair, by ann"}
    desk.ledger._review.add_verdict(pair_id="p2", verdict="correct", reviewer="bob")
    told = {"key": "k", "words": "Verdict: correct, by bob (before: wrong pair, by ann)"}
    assert payload(desk, screen)[0]["verdict"] == told


def test_act__undo_goes_back_to_the_pair(desk, state):
    for pair in ("p2", "p4"):
        on_screen(desk)
        does(desk, state, do="verdict", key="k", pair=pair)
    assert does(desk, state, do="undo", pair="p3").saved
    assert on_screen(desk) == "p4"
    assert does(desk, state, do="undo", pair="p4").saved
    assert on_screen(desk) == "p2"
    assert not does(desk, state, do="undo", pair="p2").saved


def test_act__steps_without_a_verdict_keep_the_note(desk, state):
    on_screen(desk)
    assert does(desk, state, do="next", pair="p2") is None
    assert on_screen(desk) == "p4"
    assert does(desk, state, do="back", pair="p4", note="later").text == "Note saved."
    assert on_screen(desk) == "p2"
    assert desk.ledger.note_of("p4") == "later"
    assert not does(desk, state, do="next", pair="p2", note=" ").saved
    assert on_screen(desk) == "p2"


def test_act__passed_over_pairs_come_again_and_then_the_queue_is_finished(desk, state):
    on_screen(desk)
    does(desk, state, do="next", pair="p2")
    for pair in ("p4", "p3", "p1", "p0", "p5", "p2"):
        assert on_screen(desk) == pair
        assert does(desk, state, do="verdict", key="s", pair=pair).saved
    assert on_screen(desk) is None
    assert does(desk, state, do="back", pair=None) is None
    assert on_screen(desk) == "p2"


def test_act__in_its_own_view_the_pair_stays(desk, state, pool):
    own = Desk(**{**vars(desk), "stays": True, "queue": np.array([3]), "name": "own"})
    assert on_screen(own) == "p3"
    assert does(own, state, do="verdict", key="k", pair="p3").saved
    assert on_screen(own) == "p3"
    assert does(own, state, do="undo", pair="p3").saved
    assert on_screen(own) == "p3"
    assert pool.is_dir()


def test_payload__is_small_and_plain(desk):
    import json

    screen = Screen(walk_of_row(2), desk.codes(), note="")
    data, ahead = payload(desk, screen)
    assert ahead == [4, 3, 1]
    assert len(json.dumps(data, allow_nan=False)) < 8_000
    assert data["preload"][0].startswith("/pair-image/")


def test_payload__a_long_caption_is_cut_and_says_so(desk):
    pairs = desk.scored.pairs.assign(caption="long " * 50_000)
    scored = type(desk.scored)(**{name: getattr(desk.scored, name) for name in _fields(desk)} | {"pairs": pairs})
    data, _ = payload(Desk(**{**vars(desk), "scored": scored}), Screen(walk_of_row(2), desk.codes(), note=""))
    assert data["pair"]["more"]
    assert all(item["text"].endswith("…") and len(item["text"]) < 200 for item in data["near"]["items"])
    assert len(str(data)) < 20_000


def walk_of_row(row):
    from chips_core.views.walk import Walk

    return Walk(row)


def _fields(desk):
    return type(desk.scored).__dataclass_fields__

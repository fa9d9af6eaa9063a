"""Verdicts from a page: saved before the call returns, told when another window was first, taken back without limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_pools import plain_pool

from chips_core.errors import NoSpace
from chips_core.store.review import Review, Verdict
from chips_core.views.verdicts import (
    BY_KEY,
    CHOICES,
    UNDECIDED,
    WRONG,
    Ledger,
    default_reviewer,
    precision,
    tally,
)


@pytest.fixture
def pool(tmp_path):
    return plain_pool(tmp_path / "pool")


@pytest.fixture
def ledger(pool):
    with_it = Ledger(pool.path)
    yield with_it
    with_it.close()


def give(ledger, pair_id, key, **more):
    return ledger.judge(BY_KEY[key], pair_id=pair_id, **{"reviewer": "ann", "seen": 0} | more)


def test_choices__every_verdict_has_a_key_that_streamlit_leaves_free():
    assert {choice.verdict for choice in CHOICES} == set(Verdict)
    assert len(BY_KEY) == len(CHOICES)
    assert not {"c", "r", "z", "j", "t"} & set(BY_KEY)


def test_judge__is_on_disk_when_it_returns(pool, ledger):
    answer = give(ledger, "p1", "m", note="left out", score_version="s1", content_hash="h")
    assert answer.saved
    with Review.open(pool.path) as other:
        line = other.current_verdicts().iloc[0]
    assert (line["pair_id"], line["verdict"], line["reviewer"]) == ("p1", "wrong pair", "ann")
    assert (line["note"], line["score_version"], line["content_hash"]) == ("left out", "s1", "h")
    assert ledger.held()["p1"].verdict == "wrong pair"


def test_g3__another_window_was_first_is_told_and_nothing_is_saved(pool, ledger):
    with Review.open(pool.path) as other:
        event = other.add_verdict(pair_id="p1", verdict="laterality", reviewer="bob")
    answer = give(ledger, "p1", "k")
    assert not answer.saved
    assert "bob gave it 'laterality'" in answer.text
    assert ledger.held()["p1"].reviewer == "bob"
    assert give(ledger, "p1", "k", seen=event).saved
    assert ledger.held()["p1"].verdict == "correct"


def test_judge__taken_back_elsewhere_is_told(pool, ledger):
    give(ledger, "p1", "k")
    seen = ledger.held()["p1"].event
    with Review.open(pool.path) as other:
        other.undo_last(reviewer="ann")
    answer = give(ledger, "p1", "m", seen=seen)
    assert not answer.saved
    assert "taken back in another window" in answer.text
    assert "p1" not in ledger.held()


def test_g4__a_failed_save_keeps_the_old_verdict(ledger, monkeypatch):
    give(ledger, "p1", "k")
    seen = ledger.held()["p1"].event

    def full(*_, **__):
        raise NoSpace("The disk is full.", fix="free space.")

    monkeypatch.setattr(Review, "add_verdict", full)
    answer = give(ledger, "p1", "m", seen=seen)
    assert not answer.saved
    assert answer.text.startswith("Not saved")
    assert ledger.held()["p1"].verdict == "correct"


def test_judge_all__one_undo_takes_back_all(ledger):
    give(ledger, "p0", "k")
    ids = ["p0", "p1", "p2"]
    assert ledger.judge_all(BY_KEY["m"], pair_ids=ids, reviewer="ann").saved
    assert [held.verdict for held in ledger.held().values()] == ["wrong pair"] * 3
    assert set(ledger.undo("ann").pair_ids) == set(ids)
    assert {pair: held.verdict for pair, held in ledger.held().items()} == {"p0": "correct"}


def test_undo__goes_back_step_by_step_over_own_verdicts_and_notes_only(pool, ledger):
    give(ledger, "p0", "k")
    give(ledger, "p1", "m", reviewer="bob")
    ledger.save_note("odd", pair_id="p2", reviewer="ann")
    with Review.open(pool.path) as other:
        other.create_selection(name="mine", pair_ids=["p0"], reviewer="ann")
    assert ledger.undo("ann").pair_ids == ("p2",)
    assert ledger.note_of("p2") == ""
    assert ledger.undo("ann").pair_ids == ("p0",)
    assert not ledger.undo("ann").saved
    assert list(ledger.held()) == ["p1"]
    with Review.open(pool.path) as other:
        assert [selection.name for selection in other.selections()] == ["mine"]


def test_own__stays_when_another_reviewer_judges_the_same_pair_differently(pool, ledger):
    assert ledger.own("ann") == {}
    for pair in ("p0", "p1"):
        assert give(ledger, pair, "m").saved
    seen = ledger.held()["p0"].event
    assert give(ledger, "p0", "k", reviewer="bob", seen=seen).saved
    assert {pair: held.verdict for pair, held in ledger.own("ann").items()} == {"p0": "wrong pair", "p1": "wrong pair"}
    assert {pair: held.verdict for pair, held in ledger.own("bob").items()} == {"p0": "correct"}
    fresh = Ledger(pool.path)
    assert fresh.own("ann") == ledger.own("ann")
    fresh.close()
    assert [(one.verdict, one.reviewer) for one in ledger.given("p0")] == [("correct", "bob"), ("wrong pair", "ann")]
    assert ledger.given("p2") == ()
    assert ledger.undo("ann").saved
    assert set(ledger.own("ann")) == {"p0"}


def test_note_of__is_the_last_that_holds(ledger):
    assert ledger.note_of("p0") == ""
    give(ledger, "p0", "k", note="first")
    ledger.save_note("second", pair_id="p0", reviewer="ann")
    assert ledger.note_of("p0") == "second"
    ledger.undo("ann")
    assert ledger.note_of("p0") == "first"


@given(st.lists(st.sampled_from([None, *map(str, Verdict)]), max_size=30), st.integers(1, 40))
def test_precision__counts_the_decided_of_the_first_places(verdicts, places):
    found = precision(verdicts, places=places)
    first = [verdict for verdict in verdicts[:places] if verdict is not None and verdict not in UNDECIDED]
    assert found.decided == len(first)
    assert found.wrong == sum(verdict in WRONG for verdict in first)


def test_precision__unsure_counts_on_neither_side():
    found = precision(["wrong pair", "unsure", "correct", None, "unreadable"], places=None)
    assert (found.decided, found.wrong) == (3, 2)


def test_tally__in_the_order_of_the_buttons():
    assert tally(["unsure", "correct", "unsure"]) == (("correct", 1), ("unsure", 2))


def test_default_reviewer__without_a_user_name(monkeypatch):
    def nobody():
        raise OSError

    monkeypatch.setattr("getpass.getuser", nobody)
    assert default_reviewer() == "reviewer"

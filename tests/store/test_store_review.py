"""A verdict shown as saved is saved, undo restores exactly, and text of any kind comes back verbatim (G)."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faults import flipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from small_pools import make_pool

from chips_core.errors import ChipsError, InputError, NoSpace, NotWritable, PoolBusy, PoolDamaged, PoolTooNew
from chips_core.store import Pool, Review, Verdict, check_pool, content_hash
from chips_core.store import review_database as database


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return make_pool(tmp_path / "pool", count=5)


@pytest.fixture
def review(pool: Pool) -> Iterator[Review]:
    with Review.open(pool.path) as review:
        yield review


def verdicts(review: Review) -> dict[str, str]:
    found = review.current_verdicts()
    return dict(zip(found["pair_id"], found["verdict"], strict=True))


def test_add_verdict__the_last_one_holds_and_all_are_kept(review: Review) -> None:
    review.add_verdict(pair_id="p0", verdict=Verdict.CORRECT, reviewer="ada", note="first", score_version="s1")
    review.add_verdict(pair_id="p0", verdict="wrong pair", reviewer="bo", reason="side", content_hash="c1", reading=2)
    found = review.current_verdicts()
    assert found.to_dict("records") == [
        {"pair_id": "p0", "verdict": "wrong pair", "reviewer": "bo", "created": found["created"][0], "note": "first",
         "reason": "side", "score_version": None, "content_hash": "c1", "reading": 2, "event_id": 2}
    ]  # fmt: skip
    assert review.history("p0")["verdict"].tolist() == ["correct", "wrong pair"]
    both = review.current_verdicts(by_reviewer=True)
    assert both[["reviewer", "verdict"]].to_numpy().tolist() == [["ada", "correct"], ["bo", "wrong pair"]]


def test_add_verdict__none_takes_it_back(review: Review) -> None:
    review.add_verdict(pair_id="p0", verdict="correct", reviewer="ada")
    review.add_verdict(pair_id="p0", verdict=None, reviewer="ada")
    assert verdicts(review) == {}
    review.undo_last(reviewer="ada")
    assert verdicts(review) == {"p0": "correct"}


def test_add_verdicts__are_one_action(review: Review) -> None:
    review.add_verdict(pair_id="p1", verdict="unsure", reviewer="ada")
    review.add_verdicts(pair_ids=["p0", "p1", "p2"], verdict="laterality", reviewer="ada")
    assert verdicts(review) == dict.fromkeys(["p0", "p1", "p2"], "laterality")
    undone = review.undo_last(reviewer="ada")
    assert undone is not None
    assert (undone.kind, undone.pair_ids) == ("verdict", ("p0", "p1", "p2"))
    assert verdicts(review) == {"p1": "unsure"}
    assert review.history("p1")["undone"].tolist() == [False, True]


def test_undo_last__is_of_this_reviewer_and_ends(review: Review) -> None:
    review.add_verdict(pair_id="p0", verdict="correct", reviewer="ada")
    review.add_verdict(pair_id="p1", verdict="correct", reviewer="bo")
    review.undo_last(reviewer="ada")
    assert verdicts(review) == {"p1": "correct"}
    assert review.undo_last(reviewer="ada") is None
    assert review.last_event_id() == 3


def test_last_event_id__tells_another_tab(review: Review, pool: Pool) -> None:
    with Review.open(pool.path) as other:
        before = other.last_event_id()
        review.add_note(pair_id="p0", note="look again", reviewer="ada")
        assert other.last_event_id() == before + 1


def test_selections__are_kept_in_order_and_renaming_keeps_the_pairs(review: Review) -> None:
    review.create_selection(name="s", pair_ids=["p2", "p0"], reviewer="ada", recipe={"budget": 0.1})
    review.rename_selection(name="s", new_name="t", reviewer="ada")
    (found,) = review.selections()
    assert (found.name, found.count, found.recipe, found.reviewer) == ("t", 2, {"budget": 0.1}, "ada")
    assert review.selection_pairs("t") == ["p2", "p0"]
    review.delete_selection(name="t", reviewer="bo")
    assert not review.selections()
    review.create_selection(name="t", pair_ids=[], reviewer="bo")
    assert review.selection_pairs("t") == []
    with pytest.raises(InputError, match="already"):
        review.create_selection(name="t", pair_ids=["p1"], reviewer="bo")
    with pytest.raises(InputError, match="no selection"):
        review.selection_pairs("s")


TAKES_TEXT = {
    "pair_id": lambda r, v: r.add_verdict(pair_id=v, verdict="correct", reviewer="r"),
    "verdict": lambda r, v: r.add_verdict(pair_id="p0", verdict=v, reviewer="r"),
    "reviewer": lambda r, v: r.add_verdict(pair_id="p0", verdict="correct", reviewer=v),
    "reason": lambda r, v: r.add_verdict(pair_id="p0", verdict="correct", reviewer="r", reason=v),
    "note": lambda r, v: r.add_verdict(pair_id="p0", verdict="correct", reviewer="r", note=v),
    "score_version": lambda r, v: r.add_verdict(pair_id="p0", verdict="correct", reviewer="r", score_version=v),
    "content_hash": lambda r, v: r.add_verdict(pair_id="p0", verdict="correct", reviewer="r", content_hash=v),
    "a note": lambda r, v: r.add_note(pair_id="p0", note=v, reviewer="r"),
    "undo": lambda r, v: r.undo_last(reviewer=v),
    "history": lambda r, v: r.history(v),
    "selection": lambda r, v: r.create_selection(name=v, pair_ids=["p0"], reviewer="r"),
    "selection pair": lambda r, v: r.create_selection(name="s", pair_ids=[v], reviewer="r"),
}


@pytest.mark.parametrize("method", TAKES_TEXT)
@pytest.mark.parametrize(
    "value", [np.int64(3), 3, float("nan"), np.float32("nan"), b"bytes", pd.NA, ["p0"], {}, "\ud800", "x" * 100_001]
)
def test_g5__text_of_another_kind_is_refused_and_nothing_is_stored(review: Review, method: str, value: object) -> None:
    with pytest.raises(InputError):
        TAKES_TEXT[method](review, value)
    assert review.last_event_id() == 0
    assert not review.selections()


@pytest.mark.parametrize("method", ["pair_id", "reviewer", "a note", "undo", "history", "selection", "selection pair"])
@pytest.mark.parametrize("value", [None, ""])
def test_g5__text_that_is_needed_is_refused_when_it_is_not_there(review: Review, method: str, value: object) -> None:
    with pytest.raises(InputError):
        TAKES_TEXT[method](review, value)
    assert review.last_event_id() == 0


def test_g5__text_of_numpy_becomes_text(review: Review) -> None:
    review.add_verdict(pair_id=np.str_("p0"), verdict="correct", reviewer="r", reading=np.int64(2))
    kinds = review._connection.execute("SELECT typeof(pair_id), typeof(reading), reading FROM events").fetchone()
    assert kinds == ("text", "integer", 2)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 1.5, 0, -1, True, np.True_, "1", b"1", None, 2**40, pd.NA]
)
def test_g5__reading_that_is_no_count_is_refused(review: Review, value: Any) -> None:
    with pytest.raises(InputError):
        review.add_verdict(pair_id="p0", verdict="correct", reviewer="r", reading=value)
    assert review.last_event_id() == 0


@pytest.mark.parametrize("recipe", [{"a": float("nan")}, {"a": object()}, {"a": np.int64(1)}])
def test_recipe__that_is_not_json_is_refused(review: Review, recipe: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        review.create_selection(name="s", pair_ids=["p0"], reviewer="r", recipe=recipe)
    assert not review.selections()


def test_verdict__outside_the_vocabulary_is_refused(review: Review) -> None:
    with pytest.raises(InputError, match="the verdicts are correct"):
        review.add_verdict(pair_id="p0", verdict="meh", reviewer="r")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Review]:
    with Review.open(make_pool(tmp_path_factory.mktemp("shared") / "pool").path) as review:
        yield review


ANY_TEXT = st.text(min_size=1, max_size=60) | st.sampled_from(
    [
        "'); DROP TABLE events;--",
        '"; --',
        "?1 :a @b $c",
        "%s {0.__class__}",
        "\0",
        "a\0b",
        "\ufeff",
        "\u202e",
        "NULL",
        "nan",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair_id=ANY_TEXT, note=ANY_TEXT, reviewer=ANY_TEXT, name=ANY_TEXT)
def test_g7__text_of_any_kind_comes_back_verbatim(
    shared: Review, pair_id: str, note: str, reviewer: str, name: str
) -> None:
    shared.add_verdict(pair_id=pair_id, verdict="unsure", reviewer=reviewer, note=note, reason=name)
    last = shared.history(pair_id).iloc[-1]
    assert (last["note"], last["reviewer"], last["reason"]) == (note, reviewer, name)
    shared.create_selection(name=name, pair_ids=[pair_id], reviewer=reviewer)
    assert shared.selection_pairs(name) == [pair_id]
    shared.delete_selection(name=name, reviewer=reviewer)


FLAGGING = """
import sys
from pathlib import Path
from chips_core.store import Review
review = Review.open(Path(sys.argv[1]))
for i in range(int(sys.argv[2])):
    review.add_verdict(pair_id=f"{sys.argv[3]}-{i}", verdict="correct", reviewer=sys.argv[3])
    print(i, flush=True)
"""


def flagging(pool: Pool, *, times: int, who: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", FLAGGING, str(pool.path), str(times), who]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_g1__killed_twenty_times_while_flagging_loses_nothing_acknowledged_and_tears_nothing(pool: Pool) -> None:
    acknowledged = 0
    delays = np.random.default_rng(0).uniform(0, 0.02, size=20)
    for turn, delay in enumerate(delays):
        child = os.fork()  # far cheaper than a new interpreter, and killed all the same
        if child == 0:
            _flag_until_killed(pool.path, turn)
        reader = pool.path.with_name(f"acknowledged-{turn}")
        while not reader.exists() or not reader.stat().st_size:
            pass
        threading.Event().wait(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done = reader.read_bytes().count(b"\n")
        acknowledged += done
        with Review.open(pool.path) as review:
            found = review.current_verdicts()
            mine = found[found["reviewer"] == f"r{turn}"]
            assert len(mine) % 3 == 0, "a torn action"
            assert done <= len(mine) // 3 <= done + 1
    assert acknowledged >= 20
    assert check_pool(pool.path).sound


def _flag_until_killed(path: Path, turn: int) -> None:
    try:
        signal.alarm(60)
        review = Review.open(path)
        out = os.open(path.with_name(f"acknowledged-{turn}"), os.O_WRONLY | os.O_CREAT)
        for i in range(100_000):
            ids = [f"{turn}-{i}-{j}" for j in range(3)]
            review.add_verdicts(pair_ids=ids, verdict="correct", reviewer=f"r{turn}")
            os.write(out, b"saved\n")
    finally:
        os._exit(1)


def test_g2__two_processes_writing_at_once_all_get_through(pool: Pool) -> None:
    times = 1000
    processes = [flagging(pool, times=times, who=who) for who in ("app", "cli")]
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert len(out.splitlines()) == times
    with Review.open(pool.path) as review:
        assert len(review.current_verdicts()) == 2 * times
        assert review.last_event_id() == 2 * times


def test_threads__sharing_one_review_all_get_through(review: Review) -> None:
    def work(who: str) -> None:
        for i in range(30):
            review.add_verdict(pair_id=f"{who}{i}", verdict="correct", reviewer=who)

    threads = [threading.Thread(target=work, args=(who,)) for who in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(verdicts(review)) == 90


def test_g4__locked_past_the_timeout_is_told_and_not_saved(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    with Review.open(pool.path) as review, Review.open(pool.path) as other:
        other._connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(PoolBusy, match="another process"):
            review.add_verdict(pair_id="p0", verdict="correct", reviewer="r")
        assert verdicts(review) == {}
        other._connection.execute("ROLLBACK")
        review.add_verdict(pair_id="p0", verdict="correct", reviewer="r")


@pytest.mark.parametrize(
    ("limit", "error"), [("PRAGMA max_page_count = 1", NoSpace), ("PRAGMA query_only = ON", NotWritable)]
)
def test_g4__full_disk_and_read_only_are_told_and_not_saved(review: Review, limit: str, error: type[Exception]) -> None:
    review.add_verdict(pair_id="p0", verdict="correct", reviewer="r")
    review._connection.execute(limit)

    def flag() -> None:
        saved = review.last_event_id()
        try:
            review.add_verdict(pair_id="p0", verdict="wrong pair", reviewer="r", note="x" * 4000)
        finally:
            known.append(review.last_event_id() - saved)

    known: list[int] = []
    with pytest.raises(error, match="not saved"):  # noqa: PT012
        while len(known) < 2000:  # until the pages that are there are used up
            flag()
    assert known == [1] * (len(known) - 1) + [0]
    assert len(review.history("p0")) == len(known)


def test_g10__a_transaction_fails_as_a_whole(review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    review.create_selection(name="s", pair_ids=["p0"], reviewer="r")

    def fail(*_args: object, **_keywords: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(review, "_append", fail)
    for attempt in (
        lambda: review.rename_selection(name="s", new_name="t", reviewer="r"),
        lambda: review.delete_selection(name="s", reviewer="r"),
        lambda: review.create_selection(name="u", pair_ids=["p1"], reviewer="r"),
        lambda: review.undo_last(reviewer="r"),
    ):
        with pytest.raises(KeyboardInterrupt):
            attempt()
        assert [s.name for s in review.selections()] == ["s"]
    assert review.selection_pairs("s") == ["p0"]


def test_settings__are_those_promised(review: Review, pool: Pool) -> None:
    def pragma(name: str) -> object:
        return review._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert (pragma("journal_mode"), pragma("synchronous"), pragma("busy_timeout")) == ("wal", 2, 5000)
    assert pragma("foreign_keys") == 1
    strict = review._connection.execute("SELECT min(strict) FROM pragma_table_list WHERE schema = 'main' AND name IN "
                                        "('meta', 'events', 'selections', 'selection_pairs')").fetchone()  # fmt: skip
    assert strict == (1,)
    assert not [p for p in pool.path.glob("review.sqlite*") if p.stat().st_mode & 0o077]


def test_g8__a_later_version_is_told(pool: Pool) -> None:
    Review.open(pool.path).close()
    with sqlite3.connect(pool.path / "review.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(PoolTooNew, match="later version"):
        Review.open(pool.path)


def test_g9__any_flipped_byte_is_told_or_harmless(pool: Pool, tmp_path: Path) -> None:
    """Never a bare SQLite error; and a changed event is named by `check`."""
    with Review.open(pool.path) as review:
        for i in range(5):
            review.add_verdict(pair_id=f"p{i}", verdict="correct", reviewer="ada", note="a note of some length")
        wanted = review.current_verdicts()
    whole = (pool.path / "review.sqlite").read_bytes()
    assert not (pool.path / "review.sqlite-wal").exists()
    copy = tmp_path / "copy"
    shutil.copytree(pool.path, copy)
    silent = 0
    for bit in np.random.default_rng(0).choice(len(whole) * 8, size=200, replace=False).tolist():
        (copy / "review.sqlite").write_bytes(flipped(whole, bit=bit))
        try:
            found_damage = not check_pool(copy).sound
            with Review.open(copy) as review:
                same = review.current_verdicts().equals(wanted)
        except PoolDamaged:
            continue
        silent += not same and not found_damage
    assert silent == 0


def test_m1__an_event_changed_behind_our_back_is_named(pool: Pool) -> None:
    with Review.open(pool.path) as review:
        review.add_verdict(pair_id="p0", verdict="correct", reviewer="ada")
        review._connection.execute("UPDATE events SET verdict = 'unsure'")
    (finding,) = check_pool(pool.path).findings
    assert (finding.file, finding.problem) == ("review.sqlite", "event 1 is not what was written")


def test_g12__no_descriptor_is_left_open(pool: Pool) -> None:
    Review.open(pool.path).close()
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(50):
        with Review.open(pool.path) as review:
            review.current_verdicts()
    assert len(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() == threads


def test_content_hash__tells_image_and_caption_apart() -> None:
    assert content_hash(image_sha256="ab", caption="c") != content_hash(image_sha256="a", caption="bc")


PAIR_IDS, REVIEWERS, NAMES = ["p0", "p1", "p2"], ["ada", "bo"], ["s", "t"]


class ReviewMachine(RuleBasedStateMachine):
    """Any sequence of actions equals a plain model of dicts; undo restores exactly."""

    pool: Pool

    def __init__(self) -> None:
        super().__init__()
        self.review: Review | None = None
        self.actions: list[dict[str, Any]] = []
        self.selected: dict[str, list[str]] = {}

    @initialize()
    def start(self) -> None:
        for path in self.pool.path.glob("review.sqlite*"):
            path.unlink()
        self.review = Review.open(self.pool.path)
        self.review._connection.execute("PRAGMA synchronous = OFF")

    @rule(ids=st.lists(st.sampled_from(PAIR_IDS), min_size=1, max_size=3, unique=True),
          verdict=st.sampled_from([None, *Verdict]), who=st.sampled_from(REVIEWERS))  # fmt: skip
    def flag(self, ids: list[str], verdict: Verdict | None, who: str) -> None:
        assert self.review
        self.review.add_verdicts(pair_ids=ids, verdict=verdict, reviewer=who)
        self.actions.append({"who": who, "kind": "verdict", "verdicts": dict.fromkeys(ids, verdict), "live": True})

    @rule(pair_id=st.sampled_from(PAIR_IDS), note=st.text(min_size=1, max_size=5), who=st.sampled_from(REVIEWERS))
    def note(self, pair_id: str, note: str, who: str) -> None:
        assert self.review
        self.review.add_note(pair_id=pair_id, note=note, reviewer=who)
        self.actions.append({"who": who, "kind": "note", "note": (pair_id, note), "live": True})

    @rule(name=st.sampled_from(NAMES), ids=st.lists(st.sampled_from(PAIR_IDS), unique=True))
    def select(self, name: str, ids: list[str]) -> None:
        self._try(name not in self.selected, "create_selection", name=name, pair_ids=ids, after={name: ids})

    @rule(name=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def rename(self, name: str, new: str) -> None:
        allowed = name in self.selected and new not in self.selected
        after = {new: self.selected.get(name, [])}
        self._try(allowed, "rename_selection", name=name, new_name=new, after=after, gone=name)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self._try(name in self.selected, "delete_selection", name=name, after={}, gone=name)

    def _try(self, allowed: bool, method: str, *, after: dict[str, list[str]], gone: str = "", **given: Any) -> None:
        before = dict(self.selected)
        try:
            getattr(self.review, method)(reviewer="ada", **given)
        except InputError:
            assert not allowed
            return
        assert allowed
        self.selected = {**{k: v for k, v in before.items() if k != gone}, **after}
        self.actions.append({"who": "ada", "kind": "selection", "before": before, "live": True})

    @rule(who=st.sampled_from(REVIEWERS))
    def undo(self, who: str) -> None:
        assert self.review
        mine = [a for a in self.actions if a["who"] == who and a["live"]]
        undone = self.review.undo_last(reviewer=who)
        assert (undone is None) == (not mine)
        if mine:
            mine[-1]["live"] = False
            self.selected = mine[-1].get("before", self.selected)

    @rule()
    def reopen(self) -> None:
        assert self.review
        self.review.close()
        self.review = Review.open(self.pool.path)
        self.review._connection.execute("PRAGMA synchronous = OFF")

    @invariant()
    def equals_the_model(self) -> None:
        if self.review is None:
            return
        expected: dict[str, str | None] = {}
        notes: dict[str, str] = {}
        for action in self.actions:
            if action["live"]:
                expected.update(action.get("verdicts", {}))
                notes.update([action["note"]] if "note" in action else [])
        found = self.review.current_verdicts()
        assert verdicts(self.review) == {k: v for k, v in expected.items() if v is not None}
        for pair_id, note in zip(found["pair_id"], found["note"], strict=True):
            assert notes.get(pair_id) == (note if isinstance(note, str) else None)
        assert {s.name: self.review.selection_pairs(s.name) for s in self.review.selections()} == self.selected

    def teardown(self) -> None:
        if self.review is not None:
            self.review.close()


def test_g6__any_sequence_equals_a_plain_model(tmp_path: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    class Machine(ReviewMachine):
        pool = make_pool(tmp_path / "pool")

    run_state_machine_as_test(Machine, settings=settings(max_examples=30, stateful_step_count=20, deadline=None))


def test_errors__are_all_ours(pool: Pool) -> None:
    (pool.path / "review.sqlite").write_bytes(b"not a database at all, but longer than a header " * 50)
    with pytest.raises(ChipsError, match="damaged"):
        Review.open(pool.path)

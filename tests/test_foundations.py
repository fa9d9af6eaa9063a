"""Outcomes, settings, fingerprints and progress: the small things that everything else trusts."""

import io
import time
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips_core import fingerprint
from chips_core.config import at_least, settings_from
from chips_core.errors import InputError, UsageError
from chips_core.outcomes import Outcome, OutcomeReport
from chips_core.progress import Meter, Terminal


@given(st.lists(st.sampled_from(list(Outcome))))
def test_outcome_report__adds_up_to_what_was_given(outcomes: list[Outcome]) -> None:
    report = OutcomeReport.of(outcomes)
    assert report.given == len(outcomes)
    assert report.kept == outcomes.count(Outcome.KEPT)
    assert set(report.counts) == {str(o) for o in Outcome}


def test_outcome_report__in_words() -> None:
    report = OutcomeReport.of(["kept"] * 7 + ["missing"] * 2 + ["broken"])
    assert report.in_words() == "7 of 10 kept (2 missing, 1 broken)"


def test_a14__all_failed_is_said_with_counts() -> None:
    report = OutcomeReport.of(["missing"] * 2 + ["broken"] * 5)
    with pytest.raises(InputError, match=r"All 7 of 7 inputs failed \(2 missing, 5 broken\)"):
        report.raise_if_nothing_kept()
    OutcomeReport.of(["kept", "broken"]).raise_if_nothing_kept()


@dataclass(frozen=True)
class Knobs:
    name: str
    size: int = 3
    share: float = 0.5
    mode: Literal["a", "b"] = "a"
    where: str | None = None
    workers: int = at_least(1, default=2)


def test_settings_from__good() -> None:
    assert settings_from(Knobs, {"name": "x", "share": 1, "mode": "b"}, where="f") == Knobs("x", 3, 1, "b")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nam": "x"}, "did you mean 'name'"),
        ({"name": "x", "size": 1.5}, "'size' is 1.5"),
        ({"name": "x", "size": True}, "'size' is True"),
        ({"name": "x", "mode": "c"}, "'mode' is 'c'"),
        ({"name": None}, "'name' is None"),
        ({"name": "x", "workers": 0}, "'workers' is 0, at least 1"),
        ({"name": "x", "workers": -3}, "'workers' is -3, at least 1"),
        ({}, "missing setting name"),
    ],
)
def test_n4__bad_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings_from(Knobs, values, where="f.toml")


def test_fingerprint__key_order_does_not_matter_contents_do() -> None:
    assert fingerprint.of({"a": 1, "b": [2]}) == fingerprint.of({"b": [2], "a": 1})
    assert fingerprint.of({"a": 1}) != fingerprint.of({"a": 2})
    assert fingerprint.of(Knobs("x")) != fingerprint.of(Knobs("y"))


def test_fingerprint__chunks_equal_whole() -> None:
    assert fingerprint.of_chunks([b"ab", b"", b"c"]) == fingerprint.of_bytes(b"abc")


def test_fingerprint__nan_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        fingerprint.of([float("nan")])


def test_meter__rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter("encode", "pairs", total=10, began=100.0)
    assert meter.seconds_left is None
    meter.done = 4
    monkeypatch.setattr(time, "monotonic", lambda: 102.0)
    assert (meter.rate, meter.seconds_left) == (2.0, 3.0)
    assert meter.in_words() == "encode 4/10 pairs · 2/s · 3 s left"


def test_terminal__not_a_terminal_writes_few_whole_lines() -> None:
    out = io.StringIO()
    bar = Terminal(out)
    bar.start("encode", total=1000)
    for _ in range(1000):
        bar.advance()
    bar.note("done")
    lines = out.getvalue().splitlines()
    assert lines[0] == "encode 0/1,000 pairs"
    assert lines[-2:] == ["encode 1,000/1,000 pairs", "done"]
    assert len(lines) < 6


def test_terminal__a_stage_whose_end_is_open_tells_what_is_done_and_not_at_every_step() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)
    terminal.start("intake", total=0, unit="rows")
    for _ in range(3):
        terminal.advance()
    assert stream.getvalue() == "intake\n"
    assert Meter("intake", "rows", done=1200).in_words() == "intake 1,200 rows"

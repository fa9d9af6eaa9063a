"""Progress: what a long step tells whoever waits, and how it is told to stop.

A step takes a `Progress` and calls `start`, `advance` and `note`; it never prints. A step is stopped by an exception
raised inside `advance` (`Stopped`, or whatever a user interface raises): every step must unwind cleanly from there.
"""

import sys
import time
from dataclasses import dataclass, field
from typing import Protocol, TextIO


class Stopped(BaseException):
    """Raised inside a step by a signal or a cancel; a BaseException, so that no `except Exception` swallows it."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"stopped ({exit_code})")
        self.exit_code = exit_code


class Progress(Protocol):
    """Where a step reports to."""

    def start(self, stage: str, *, total: int, unit: str = "pairs") -> None:
        """Begins a stage of `total` units."""

    def advance(self, done: int = 1) -> None:
        """Says that `done` more units are finished."""

    def note(self, text: str) -> None:
        """Says something in words; never the data's own text."""


class Silent:
    """Reports to nobody."""

    def start(self, stage: str, *, total: int, unit: str = "pairs") -> None:
        """Does nothing."""

    def advance(self, done: int = 1) -> None:
        """Does nothing."""

    def note(self, text: str) -> None:
        """Does nothing."""


@dataclass
class Meter:
    """The arithmetic of a stage: share done, rate, time left."""

    stage: str = ""
    unit: str = "pairs"
    total: int = 0
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> float:
        """Units a second since the stage began."""
        return self.done / max(time.monotonic() - self.began, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the stage ends at this rate; None before anything is done."""
        return (self.total - self.done) / self.rate if self.done else None

    def in_words(self) -> str:
        """Returns for example `encode 1,200/9,424 pairs · 340/s · 24 s left`, only what is done without a total."""
        if not self.total:
            return f"{self.stage} {self.done:,} {self.unit}" if self.done else self.stage
        left = self.seconds_left
        tail = f" · {self.rate:,.0f}/s · {left:,.0f} s left" if left is not None and self.done < self.total else ""
        return f"{self.stage} {self.done:,}/{self.total:,} {self.unit}{tail}"


class Terminal:
    """Reports to standard error: one line rewritten on a terminal, sparse lines elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._meter = Meter()
        self._shown = 0.0

    def start(self, stage: str, *, total: int, unit: str = "pairs") -> None:
        """Begins a stage."""
        self._end_line()
        self._meter = Meter(stage, unit, total)
        self._show(force=True)

    def advance(self, done: int = 1) -> None:
        """Counts, and shows the line again when it is due."""
        self._meter.done += done
        self._show(force=0 < self._meter.total <= self._meter.done)

    def note(self, text: str) -> None:
        """Writes one line."""
        self._end_line()
        self._stream.write(text + "\n")
        self._stream.flush()

    def _show(self, *, force: bool) -> None:
        live = self._stream.isatty()
        now = time.monotonic()
        if not force and now - self._shown < (0.1 if live else 5.0):
            return
        self._shown = now
        if live:
            self._stream.write("\r\x1b[K" + self._meter.in_words())
        else:
            self._stream.write(self._meter.in_words() + "\n")
        self._stream.flush()

    def _end_line(self) -> None:
        if self._stream.isatty() and self._meter.stage:
            self._stream.write("\n")

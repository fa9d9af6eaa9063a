"""Faults made on purpose: a disk that dies, fills up, breaks or lies at the k-th call, and a record of the calls.

`disk.calls` is the one object through which the disk is changed; these stand in for it.

    for k in every_call(scenario, fresh=..., ):  # a process killed at each call in turn
    with injected(Failing(at=3, code=errno.ENOSPC)): ...
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from chips_core import disk

KILLED = 137
PATIENCE = 60  # seconds after which a child that hangs is ended
MOST_CALLS = 2_000


class Unflushed(disk.SystemCalls):
    """The real calls without the wait for the disk: a killed process loses nothing by that, only a power cut does."""

    def sync(self, descriptor: int) -> None:
        """Does nothing."""


class Recording(Unflushed):
    """The real calls, each written down as (name, file name) before it happens."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []

    def before(self, name: str, path: str) -> None:
        """Notes a call; faults override this."""
        self.log.append((name, path))

    def open(self, path: str, flags: int, mode: int) -> int:
        self.before("open", path)
        return super().open(path, flags, mode)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self.before("write", _path_of(descriptor))
        return super().write(descriptor, data)

    def allocate(self, descriptor: int, size: int) -> None:
        self.before("allocate", _path_of(descriptor))
        super().allocate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        self.before("sync", _path_of(descriptor))
        super().sync(descriptor)

    def rename(self, source: str, target: str) -> None:
        self.before("rename", target)
        super().rename(source, target)

    def remove(self, path: str) -> None:
        self.before("remove", path)
        super().remove(path)

    def make_folder(self, path: str, mode: int) -> None:
        self.before("make_folder", path)
        super().make_folder(path, mode)

    def remove_folder(self, path: str) -> None:
        self.before("remove_folder", path)
        super().remove_folder(path)


class Dying(Recording):
    """Ends the process at the k-th call, as SIGKILL would: nothing is cleaned up."""

    def __init__(self, *, at: int) -> None:
        super().__init__()
        self.at = at

    def before(self, name: str, path: str) -> None:
        super().before(name, path)
        if len(self.log) == self.at:
            os._exit(KILLED)


class Failing(Recording):
    """Raises OSError at the k-th call; with `ever_after`, at every later one too, as a disk that stays full."""

    def __init__(self, *, at: int, code: int, ever_after: bool = False) -> None:
        super().__init__()
        self.at = at
        self.code = code
        self.ever_after = ever_after
        self.reached = False

    def before(self, name: str, path: str) -> None:
        super().before(name, path)
        # removing frees space and is not refused by a full disk
        if len(self.log) == self.at or (self.ever_after and self.reached and name not in ("remove", "remove_folder")):
            self.reached = True
            raise OSError(self.code, os.strerror(self.code), path)


class Lying(Recording):
    """Says that it wrote everything, and changes one byte of every write to a file whose name holds `name`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if self.name in _path_of(descriptor) and len(data):
            changed = bytearray(data)
            changed[len(changed) // 2] ^= 1
            data = bytes(changed)
        return super().write(descriptor, data)


@contextmanager
def injected(calls: disk.SystemCalls) -> Iterator[None]:
    """Puts `calls` in place of the real ones for the block."""
    before = disk.calls
    disk.calls = calls
    try:
        yield
    finally:
        disk.calls = before


def killed_at(scenario: Callable[[], object], *, at: int) -> bool:
    """Runs `scenario` in a forked process that dies at call `at`; returns False when it ended before that call."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(PATIENCE)
            disk.calls = Dying(at=at)
            scenario()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED), f"the scenario ended with {code} before call {at}"
    return code == KILLED


def every_kill(scenario: Callable[[], object], *, fresh: Callable[[], object]) -> Iterator[int]:
    """Yields k after `scenario` was killed at call k, for every k until it survives; `fresh` resets the disk before."""
    for k in range(1, MOST_CALLS):
        fresh()
        if not killed_at(scenario, at=k):
            assert k > 1, "the scenario made no call at all"
            return
        yield k
    raise AssertionError("the scenario never survived")


def every_failure(
    scenario: Callable[[], object], *, fresh: Callable[[], object], code: int, ever_after: bool = False
) -> Iterator[tuple[int, BaseException]]:
    """Yields (k, what was raised) after call k failed with `code`, for every k until the scenario survives."""
    for k in range(1, MOST_CALLS):
        fresh()
        calls = Failing(at=k, code=code, ever_after=ever_after)
        raised: BaseException | None = None
        with injected(calls):
            try:
                scenario()
            except Exception as error:  # noqa: BLE001
                raised = error
        if not calls.reached:
            assert raised is None, raised
            assert k > 1, "the scenario made no call at all"
            return
        assert raised is not None, f"call {k}, {calls.log[k - 1]}, failed unnoticed"
        yield k, raised
    raise AssertionError("the scenario never survived")


def flipped(data: bytes, *, bit: int) -> bytes:
    """Returns `data` with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def _path_of(descriptor: int) -> str:
    link = Path(f"/proc/self/fd/{descriptor}")
    return os.readlink(link) if link.exists() else str(descriptor)

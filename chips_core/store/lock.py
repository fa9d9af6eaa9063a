"""One writer per pool folder: a lock that the system frees when its holder dies.

The lock is `flock` on the empty file `lock` (taken over at once after a crash, kept out of forked copies' way by an
explicit unlock); beside it `lock.json` says who holds it, for the message that a second writer gets. Readers never
lock, so a pool on a read-only disk opens.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from chips_core import atomic
from chips_core.errors import NotWritable, PoolBusy, PoolDamaged
from chips_core.store.manifest import now

NAME = "lock"
OWNER = "lock.json"


class WriterLock:
    """The right to write to one pool folder; the same thread may take it again inside itself."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._guard = threading.Lock()
        self._descriptor: int | None = None
        self._thread = 0
        self._command = ""

    @contextmanager
    def held(self, command: str, *, on_first: Callable[[], None]) -> Iterator[None]:
        """Holds the lock for the block; `on_first` runs when it was not held yet, before the block."""
        if self.is_held():
            yield
            return
        with self._guard:
            descriptor = self._taken(command)
            self._descriptor, self._thread, self._command = descriptor, threading.get_ident(), command
        try:
            on_first()
            yield
        finally:
            self._release()

    def is_held(self) -> bool:
        """Whether this thread holds it."""
        return self._descriptor is not None and self._thread == threading.get_ident()

    def _taken(self, command: str) -> int:
        if self._descriptor is not None:
            raise _busy(self._root, f"another thread of this process ('{self._command}')")
        descriptor = atomic.open_lock(self._root / NAME)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            atomic.write_json(self._root / OWNER, {"command": command, "pid": os.getpid(), "since": now()})
        except BlockingIOError as error:
            os.close(descriptor)
            raise _busy(self._root, _owner(self._root)) from error
        except OSError as error:
            os.close(descriptor)
            raise NotWritable(
                f"The file system of pool '{self._root.name}' gives no lock ({error.strerror}).",
                fix="use a local disk.",
            ) from error
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            atomic.remove(self._root / OWNER)
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing alone would leave it to a forked worker's copy
            os.close(descriptor)


def _owner(root: Path) -> str:
    try:
        owner = atomic.read_json(root / OWNER)
        return f"'{owner['command']}' (process {owner['pid']}, since {owner['since']})"
    except (OSError, PoolDamaged, KeyError, TypeError):  # it is just being written, or just released
        return "another process"


def _busy(root: Path, owner: str) -> PoolBusy:
    return PoolBusy(
        f"Pool '{root.name}' is being written to by {owner}.",
        fix="wait until it is done, or stop it.",
    )

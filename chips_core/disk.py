"""The calls that change the disk, in one object that a test can replace, and what a disk says when it refuses.

Only `atomic.py` makes these calls; the fault tests put an object in their place that dies or fails at the k-th one.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chips_core.errors import DiskFault, NoSpace, NotWritable

PIECE = 1 << 24  # bytes written or read at a time
CHECK_DISK = "check this disk (its log, its connection), then run the same command again; finished work is kept."


class SystemCalls:
    """The calls that change the disk, in one place so that a test can make each of them fail."""

    def open(self, path: str, flags: int, mode: int) -> int:
        """Opens or creates a file."""
        return os.open(path, flags, mode)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Writes some of `data`."""
        return os.write(descriptor, data)

    def allocate(self, descriptor: int, size: int) -> None:
        """Reserves the blocks of a file, so that a full disk is an error now and not a SIGBUS later."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:  # macOS has no such call: writing zeros reserves them too
            _fill_with_zeros(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """Flushes a file or a folder to the disk."""
        os.fsync(descriptor)

    def rename(self, source: str, target: str) -> None:
        """Renames, replacing what is there."""
        os.replace(source, target)

    def remove(self, path: str) -> None:
        """Removes a file."""
        os.unlink(path)

    def make_folder(self, path: str, mode: int) -> None:
        """Makes a folder."""
        os.mkdir(path, mode)

    def remove_folder(self, path: str) -> None:
        """Removes an empty folder."""
        os.rmdir(path)


calls = SystemCalls()


@contextmanager
def told(path: Path, *, needs: int = 0) -> Iterator[None]:
    """Turns what a disk can refuse into a sentence with the file's name; other errors pass."""
    try:
        yield
    except OSError as error:
        reason = f"Writing {path.name} failed: {os.strerror(error.errno or 0)}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"{reason} ({_room(path, needs=needs)}). Nothing of it was committed.",
                fix="free space on that disk, then run the same command again; finished work is kept.",
            ) from error
        if error.errno == errno.EIO:
            raise DiskFault(
                f"{reason}. Nothing of it was committed.",
                fix=CHECK_DISK,
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise NotWritable(
                f"{reason}.", fix="choose a folder that you may write to; a pool that is only read needs no more."
            ) from error
        raise


def _room(path: Path, *, needs: int) -> str:
    free = shutil.disk_usage(path.parent).free
    return (f"{needs:,} bytes needed, " if needs else "") + f"{free:,} bytes free on its disk"


def _fill_with_zeros(descriptor: int, size: int) -> None:
    """Extends a file to `size` bytes with written zeros; what is there stays."""
    at = os.lseek(descriptor, 0, os.SEEK_END)
    while at < size:
        at += os.write(descriptor, bytes(min(PIECE, size - at)))

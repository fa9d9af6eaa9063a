"""The only module that writes files: whole and durable, or not at all.

A file is written to a temporary name beside its place, flushed to the disk, read back and compared, renamed over its
place, and the folder is flushed; a crash or a full disk at any of these calls leaves the old file or the new one, never
a part. The system calls that change the disk go through one small object, `disk.calls`, which the fault tests replace.
"""

import hashlib
import json
import os
import secrets
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.lib import format as npy_format

from chips_core import disk
from chips_core.disk import CHECK_DISK, PIECE, told
from chips_core.errors import DiskFault, PoolDamaged

TEMPORARY = ".tmp-"  # temporary files begin so; leftovers of a killed process are swept by `sweep`
FILE_MODE = 0o600
FOLDER_MODE = 0o700
_RESTORE = "take the file from a copy of this folder, or make it again."
_NEW = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
ARRAY_DAMAGE = (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError)  # numpy, at a header that is not whole


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yields a binary file that takes the place of `path` when the block ends well, durably; else nothing changes.

    What was written is read back and compared before it takes its place.
    """
    with _temporary(path, os.O_RDWR) as descriptor:
        handle = _Handle(descriptor, path)
        yield cast(BinaryIO, handle)
        with told(path, needs=handle.tell()):
            disk.calls.sync(descriptor)
        _read_back(descriptor, handle=handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` as the whole of `path`."""
    with replacing(path) as handle:
        handle.write(data)


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON (no NaN), in the given order; any text survives, lone surrogates too."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode("ascii"))


def read_json(path: Path) -> Any:
    """Returns what a strict JSON file holds; a key given twice, NaN and what is not JSON are refused."""
    return parse_json(path.read_bytes(), where=path.name)


def parse_json(data: bytes, *, where: str) -> Any:
    """Returns what strict JSON text holds; `where` names it in the message when it is refused."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PoolDamaged(f"{where} is not a strict JSON file ({error}).", fix=_RESTORE) from error


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Writes a whole .npy file, piece by piece; arrays of Python objects are refused."""
    if array.dtype.hasobject:
        raise TypeError(f"{path.name}: an array of Python objects cannot be stored without pickle")
    with replacing(path) as handle:
        npy_format.write_array(handle, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)


def read_array(path: Path, *, mapped: Literal["r", "r+"] | None = None) -> np.ndarray[Any, Any]:
    """Returns what a .npy file holds, whole or as a map; objects, which would run code, and damage are refused."""
    try:
        return cast("np.ndarray[Any, Any]", np.load(path, mmap_mode=mapped, allow_pickle=False))
    except FileNotFoundError:
        raise
    except ARRAY_DAMAGE as error:
        raise PoolDamaged(f"{path.name} is not a readable array.", fix=_RESTORE) from error


def create_empty(path: Path) -> bool:
    """Makes an empty private file if there is none, for a database to fill; returns whether it did."""
    with told(path):
        try:
            os.close(disk.calls.open(str(path), os.O_RDWR | _NEW, FILE_MODE))
        except FileExistsError:
            return False
    return True


def open_log(path: Path) -> int:
    """Returns a descriptor that appends to a private log file, to be handed to a child process."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)


def open_lock(path: Path) -> int:
    """Returns a descriptor of a lock file, made if there is none; nothing is ever written to it."""
    with told(path):
        return disk.calls.open(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)


def make_folder(path: Path) -> None:
    """Makes a folder and its parents, private to this user, durably."""
    if path.is_dir():
        return
    if not path.parent.is_dir():
        make_folder(path.parent)
    with told(path):
        try:
            disk.calls.make_folder(str(path), FOLDER_MODE)
        except FileExistsError:
            if path.is_dir():  # another process was quicker
                return
            raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flushes a folder, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with told(path):
            disk.calls.sync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flushes a file that was written through a map."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        with told(path):
            disk.calls.sync(descriptor)
    finally:
        os.close(descriptor)


def new_array(path: Path, *, shape: tuple[int, ...], dtype: Any) -> np.memmap[Any, Any]:
    """Returns a writable .npy map of zeros with its blocks reserved; seen under `path` once its header is whole."""
    plain = tuple(int(n) for n in shape)  # a numpy integer would be written into the header as its repr
    size = int(np.prod(plain, dtype=np.int64)) * np.dtype(dtype).itemsize
    header = {"descr": npy_format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": plain}
    with _temporary(path, os.O_RDWR) as descriptor:
        handle = _Handle(descriptor, path)
        npy_format.write_array_header_1_0(cast(Any, handle), header)
        with told(path, needs=handle.tell() + size):
            disk.calls.allocate(descriptor, handle.tell() + size)
            disk.calls.sync(descriptor)
    return _mapped(path)


def open_array(path: Path) -> np.memmap[Any, Any]:
    """Returns a writable map of a .npy file made by `new_array`, its blocks reserved again (a copy may have holes)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        with told(path, needs=size):
            disk.calls.allocate(descriptor, size)
    finally:
        os.close(descriptor)
    return _mapped(path)


def move(source: Path, target: Path) -> None:
    """Renames a file or a folder to its final name, durably."""
    with told(target):
        disk.calls.rename(str(source), str(target))
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def remove(path: Path) -> None:
    """Removes a file or a whole folder, never what a link points to; what is already gone is fine."""
    with told(path):
        try:
            if path.is_dir() and not path.is_symlink():
                for child in sorted(path.iterdir()):
                    remove(child)
                disk.calls.remove_folder(str(path))
            else:
                disk.calls.remove(str(path))
        except FileNotFoundError:
            return


def sweep(folder: Path) -> int:
    """Removes the temporary files that a killed process left directly in `folder`; returns how many.

    Only for a folder that nobody else is writing to: a temporary file of a living process would be taken away.
    """
    leftovers = [path for path in folder.iterdir() if path.name.startswith(TEMPORARY)]
    for path in leftovers:
        remove(path)
    return len(leftovers)


class _Handle:
    """A binary file whose writes go through `calls`; just enough of the protocol for pyarrow, json, csv and numpy."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        self.name = path.name
        self._position = 0
        self._digest = hashlib.sha256()
        self.closed = False

    def write(self, data: bytes | memoryview) -> int:
        view = memoryview(data).cast("B")
        sent = 0
        with told(self._path, needs=len(view)):
            while sent < len(view):
                sent += disk.calls.write(self._descriptor, view[sent:])
        self._digest.update(view)
        self._position += sent
        return sent

    def digest(self) -> bytes:
        return self._digest.digest()

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing is buffered here."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


def _mapped(path: Path) -> np.memmap[Any, Any]:
    return cast("np.memmap[Any, Any]", read_array(path, mapped="r+"))


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


@contextmanager
def _temporary(path: Path, flags: int) -> Iterator[int]:
    """Yields the descriptor of a new file beside `path`, renamed over it when the block ends well."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")
    with told(path):
        descriptor = disk.calls.open(str(temporary), flags | _NEW, FILE_MODE)
    committed = False
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        with told(path):
            disk.calls.rename(str(temporary), str(path))
        committed = True
    finally:
        if not committed:
            temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _read_back(descriptor: int, *, handle: _Handle) -> None:
    """Raises DiskFault when the file is not, byte for byte, what was given to `write`."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    digest = hashlib.sha256()
    while piece := os.read(descriptor, PIECE):
        digest.update(piece)
    if digest.digest() != handle.digest():
        raise DiskFault(
            f"{handle.name} does not read back as it was written; it was not put in place.",
            fix=CHECK_DISK,
        )

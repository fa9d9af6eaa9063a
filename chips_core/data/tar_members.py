"""The members of a tar shard, read as a stream: never extracted, nothing but regular files, names only as labels."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from chips_core.errors import InputError

DAMAGE = (tarfile.TarError, OSError, ValueError, EOFError, OverflowError, MemoryError, LookupError)


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Args:
        name: as written in the archive.
        offset: of its first byte in the archive.
        size: bytes.
        what: "" for a regular file, else why it is passed over.
    """

    name: str
    offset: int
    size: int
    what: str = ""


class Truncated(Exception):
    """The archive ends, or is damaged, before its end marker."""


def members(path: Path, handle: BinaryIO) -> Iterator[Member]:
    """Yields the entries of an uncompressed tar in order, in constant memory.

    Raises:
        InputError: when the file is no tar, or a compressed one.
        Truncated: where the archive is cut or damaged.
    """
    size = path.stat().st_size
    try:
        archive = tarfile.TarFile(fileobj=handle, errorlevel=0)
    except DAMAGE as error:
        fix = "unpack the compression first: places in a compressed archive cannot be found again."
        raise InputError(f"{path.name} is not an uncompressed tar archive.", fix=fix) from error
    with archive:
        while True:
            try:
                found = archive.next()
            except DAMAGE as error:
                raise Truncated from error
            if found is None:
                break
            vars(archive)["members"] = []  # it remembers every entry, and a shard may have millions
            if found.isreg() and not found.issparse() and found.offset_data + found.size > size:
                raise Truncated
            yield Member(found.name, found.offset_data, found.size, _passed_over(found))
        if not _ends_well(handle, archive.offset):
            raise Truncated


def _passed_over(found: tarfile.TarInfo) -> str:
    if found.issym() or found.islnk():
        return "link"
    if found.isdir():
        return "folder"
    if found.isreg() and not found.issparse():
        return ""
    return "special member"


def _ends_well(handle: BinaryIO, offset: int) -> bool:
    """Says whether the archive stopped at an end marker, or exactly at the end of the file."""
    handle.seek(offset)
    return not handle.read(tarfile.BLOCKSIZE).strip(b"\0")

"""Locators: where an image is, as text relative to the source root, and the one safe way from there to open bytes.

A locator is `images/a.png`, or a place inside a container file: `shard-0001.tar#<offset>:<size>:<member>`,
`pathmnist.npz#train_images/12`, `data.parquet#<row>:<column>`. File names that are not UTF-8 are written as
`percent:images/%FF.png`. Nothing outside the root is ever opened: no link, no `..`, no address.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from chips_core.errors import UnreadableInput
from chips_core.outcomes import Outcome

CONTAINERS = (".tar", ".npz", ".parquet")
PERCENT = "percent:"
REMOTE = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
COMMAND = re.compile(r"(pipe|file|data|javascript|fd|unix|tcp|udp):", re.IGNORECASE)
DRIVE = re.compile(r"[a-z]:[\\/]", re.IGNORECASE)
INSIDE = re.compile(r"(?P<file>.+(?:\.tar|\.npz|\.parquet))#(?P<place>.+)", re.DOTALL)
LONGEST = 4_096


@dataclass(frozen=True)
class Place:
    """A locator taken apart: the file under the root and, in a container, the place inside it ("" for plain files)."""

    file: str
    place: str = ""


def parse(locator: str) -> Place:
    """Returns the parts of a locator after refusing whatever is not a plain path; opens nothing.

    Raises:
        UnreadableInput: with outcome `missing` for addresses, `refused` for paths that could leave the root.
    """
    if not locator:
        raise UnreadableInput("missing: the row names no image", outcome=Outcome.MISSING)
    if REMOTE.match(locator):
        raise UnreadableInput("missing: remote, images are never fetched", outcome=Outcome.MISSING)
    reason = _unsafe(locator)
    if reason:
        raise UnreadableInput(reason, outcome=Outcome.REFUSED)
    found = INSIDE.fullmatch(locator)
    return Place(found["file"], found["place"]) if found else Place(locator)


def _unsafe(locator: str) -> str:
    if "\0" in locator:
        return "the path holds a NUL byte"
    if locator[0] in "/\\":
        return "the path is absolute and not inside the image folder"
    if DRIVE.match(locator) or COMMAND.match(locator):
        return "the path names a drive, a command or an address"
    if len(locator) > LONGEST:
        return "the path is longer than 4,096 characters"
    return ""


def of_path(relative: Path) -> str:
    """Returns the locator of a file by its path relative to the root, reversible for names that are not UTF-8."""
    text = relative.as_posix()
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return PERCENT + quote_from_bytes(os.fsencode(text))
    return text


class Root:
    """A source folder that hands out descriptors of regular files inside it, and of nothing else.

    Args:
        path: the folder; links in it are followed only when they stay inside.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._real = str(self.path)
        self._folders: dict[str, str] = {}

    def open(self, relative: str) -> int:
        """Returns a read-only descriptor of the regular file `relative`; the caller closes it."""
        path = self._real_path(relative)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            raise _unopened(error) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _special()
        return descriptor

    def _real_path(self, relative: str) -> str:
        """Returns the path of a regular file after links, checked to be inside; stats it before anything is opened."""
        if relative.startswith(PERCENT):
            relative = os.fsdecode(unquote_to_bytes(relative[len(PERCENT) :]))
        parent, _, name = relative.rpartition("/")
        try:
            if name in ("", ".", ".."):
                raise _special()
            path = f"{self._folder(parent)}/{name}"
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                path = self._inside(os.path.realpath(path))
                mode = os.lstat(path).st_mode
        except FileNotFoundError as error:
            if "\\" in relative:
                return self._real_path(relative.replace("\\", "/"))
            raise _unopened(error) from error
        except (OSError, ValueError) as error:
            raise _unopened(error) from error
        if not stat.S_ISREG(mode):
            raise _special()
        return path

    def _folder(self, parent: str) -> str:
        """Returns the real path of a folder inside; remembered, because a pool has many files in few folders."""
        known = self._folders.get(parent)
        if known is None:
            known = self._inside(os.path.realpath(os.path.join(self._real, parent)))
            if len(self._folders) > 10_000:
                self._folders.clear()
            self._folders[parent] = known
        return known

    def _inside(self, real: str) -> str:
        if real != self._real and not real.startswith(self._real.rstrip("/") + "/"):
            raise UnreadableInput("the path leaves the source folder", outcome=Outcome.REFUSED)
        return real


def _special() -> UnreadableInput:
    return UnreadableInput("not a regular file (a folder, a pipe or a device)", outcome=Outcome.REFUSED)


def _unopened(error: OSError | ValueError) -> UnreadableInput:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return UnreadableInput("missing: no such file", outcome=Outcome.MISSING)
    words = error.strerror if isinstance(error, OSError) and error.strerror else "the name is not valid here"
    return UnreadableInput(f"cannot be opened: {words.lower()}", outcome=Outcome.BROKEN)

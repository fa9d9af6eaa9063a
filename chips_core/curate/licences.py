"""What a source says about its own licence: the files that are named so, and nothing that is guessed."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

NAMES = re.compile(r"(licen[cs]e|copying|copyright|terms[-_ ]?of[-_ ]?use|notice)([-_.].*)?", re.IGNORECASE)
MOST_FILES, MOST_BYTES = 20, 1 << 20
LONGEST = 160


@dataclass(frozen=True)
class Licence:
    """A file about the licence: its name, its first line, its SHA-256."""

    name: str
    first_line: str
    sha256: str


def licences_of(folder: Path) -> tuple[Licence, ...]:
    """Returns the licence files at the top of a source's folder; links and large files are not read."""
    if not folder.is_dir():
        return ()
    named = sorted(path for path in folder.iterdir() if NAMES.fullmatch(path.name))
    files = [p for p in named if p.is_file() and not p.is_symlink() and p.stat().st_size <= MOST_BYTES]
    return tuple(_licence(path) for path in files[:MOST_FILES])


def _licence(path: Path) -> Licence:
    data = path.read_bytes()
    lines = (line.strip() for line in data.decode("utf-8", "replace").splitlines())
    return Licence(path.name, next((line for line in lines if line), "")[:LONGEST], hashlib.sha256(data).hexdigest())

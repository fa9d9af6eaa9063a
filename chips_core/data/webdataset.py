"""WebDataset shards as a source: tar files whose members share a key, `0001.jpg`, `0001.txt`, `0001.json`.

Shards are streamed and never extracted. Only images, text and JSON are looked at; pickles and other objects
(`.pkl`, `.pyd`, `.pt`) are counted and never opened.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from chips_core.data import columns as column_names
from chips_core.data.columns import ColumnMap
from chips_core.data.folders import IMAGE_SUFFIXES
from chips_core.data.limits import CAPTION_CHARACTERS
from chips_core.data.rows import Row, refused_row, row_of
from chips_core.data.source_kind import SourceKind
from chips_core.data.tables import Nested, json_cells
from chips_core.data.tar_members import Member, Truncated, members
from chips_core.errors import InputError
from chips_core.outcomes import Outcome

IMAGES = tuple(suffix[1:] for suffix in IMAGE_SUFFIXES)
TEXTS = ("txt", "text", "caption", "cls", "label", "title", "split", "__key__")
LONGEST_TEXT = 4 * CAPTION_CHARACTERS  # bytes read of a text member
LONGEST_JSON = 4_000_000
PEEKED = 20  # samples looked at for their columns


@dataclass
class _Sample:
    """The members of one key."""

    key: str
    images: dict[str, Member] = field(default_factory=dict)
    cells: dict[str, str] = field(default_factory=dict)
    refusal: str = ""


class WebDataset:
    """Pairs in tar shards; see `source_kind.Source`. Columns are member suffixes and `json.<key>`."""

    kind = SourceKind.WEBDATASET

    def __init__(self, path: Path, *, columns: ColumnMap | None = None) -> None:
        self.shards = [path] if path.is_file() else sorted(path.glob("*.tar"))
        if not self.shards:
            raise InputError(f"There is no .tar shard in '{path.name}'.", fix="name the folder with the shards.")
        self.root = (path.parent if path.is_file() else path).resolve()
        self.ignored: dict[str, int] = {}
        self.columns_found = self._peek()
        self.mapping = column_names.overridden(_guess(self.columns_found), by=columns, columns=self.columns_found)

    def preview(self, n: int) -> list[Row]:
        """Returns the first `n` rows."""
        return list(islice(self.rows(), n))

    def rows(self) -> Iterator[Row]:
        """Yields a row for every key that has an image, and one for every place where a shard is damaged."""
        column_names.require(
            self.mapping, columns=self.columns_found, name=self.shards[0].name, needed=("image", "caption")
        )
        self.ignored.clear()
        number = 0
        for shard in self.shards:
            samples = self._samples(shard)
            while True:
                try:
                    sample = next(samples, None)
                except Truncated:
                    number += 1
                    reason = f"{shard.name} is cut off or damaged here, what follows could not be read"
                    yield Row(number, shard.name, f"row-{number:08d}", "", outcome=Outcome.BROKEN, reason=reason)
                    break
                if sample is None:
                    break
                if sample.images:
                    number += 1
                    yield self._row(number, shard, sample)
                else:
                    self._count("sample without an image")

    def _row(self, number: int, shard: Path, sample: _Sample) -> Row:
        where = f"{shard.name}:{number}"
        if sample.refusal:
            return refused_row(number, where, reason=sample.refusal)
        chosen = self.mapping.given()
        values = {name: sample.cells.get(column, "") for name, column in chosen.items() if name != "image"}
        if isinstance(values.get("caption"), Nested):
            return refused_row(number, where, reason="caption: a list or an object, expected text")
        wanted = chosen["image"]
        member = sample.images.get(wanted) or next(iter(sample.images.values()))
        values["image"] = f"{shard.name}#{member.offset}:{member.size}:{_printable(member.name)}"
        values["pair_id"] = values.get("pair_id") or f"{shard.stem}/{_printable(sample.key)}"
        return row_of(number, where, values=values)

    def _samples(self, shard: Path) -> Iterator[_Sample]:
        """Yields the members grouped by key; the last group is yielded even when the shard is cut after it."""
        with ExitStack() as stack:
            handle = stack.enter_context(shard.open("rb"))
            texts = stack.enter_context(shard.open("rb"))
            sample: _Sample | None = None
            try:
                for member in members(shard, handle):
                    key, suffix = _split_name(member.name)
                    if member.what or not key:
                        self._count(member.what or "member without a key")
                        continue
                    if sample is None or sample.key != key:
                        if sample is not None:
                            yield sample
                        sample = _Sample(key)
                    self._take(sample, member, suffix=suffix, texts=texts)
            except Truncated:
                if sample is not None:
                    yield sample
                raise
            if sample is not None:
                yield sample

    def _take(self, sample: _Sample, member: Member, *, suffix: str, texts: BinaryIO) -> None:
        last = suffix.rsplit(".", 1)[-1]
        if last in IMAGES:
            if suffix in sample.images:
                sample.refusal = "two members of the same name"
            if _escapes(member.name):
                sample.refusal = "the member's name leaves the archive"
            sample.images[suffix] = member
        elif last in TEXTS and member.size <= LONGEST_TEXT:
            texts.seek(member.offset)
            sample.cells[suffix] = texts.read(member.size).decode("utf-8", "surrogateescape")
        elif last == "json" and member.size <= LONGEST_JSON:
            texts.seek(member.offset)
            held = json_cells(texts.read(member.size).decode("utf-8", "surrogateescape"))
            if isinstance(held, str):
                sample.refusal = f"its JSON is {held}"
            else:
                sample.cells.update({f"{suffix}.{name}": text for name, text in held.items()})
        elif last in (*TEXTS, "json"):
            sample.refusal = f"a text member of {member.size:,} bytes"
        else:
            self._count(f".{last[:12]} member")

    def _count(self, what: str) -> None:
        self.ignored[what] = self.ignored.get(what, 0) + 1

    def _peek(self) -> list[str]:
        seen: dict[str, None] = {}
        samples, end = 0, 0
        try:
            for sample in islice(self._samples(self.shards[0]), PEEKED):
                seen |= dict.fromkeys([*sample.images, *sample.cells])
                samples += 1
                end = max([end, *(member.offset + member.size for member in sample.images.values())])
        except Truncated:
            pass  # rows() tells where
        self.ignored.clear()
        size = sum(shard.stat().st_size for shard in self.shards)
        self.count_hint: int | None = round(size * samples / end) if end else None
        return list(seen)


def _guess(columns: list[str]) -> ColumnMap:
    """Returns the map by suffix, then by the keys of the JSON members; an image is any image suffix."""
    short: dict[str, str] = {}
    for column in columns:
        short.setdefault(
            column.rsplit(".", 1)[-1] if ".json." not in f".{column}" else column.split("json.", 1)[1], column
        )
    texts = [name for name in short if name not in IMAGES]
    guessed = column_names.guess(texts)
    found = {name: short[column] for name, column in guessed.given().items() if name != "image"}
    image = next((column for column in columns if column.rsplit(".", 1)[-1] in IMAGES and "json" not in column), None)
    return ColumnMap(**found, image=image)


def _split_name(name: str) -> tuple[str, str]:
    """Returns the key and the suffix: `a/0001.seg.PNG` is (`a/0001`, `seg.png`)."""
    folder, base = os.path.split(name)
    stem, _, suffix = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem) if stem else "", suffix.lower()


def _escapes(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or "\0" in name


def _printable(name: str) -> str:
    """Returns a member's name as a label: text, without line breaks; the offset alone finds the bytes."""
    shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return shown.removeprefix("./")

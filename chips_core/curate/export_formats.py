"""The files of an export: tables, shards and images, the same bytes for the same pairs.

Images are made anew from their pixels, as PNG, so that nothing of a file's metadata comes along. They are numbered, not
named: `a/1.png` and `A/1.png` cannot meet, and no file name tells of a patient.
"""

import csv
import io
import json
import math
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pandas as pd
import pyarrow as pa
from PIL import Image

from chips_core import atomic
from chips_core.curate.export_huggingface import kinds_of, write_hub_layout
from chips_core.curate.export_plan import ExportPlan
from chips_core.data import ImageOpener
from chips_core.errors import InputError, UnreadableInput
from chips_core.progress import Progress
from chips_core.store.tables import write_parquet

Format = Literal["csv", "jsonl", "parquet", "webdataset", "openclip", "huggingface", "exclude"]
LINES_AT_ONCE = 4096
PNG_LEVEL = 3  # twice as fast as the default on medical images, and no larger
SHARDS = "shards"  # a folder of their own, so that whoever reads them meets nothing else
FORMULA = tuple("=+-@\t\r＝＋－＠")  # what a spreadsheet takes for the beginning of a formula
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
TELLING = frozenset(("exif", "icc_profile", "xmp", "comment", "photoshop"))
PLAIN_PNG = frozenset(("dpi", "gamma"))
READ_AS_MISSING = frozenset(  # by pandas, with which open_clip reads its table
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"),
        *("NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)


@dataclass
class Written:
    """What became of the pairs of a plan."""

    pairs: int = 0
    unreadable: int = 0
    refused_captions: int = 0
    with_metadata: int = 0


def write_format(
    plan: ExportPlan,
    folder: Path,
    *,
    form: Format,
    opener: ImageOpener,
    copy_images: bool,
    originals: bool,
    shard_size: int,
    progress: Progress,
) -> Written:
    """Writes the pairs of a plan into an empty folder and returns what became of them."""
    written = Written()
    if form == "exclude":
        _write_text(folder / "exclude.txt", _id_lines(plan.left_behind))
        written.pairs = len(plan.table)
        return written
    progress.start("export", total=len(plan.table))
    pictures = _Pictures(opener, originals=originals, written=written)
    lines = _lines_of(plan.table, written=written, form=form, progress=progress)
    if form == "webdataset":
        _write_shards(folder, lines, pictures=pictures, size=shard_size, written=written)
        return written
    if form == "huggingface":
        with_bytes = _with_bytes(lines, pictures=pictures, written=written)
        write_hub_layout(folder, with_bytes, kinds=kinds_of(plan.table), size=shard_size)
        return written
    kept = _with_images(folder, lines, pictures=pictures, written=written) if copy_images else _counted(lines, written)
    if form == "csv":
        _write_text(folder / "pairs.csv", _csv(kept, columns=list(plan.table.columns)))
    elif form == "openclip":
        _write_text(folder / "train.csv", _openclip(kept))
    elif form == "jsonl":
        _write_text(folder / "pairs.jsonl", (json.dumps(line, allow_nan=False) + "\n" for line in kept))
    else:
        schema = pa.schema([pa.field(name, kind) for name, kind in kinds_of(plan.table).items()])
        write_parquet(folder / "pairs.parquet", schema=schema, batches=_batches(kept, schema=schema))
    return written


def safe_cell(value: Any) -> Any:
    """Returns a cell for a spreadsheet: text that it would take for a formula gets a `'` before it; numbers stay."""
    if isinstance(value, str) and value.startswith(FORMULA) and not _NUMBER.fullmatch(value):
        return "'" + value
    return "" if value is None else value


class _Pictures:
    """The images as they are exported."""

    def __init__(self, opener: ImageOpener, *, originals: bool, written: Written) -> None:
        self._opener, self._originals, self._written = opener, originals, written

    def encoded(self, locator: str) -> tuple[bytes, str] | None:
        """Returns the bytes of an image and its suffix; None, counted, where it cannot be read."""
        try:
            return self._original(locator) if self._originals else (self._clean(locator), "png")
        except UnreadableInput:
            self._written.unreadable += 1
            return None

    def _clean(self, locator: str) -> bytes:
        image = self._opener.read(locator).image
        bare = Image.frombytes("RGB", image.size, image.tobytes())
        buffer = io.BytesIO()
        bare.save(buffer, "PNG", compress_level=PNG_LEVEL)
        return buffer.getvalue()

    def _original(self, locator: str) -> tuple[bytes, str]:
        self._opener.facts(locator)  # within the limits, and whole
        data = self._opener.read_bytes(locator)
        try:
            with Image.open(io.BytesIO(data)) as image:
                suffix, told = (image.format or "").lower(), {*image.info} - {"jfif", "jfif_version", "jfif_density"}
        except (OSError, ValueError) as error:
            raise InputError(
                "An original is no plain image file (DICOM, or an array), and DICOM holds patient data.",
                fix="leave --originals out: images are then made anew.",
            ) from error
        if told & TELLING or (suffix == "png" and told - PLAIN_PNG):
            self._written.with_metadata += 1
        return data, {"jpeg": "jpg"}.get(suffix, suffix)


def _lines_of(table: pd.DataFrame, *, written: Written, form: Format, progress: Progress) -> Iterator[dict[str, Any]]:
    """Yields one pair after the other as plain values, null for a score that is not there."""
    names = list(table.columns)
    for start in range(0, len(table), LINES_AT_ONCE):
        part = table.iloc[start : start + LINES_AT_ONCE]
        columns = [part[name].tolist() for name in names]
        for values in zip(*columns, strict=True):
            progress.advance()
            line = {
                n: None if isinstance(v, float) and math.isnan(v) else v for n, v in zip(names, values, strict=True)
            }
            _refuse_half_characters(line)
            if form == "openclip" and str(line["caption"]) in READ_AS_MISSING:
                written.refused_captions += 1
                continue
            yield line


def _refuse_half_characters(line: Mapping[str, Any]) -> None:
    """Refuses text that no file can hold: half of a character that needs two (a lone surrogate)."""
    for name, value in line.items():
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                raise InputError(
                    f"Pair '{ascii(line['pair_id'])[1:-1][:60]}' has half a character in its {name}.",
                    fix="correct it in the source and bring it in again, or judge the pair wrong, which keeps it out.",
                ) from error


def _counted(lines: Iterator[dict[str, Any]], written: Written) -> Iterator[dict[str, Any]]:
    for line in lines:
        written.pairs += 1
        yield line


def _with_images(
    folder: Path, lines: Iterator[dict[str, Any]], *, pictures: _Pictures, written: Written
) -> Iterator[dict[str, Any]]:
    """Copies the image of each pair and yields the pairs with the place of their copy."""
    for line in lines:
        found = pictures.encoded(str(line["image"]))
        if found is None:
            continue
        data, suffix = found
        name = f"images/{written.pairs // 1000:05d}/{written.pairs:08d}.{suffix}"
        atomic.make_folder((folder / name).parent)
        atomic.write_bytes(folder / name, data)
        written.pairs += 1
        yield {**line, "image": name}


def _with_bytes(
    lines: Iterator[dict[str, Any]], *, pictures: _Pictures, written: Written
) -> Iterator[tuple[dict[str, Any], bytes, str]]:
    """Yields the pairs whose image can be read, with its bytes and the name that it would have as a file."""
    for line in lines:
        found = pictures.encoded(str(line["image"]))
        if found is not None:
            yield line, found[0], f"{written.pairs:08d}.{found[1]}"
            written.pairs += 1


def _write_shards(
    folder: Path, lines: Iterator[dict[str, Any]], *, pictures: _Pictures, size: int, written: Written
) -> None:
    """Writes tar shards: for each pair its image, its caption as .txt, the rest as .json; sizes.json is open_clip's."""
    atomic.make_folder(folder / SHARDS)
    sizes: dict[str, int] = {}
    for number in count():
        first = next(lines, None)
        if first is None and number:
            break
        some = chain([first] if first is not None else [], lines)
        name = f"{number:06d}.tar"
        with atomic.replacing(folder / SHARDS / name) as handle:
            sizes[name] = _fill_shard(handle, some, pictures=pictures, size=size, written=written)
            handle.write(bytes(2 * tarfile.BLOCKSIZE))  # how a tar file ends
    atomic.write_json(folder / SHARDS / "sizes.json", sizes)


def _fill_shard(
    handle: BinaryIO, lines: Iterator[dict[str, Any]], *, pictures: _Pictures, size: int, written: Written
) -> int:
    """Adds up to `size` pairs and returns how many."""
    held = 0
    for line in lines:
        found = pictures.encoded(str(line.pop("image")))
        if found is None:
            continue
        key, caption = f"{written.pairs:08d}", str(line.pop("caption"))
        for suffix, data in (
            (found[1], found[0]),
            ("txt", caption.encode()),
            ("json", json.dumps(line, allow_nan=False).encode()),
        ):
            member = tarfile.TarInfo(f"{key}.{suffix}")  # time, owner and group stay zero: the same bytes every time
            member.size, member.mode = len(data), 0o644
            handle.write(member.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE))
        written.pairs += 1
        held += 1
        if held == size:
            break
    return held


def _csv(lines: Iterator[dict[str, Any]], *, columns: Sequence[str]) -> Iterator[str]:
    yield _csv_line(columns)
    for line in lines:
        yield _csv_line([safe_cell(line[name]) for name in columns])


def _openclip(lines: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yields tab-separated `filepath` and `title`, open_clip's defaults; texts as they are, for a model reads them."""
    yield _csv_line(("filepath", "title"), delimiter="\t")
    for line in lines:
        yield _csv_line((line["image"], line["caption"]), delimiter="\t")


def _csv_line(cells: Sequence[Any], *, delimiter: str = ",") -> str:
    memory = io.StringIO()
    csv.writer(memory, delimiter=delimiter, lineterminator="\n").writerow(cells)
    return memory.getvalue()


def _id_lines(ids: Sequence[str]) -> Iterator[str]:
    for pair_id in ids:
        if "\n" in pair_id or "\r" in pair_id:
            raise InputError("A pair id holds a line break and cannot be in a list.", fix="export as jsonl instead.")
        yield pair_id + "\n"


def _write_text(path: Path, lines: Iterator[str]) -> None:
    with atomic.replacing(path) as handle:
        for line in lines:
            handle.write(line.encode("utf-8"))


def _batches(lines: Iterator[dict[str, Any]], *, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while some := list(islice(lines, LINES_AT_ONCE)):
        yield pa.RecordBatch.from_pylist(some, schema=schema)

"""Random access to images inside container files: a member of a tar, a row of a Parquet file, an item of an array.

Each reader keeps its place, so that reading in order costs one pass; going back starts the row group or member again.
"""

import os
import re
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from chips_core.data.arrays import ArrayHeader, read_header
from chips_core.data.images import DAMAGE
from chips_core.errors import UnreadableInput
from chips_core.outcomes import Outcome

BYTES_AT_ONCE = 16_000_000  # about so much of an image column is held at a time
THRIFT_BYTES = 100_000_000  # no Parquet footer of ours or of a data hub comes near


def tar_member(descriptor: int, place: str, *, most: int) -> bytes:
    """Returns the bytes of the member at `<offset>:<size>:<name>`."""
    found = re.fullmatch(r"(\d{1,18}):(\d{1,18}):.*", place, re.DOTALL)
    if not found:
        raise UnreadableInput("the place in the archive is not offset:size:name", outcome=Outcome.REFUSED)
    offset, size = int(found[1]), int(found[2])
    if size > most:
        raise UnreadableInput(too_big(size, most), outcome=Outcome.BROKEN)
    data = os.pread(descriptor, size, offset)
    if len(data) != size:
        raise UnreadableInput("the archive ends inside this member", outcome=Outcome.BROKEN)
    return data


def too_big(size: int, most: int) -> str:
    """Returns why a file of `size` bytes is not read."""
    return f"too large: the file has {size / 1e6:,.0f} megabytes, the setting max_file_megabytes is {most / 1e6:g}"


def open_parquet(source: Any) -> pq.ParquetFile:
    """Returns a Parquet file opened with limits on its footer, page checksums verified where there are any."""
    return pq.ParquetFile(
        source,
        page_checksum_verification=True,
        pre_buffer=False,
        buffer_size=1 << 20,
        thrift_string_size_limit=THRIFT_BYTES,
        thrift_container_size_limit=1_000_000,
    )


class ParquetImages:
    """The image column of one Parquet file; a cell is bytes, or a struct of bytes and path as data hubs store it."""

    def __init__(self, handle: BinaryIO, *, column: str) -> None:
        self._file = open_parquet(handle)
        self.column = column
        schema = self._file.schema_arrow
        if column not in schema.names:
            raise UnreadableInput("the Parquet file has no such column", outcome=Outcome.BROKEN)
        self._nested = pa.types.is_struct(schema.field(column).type)
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: Any = None  # a RecordBatch once rows were asked for
        self._first = self._end = 0  # rows of the current batch
        self._group_end = 0

    def cell(self, row: int) -> tuple[bytes | None, str]:
        """Returns the bytes of a cell, None when it has none, and the path beside them."""
        if not 0 <= row < self._starts[-1]:
            raise UnreadableInput("the Parquet file has no such row", outcome=Outcome.BROKEN)
        if not self._first <= row < self._group_end:
            self._begin(int(np.searchsorted(self._starts, row, side="right")) - 1)
        while row >= self._end:
            self._batch = next(self._batches)
            self._first, self._end = self._end, self._end + self._batch.num_rows
        value = self._batch.column(0)[row - self._first].as_py()
        if not self._nested:
            return value, ""
        held = value or {}
        return held.get("bytes"), held.get("path") or ""

    def _begin(self, group: int) -> None:
        """Goes to the start of a row group."""
        self._first = self._end = int(self._starts[group])
        self._group_end = int(self._starts[group + 1])
        about = self._file.metadata.row_group(group)
        rows = max(8, min(1_024, BYTES_AT_ONCE * about.num_rows // max(1, about.total_byte_size)))
        columns = [f"{self.column}.bytes", f"{self.column}.path"] if self._nested else [self.column]
        self._batches = self._file.iter_batches(batch_size=rows, row_groups=[group], columns=columns)


class ArrayImages:
    """The items of one array in an .npz file, read forward through the compressed member."""

    def __init__(self, handle: BinaryIO, *, name: str, most: int) -> None:
        self._zip = zipfile.ZipFile(handle)
        self.name = name
        self._member: Any = None
        self._next = 0
        self.header: ArrayHeader = read_header(self._zip, name)
        if self.header.item_bytes > most:
            raise UnreadableInput(too_big(self.header.item_bytes, most), outcome=Outcome.BROKEN)

    def item(self, index: int) -> npt.NDArray[Any]:
        """Returns item `index`, shape (H, W), (H, W, 3), (D, H, W) or (D, H, W, 3)."""
        header = self.header
        if not 0 <= index < header.shape[0]:
            raise UnreadableInput("the array has no such item", outcome=Outcome.BROKEN)
        if self._member is None or index < self._next:
            self._member = self._zip.open(self.name + ".npy")
            self._skip(header.offset)
            self._next = 0
        self._skip((index - self._next) * header.item_bytes)
        data = self._member.read(header.item_bytes)
        self._next = index + 1
        if len(data) != header.item_bytes:
            raise UnreadableInput("the array ends before this item", outcome=Outcome.BROKEN)
        return np.frombuffer(data, dtype=header.dtype).reshape(header.shape[1:])

    def _skip(self, size: int) -> None:
        while size > 0:
            read = len(self._member.read(min(size, 1 << 20)))
            if not read:
                return
            size -= read


CONTAINER_DAMAGE = (*DAMAGE, pa.ArrowException, zipfile.BadZipFile, StopIteration)

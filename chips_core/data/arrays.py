"""Headers of .npy members in .npz files, read and checked before a single element is allocated."""

import io
import zipfile
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from chips_core.atomic import ARRAY_DAMAGE
from chips_core.errors import InputError

LONGEST_HEADER = 10_000
KINDS = "biuf"  # booleans, integers, floats: numbers and nothing else


@dataclass(frozen=True)
class ArrayHeader:
    """What an .npy header claims, found to be true of its member's size."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int  # bytes before the first element

    @property
    def item_bytes(self) -> int:
        """Bytes of one item along the first axis."""
        return prod(self.shape[1:]) * self.dtype.itemsize


def read_header(archive: zipfile.ZipFile, name: str) -> ArrayHeader:
    """Returns the checked header of the array `name`.

    Raises:
        InputError: for object arrays, other than C order, and claims that the member's size does not bear out.
    """
    info = archive.getinfo(name + ".npy")
    with archive.open(info) as member:
        stream = io.BytesIO(member.read(LONGEST_HEADER + 16))
    try:
        version = npy_format.read_magic(stream)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read(stream, max_header_size=LONGEST_HEADER)
    except ARRAY_DAMAGE as error:
        raise InputError(f"Array '{name}' has a damaged header.", fix="fetch it again.") from error
    if dtype.kind not in KINDS:
        raise InputError(f"Array '{name}' holds objects, not numbers.", fix="save it again as plain numbers.")
    if fortran and len(shape) > 1:
        raise InputError(f"Array '{name}' is stored in column order.", fix="save it again in C order.")
    if prod(shape) * dtype.itemsize != info.file_size - stream.tell():
        raise InputError(f"Array '{name}' claims shape {shape}, but its data has another size.", fix="fetch it again.")
    return ArrayHeader(shape, dtype, stream.tell())


def read_small(archive: zipfile.ZipFile, name: str, *, most: int) -> npt.NDArray[Any]:
    """Returns a whole array of at most `most` bytes, such as labels."""
    header = read_header(archive, name)
    size = prod(header.shape) * header.dtype.itemsize
    if size > most:
        raise InputError(f"Array '{name}' has {size / 1e6:,.0f} megabytes, at most {most / 1e6:,.0f} are read.")
    with archive.open(name + ".npy") as member:
        member.read(header.offset)
        return np.frombuffer(member.read(size), dtype=header.dtype).reshape(header.shape)

"""ImageOpener: from a locator to an RGB image, inside the root, within the limits, whatever it is stored in."""

import hashlib
import os
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from chips_core.data import depth, dicom
from chips_core.data.containers import CONTAINER_DAMAGE, ArrayImages, ParquetImages, tar_member, too_big
from chips_core.data.flags import Flag
from chips_core.data.images import Decoded, decode, shape_flags
from chips_core.data.limits import DEFAULT_LIMITS, ImageLimits
from chips_core.data.locators import Place, Root, parse
from chips_core.errors import InputError, UnreadableInput
from chips_core.outcomes import Outcome

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ImageRead:
    """An image that was read whole.

    Args:
        image: in mode RGB, upright, first frame.
        sha256: of the encoded bytes; another value later means that the file was replaced.
        flags: what was odd, words of `flags.Flag`.
        width: pixels.
        height: pixels.
    """

    image: Image.Image
    sha256: str
    flags: tuple[str, ...]
    width: int
    height: int


@dataclass(frozen=True)
class ImageFacts:
    """What intake keeps of an image."""

    sha256: str
    flags: tuple[str, ...]
    width: int
    height: int


class ImageOpener:
    """Reads images by locator; may be sent to worker processes and shared between threads.

    Args:
        root: the source root; nothing outside it is opened.
        limits: what an image may cost.
    """

    def __init__(self, root: Path, *, limits: ImageLimits = DEFAULT_LIMITS) -> None:
        self.root = Path(root)
        self.limits = limits
        self._root = Root(self.root)
        self._lock = threading.Lock()
        self._held: tuple[Place, Any, Any] | None = None  # the container read last: where, its file, its reader

    def __reduce__(self) -> tuple[Any, ...]:
        return _opener, (self.root, self.limits)

    def read(self, locator: str) -> ImageRead:
        """Returns the image at a locator.

        Raises:
            UnreadableInput: with `.outcome` one of missing, broken, refused; its words never quote the locator.
        """
        decoded, sha256 = self._decoded(locator, full=True)
        return ImageRead(cast(Image.Image, decoded.image), sha256, decoded.flags, decoded.width, decoded.height)

    def facts(self, locator: str, *, check: Literal["full", "header"] = "full") -> ImageFacts:
        """Returns the hash, the flags and the size; with `header` the pixels are not decoded."""
        decoded, sha256 = self._decoded(locator, full=check == "full")
        return ImageFacts(sha256, decoded.flags, decoded.width, decoded.height)

    def read_bytes(self, locator: str) -> bytes:
        """Returns the encoded bytes at a locator; for items of arrays, the bytes of their pixels."""
        found = self._found(locator)
        return found if isinstance(found, bytes) else found.tobytes()

    def close(self) -> None:
        """Closes the container that is kept open."""
        with self._lock:
            self._release()

    def _decoded(self, locator: str, *, full: bool) -> tuple[Decoded, str]:
        found = self._found(locator)
        if not isinstance(found, bytes):
            pixels = np.ascontiguousarray(found)
            return _from_array(found), hashlib.sha256(pixels.view(np.uint8).reshape(-1).data).hexdigest()
        sha256 = hashlib.sha256(found).hexdigest()
        by_name = locator.lower().endswith(dicom.SUFFIXES)
        read = dicom.decode_dicom if dicom.is_dicom(found) or (by_name and found) else decode
        return read(found, limits=self.limits, full=full), sha256

    def _found(self, locator: str) -> "bytes | Array":
        place = parse(locator)
        if not place.place:
            return self._file_bytes(place.file)
        with self._lock:
            try:
                return self._inside(place)
            except UnreadableInput:
                raise
            except InputError as error:
                raise UnreadableInput(error.what, outcome=Outcome.BROKEN) from error
            except CONTAINER_DAMAGE as error:
                self._release()
                raise UnreadableInput(f"the container is damaged ({type(error).__name__})") from error

    def _file_bytes(self, relative: str) -> bytes:
        descriptor = self._root.open(relative)
        with os.fdopen(descriptor, "rb") as handle:
            size = os.fstat(descriptor).st_size
            if size > self._most:
                raise UnreadableInput(too_big(size, self._most), outcome=Outcome.BROKEN)
            return handle.read(self._most)

    @property
    def _most(self) -> int:
        return int(self.limits.max_file_megabytes * 1e6)

    def _inside(self, place: Place) -> "bytes | Array":
        if place.file.endswith(".tar"):
            return tar_member(self._reader(Place(place.file)), place.place, most=self._most)
        head, _, tail = place.place.partition("/" if place.file.endswith(".npz") else ":")
        if place.file.endswith(".npz"):
            items: ArrayImages = self._reader(Place(place.file, head))
            return items.item(_number(tail))
        images: ParquetImages = self._reader(Place(place.file, tail))
        data, path = images.cell(_number(head))
        if data is None:
            return self._file_bytes(parse(path).file)
        if len(data) > self._most:
            raise UnreadableInput(too_big(len(data), self._most), outcome=Outcome.BROKEN)
        return data

    def _reader(self, place: Place) -> Any:
        """Returns the reader of a container, kept open while the same one is asked for."""
        if self._held is not None and self._held[0] == place:
            return self._held[2]
        self._release()
        with ExitStack() as stack:
            handle = stack.enter_context(os.fdopen(self._root.open(place.file), "rb"))
            if place.file.endswith(".tar"):
                reader: Any = handle.fileno()
            elif place.file.endswith(".npz"):
                reader = ArrayImages(handle, name=place.place, most=self._most)
            else:
                reader = ParquetImages(handle, column=place.place)
            stack.pop_all()  # all went well: the file stays open with its reader
        self._held = (place, handle, reader)
        return reader

    def _release(self) -> None:
        if self._held is not None:
            self._held[1].close()
            self._held = None


def _opener(root: Path, limits: ImageLimits) -> ImageOpener:
    return ImageOpener(root, limits=limits)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UnreadableInput("the place in the container is not a number", outcome=Outcome.REFUSED)
    return int(text)


def _from_array(pixels: Array) -> Decoded:
    """Returns an item of an array as RGB; of a volume (D, H, W) the middle slice."""
    flags: list[Flag] = []
    if pixels.ndim == 4 or (pixels.ndim == 3 and pixels.shape[-1] != 3):
        pixels = pixels[pixels.shape[0] // 2]
        flags.append(Flag.SEVERAL_FRAMES)
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        raise UnreadableInput(f"an array item of shape {pixels.shape} is no image", outcome=Outcome.BROKEN)
    scale = depth.floats_to_bytes if pixels.dtype.kind == "f" else depth.integers_to_bytes
    values, noted = scale(pixels)
    image = Image.fromarray(values).convert("RGB")
    found = tuple(str(flag) for flag in [*flags, *noted, *shape_flags(image)])
    return Decoded(image, image.width, image.height, found)

"""Encoded images to RGB: an allow-list of formats, limits before decoding, every mode, every oddity written down."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from chips_core.data import depth
from chips_core.data.flags import Flag
from chips_core.data.limits import DEFAULT_LIMITS, ImageLimits
from chips_core.errors import UnreadableInput
from chips_core.outcomes import Outcome

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
ACTIVE = {b"%!PS": "EPS", b"\xc5\xd0\xd3\xc6": "EPS", b"%PDF": "PDF", b"<svg": "SVG", b"#!": "a script"}
EXTREME = 10  # times longer than wide

# Our own limit is checked from the header of every image; Pillow's only warns at 89 megapixels.
Image.MAX_IMAGE_PIXELS = None

# What Pillow's readers raise on damaged bytes: measured by fuzzing, not only the OSError that is documented.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    BufferError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> what makes it upright


@dataclass(frozen=True)
class Decoded:
    """An image as RGB and what was noticed on the way; `image` is None when only the header was read."""

    image: Image.Image | None
    width: int
    height: int
    flags: tuple[str, ...]


def decode(data: bytes, *, limits: ImageLimits = DEFAULT_LIMITS, full: bool = True) -> Decoded:
    """Returns the first frame of an encoded image as RGB, upright.

    Args:
        data: the bytes of the file.
        limits: what it may cost.
        full: False reads the header only.

    Raises:
        UnreadableInput: with outcome `broken`, or `refused` for formats that can run code.
    """
    if not data:
        raise UnreadableInput("an empty file", outcome=Outcome.BROKEN)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _check_size(opened, limits)
            if not full:
                return Decoded(None, opened.width, opened.height, ())
            _check_end(data, form=opened.format or "")
            return _decoded(opened, data, limits)
    except UnidentifiedImageError as error:
        raise _not_an_image(data) from error
    except DAMAGE as error:
        raise UnreadableInput(f"cannot be decoded: {_words(error)}", outcome=Outcome.BROKEN) from error


def _check_size(opened: Image.Image, limits: ImageLimits) -> None:
    refusal = limits.refusal(opened.width, opened.height)
    if refusal:
        raise UnreadableInput(refusal, outcome=Outcome.BROKEN)


def _check_end(data: bytes, *, form: str) -> None:
    """Refuses files cut in their last bytes, which decoders forgive; entropy-coded data cannot hold these markers."""
    whole = True
    if form == "JPEG":
        whole = data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    elif form == "PNG":
        whole = b"IEND\xaeB`\x82" in data
    if not whole:
        raise UnreadableInput("cut off before its end marker", outcome=Outcome.BROKEN)


def _decoded(opened: Image.Image, data: bytes, limits: ImageLimits) -> Decoded:
    flags: list[str] = [Flag.SEVERAL_FRAMES] if _has_more_frames(opened) else []
    if opened.format == "PNG" and len(data) > 25 and data[24] == 16 and data[25] in (2, 4, 6):
        flags.append(Flag.DEPTH_CUT)
    turn = TURNS.get(_orientation(opened))
    opened.load()
    image, noted = to_rgb(opened, background=limits.background)
    flags += noted
    if turn is not None:
        flags.append(Flag.TURNED)
        image = image if opened.format == "TIFF" else image.transpose(turn)  # Pillow turns TIFF while loading
    flags += shape_flags(image)
    return Decoded(image, image.width, image.height, tuple(dict.fromkeys(str(flag) for flag in flags)))


def _has_more_frames(opened: Image.Image) -> bool:
    if opened.format in ("PNG", "WEBP"):
        return int(getattr(opened, "n_frames", 1)) > 1
    if opened.format not in ("GIF", "TIFF"):
        return False
    try:
        opened.seek(1)
    except EOFError:
        return False
    except DAMAGE:
        return True  # a second frame that is damaged does not matter: only the first is used
    finally:
        opened.seek(0)
    return True


def _orientation(opened: Image.Image) -> int:
    """Returns the EXIF orientation, 1 when there is none or the tag cannot be read (a damaged tag hides no pixel)."""
    try:
        return int(opened.getexif().get(0x0112, 1))
    except DAMAGE:
        return 1


def to_rgb(image: Image.Image, *, background: tuple[int, int, int]) -> tuple[Image.Image, tuple[Flag, ...]]:
    """Returns the image in mode RGB and the conversions that were needed; an unknown mode is refused."""
    mode = image.mode
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or (mode in ("1", "L", "P", "RGB") and "transparency" in image.info):
        return _laid_on(image, background)
    if mode == "RGB":
        return image, ()
    if mode in ("1", "L", "P"):
        return image.convert("RGB"), ()
    if mode in ("CMYK", "YCbCr", "HSV"):
        return image.convert("RGB"), (Flag.COLOUR_CONVERTED,)
    if mode.startswith("I"):
        return _grey(image, depth.integers_to_bytes)
    if mode == "F":
        return _grey(image, depth.floats_to_bytes)
    raise UnreadableInput(f"pixels of mode {mode} are not supported", outcome=Outcome.BROKEN)


def _laid_on(image: Image.Image, background: tuple[int, int, int]) -> tuple[Image.Image, tuple[Flag, ...]]:
    through = image.convert("RGBA")
    if through.getchannel("A").getextrema() == (255, 255):
        return through.convert("RGB"), ()
    canvas = Image.new("RGBA", through.size, (*background, 255))
    canvas.alpha_composite(through)
    return canvas.convert("RGB"), (Flag.ALPHA,)


def _grey(
    image: Image.Image, scale: Callable[[Any], tuple[Any, tuple[Flag, ...]]]
) -> tuple[Image.Image, tuple[Flag, ...]]:
    values, flags = scale(np.asarray(image))
    return Image.fromarray(values).convert("RGB"), flags


def shape_flags(image: Image.Image) -> list[Flag]:
    """Returns the flags that an RGB image earns by its size and its colours."""
    short, long = sorted(image.size)
    flags = []
    if short < 16:
        flags.append(Flag.TINY)
    if long > EXTREME * short:
        flags.append(Flag.EXTREME_SHAPE)
    extremes = [band.getextrema() for band in image.split()]
    if all(low == high for low, high in extremes):
        flags.append(Flag.ONE_COLOUR)
    return flags


def _not_an_image(data: bytes) -> UnreadableInput:
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, name in ACTIVE.items():
        if head.startswith(magic) or (name == "SVG" and magic in head.lower()):
            return UnreadableInput(f"{name} is refused: it can run code", outcome=Outcome.REFUSED)
    return UnreadableInput(f"not an image in one of the formats {', '.join(FORMATS)}, DICOM", outcome=Outcome.BROKEN)


def _words(error: BaseException) -> str:
    """Returns a decoder's message in one short line; only those that never quote the file."""
    told = " ".join(str(error).split())[:120] if isinstance(error, OSError) else ""
    return told or type(error).__name__

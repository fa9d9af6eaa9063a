"""Thumbnails: small JPEGs made anew from pixels, so that nothing of the original file's metadata is left in them."""

import io

from PIL import Image

from chips_core.data.opener import ImageOpener


def thumbnail(opener: ImageOpener, locator: str, *, size: int) -> bytes:
    """Returns a JPEG of the image, at most `size` pixels on its longer side, without any metadata.

    Raises:
        UnreadableInput: when the image cannot be read.
    """
    read = opener.read(locator)
    small = read.image.copy()
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    clean = Image.frombytes("RGB", small.size, small.tobytes())
    out = io.BytesIO()
    clean.save(out, "JPEG", quality=85)
    return out.getvalue()

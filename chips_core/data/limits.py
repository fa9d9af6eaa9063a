"""Settings of intake: what an image may cost, and what transparency is laid on."""

from dataclasses import dataclass

CAPTION_CHARACTERS = 100_000  # longer captions are refused: one 10 MB cell must not cost what 100 images cost
FIELD_CHARACTERS = 4_096  # the same for every other column


@dataclass(frozen=True)
class ImageLimits:
    """What an image may cost before it is decoded.

    Args:
        max_megapixels: width times height in millions, read from the header before any decoding.
        max_file_megabytes: size of the encoded image; more is never read into memory.
        background: the colour (R, G, B) that transparent pixels are laid on.
    """

    max_megapixels: float = 100.0
    max_file_megabytes: float = 512.0
    background: tuple[int, int, int] = (255, 255, 255)

    def refusal(self, width: int, height: int) -> str:
        """Returns why an image of this size is not decoded, or "" when it may be."""
        if width * height <= self.max_megapixels * 1e6:
            return ""
        return (
            f"too large: {width} x {height} is {width * height / 1e6:,.0f} megapixels,"
            f" the setting max_megapixels is {self.max_megapixels:g}"
        )


DEFAULT_LIMITS = ImageLimits()

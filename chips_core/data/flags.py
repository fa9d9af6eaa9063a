"""What can be odd about a pair that is kept all the same: the words stored in the `flags` column."""

from enum import StrEnum


class Flag(StrEnum):
    """One remark about a pair; a pair carries any number of them."""

    SEVERAL_FRAMES = "several frames"  # only the first frame (of a volume: the middle slice) is used
    ONE_COLOUR = "one colour"
    TINY = "tiny image"  # shorter side under 16 pixels
    EXTREME_SHAPE = "extreme shape"  # one side over 10 times the other
    TURNED = "turned by orientation tag"
    ALPHA = "transparency laid on background"
    DEPTH_SCALED = "16-bit values scaled to 8"
    DEPTH_CUT = "16-bit colour cut to 8"  # Pillow reads only the high byte of 48-bit colour
    FLOAT_SCALED = "float values scaled to 8"
    NOT_FINITE = "pixels that are not numbers"
    COLOUR_CONVERTED = "colour space converted"
    WINDOWED = "window of the file applied"  # DICOM: the file's own VOI LUT or window
    BURNED_IN = "text may be burned in"
    PATIENT_DATA = "may hold patient data"
    UNINFORMATIVE = "uninformative caption"

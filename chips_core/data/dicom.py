"""DICOM: only allow-listed tags are read; pixels become 8-bit by rescale, the file's window, and MONOCHROME1.

The window is the file's own VOI LUT, else its WindowCenter/WindowWidth (PS3.3 C.11.2.1.2), else percentiles. What
names the patient is never kept: PatientID becomes a pseudonym, the other identifying tags are not read at all.
"""

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from chips_core.data import depth
from chips_core.data.flags import Flag
from chips_core.data.images import DAMAGE, Decoded, shape_flags
from chips_core.data.limits import DEFAULT_LIMITS, ImageLimits
from chips_core.errors import UnreadableInput
from chips_core.outcomes import Outcome

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = (".dcm", ".dicom")
ABOUT = ["PatientID", "Modality", "BodyPartExamined", "StudyDescription", "SeriesDescription", "ViewPosition"]
PIXELS = [
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelData"),
    *("FloatPixelData", "DoubleFloatPixelData", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("LUTDescriptor", "LUTData", "ModalityLUTType"),  # the members of the two sequences above
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
    *("BurnedInAnnotation", "Modality", "SOPClassUID", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
]
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DEFLATED = b"1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class DicomFacts:
    """What a DICOM header says about its pair."""

    caption: str
    modality: str
    body_part: str
    group: str


def is_dicom(data: bytes) -> bool:
    """Says whether the bytes carry the DICOM prefix."""
    return data[128:132] == b"DICM"


def facts(handle: BinaryIO) -> DicomFacts:
    """Returns what the allow-listed tags of a header say; pixels are not read."""
    header = _dataset(handle.read(2**20), tags=ABOUT, stop=True)
    try:
        text = {name: " ".join(str(header.get(name) or "").split()) for name in ABOUT}
    except _damage() as error:
        raise _broken(error) from error
    patient = text["PatientID"]
    return DicomFacts(
        caption=_caption(text),
        modality=text["Modality"],
        body_part=text["BodyPartExamined"],
        group=pseudonym(patient) if patient else "",
    )


def pseudonym(patient_id: str) -> str:
    """Returns a stable name for a patient that is not the patient's id.

    It keeps ids out of the pool and its exports; it is not anonymity: who knows an id can find its pseudonym.
    """
    return "patient-" + hashlib.sha256(b"chips-lens patient\0" + patient_id.encode(errors="replace")).hexdigest()[:16]


def _caption(text: dict[str, str]) -> str:
    """Returns `MR image of the head. Brain with contrast. T1 axial.` from what is there, "" when nothing is."""
    if not any(text[name] for name in ABOUT[1:]):
        return ""
    first = f"{text['Modality']} image".strip()
    if text["BodyPartExamined"]:
        first += f" of the {text['BodyPartExamined'].lower()}"
    if text["ViewPosition"]:
        first += f", view {text['ViewPosition']}"
    parts = dict.fromkeys((first, text["StudyDescription"], text["SeriesDescription"]))
    return " ".join(part.rstrip(".") + "." for part in parts if part)


def decode_dicom(data: bytes, *, limits: ImageLimits = DEFAULT_LIMITS, full: bool = True) -> Decoded:
    """Returns the first frame as RGB; the sizes are checked before any pixel is decoded."""
    from pydicom.pixels import pixel_array

    dataset = _dataset(data, tags=PIXELS, stop=False)
    try:
        height, width = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
        _check(dataset, width, height, limits)
        if not full:
            return Decoded(None, width, height, ())
        flags = [Flag.SEVERAL_FRAMES] if int(dataset.get("NumberOfFrames") or 1) > 1 else []
        flags += [Flag.BURNED_IN] if _may_be_burned_in(dataset) else []
        pixels, noted = _eight_bits(pixel_array(dataset, index=0), dataset)
        image = Image.fromarray(pixels).convert("RGB")
    except _damage() as error:
        raise _broken(error) from error
    flags += [*noted, *shape_flags(image)]
    return Decoded(image, image.width, image.height, tuple(str(flag) for flag in flags))


def _dataset(data: bytes, *, tags: list[str], stop: bool) -> "Dataset":
    import pydicom

    # Its warnings quote the values of tags, and those may name a patient.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    if DEFLATED in data[:2048]:
        raise UnreadableInput("deflated DICOM is refused: its size cannot be known", outcome=Outcome.REFUSED)
    try:
        return pydicom.dcmread(
            io.BytesIO(data), specific_tags=list(tags), stop_before_pixels=stop, force=not is_dicom(data)
        )
    except _damage() as error:
        raise _broken(error) from error


def _check(dataset: "Dataset", width: int, height: int, limits: ImageLimits) -> None:
    """Refuses what has no pixels, is too large, or is compressed in a way that cannot be read here."""
    from pydicom.encaps import get_frame
    from pydicom.pixels import get_decoder

    if not width or not height or "PixelData" not in dataset:
        raise UnreadableInput("a DICOM file without an image", outcome=Outcome.BROKEN)
    syntax = dataset.file_meta.TransferSyntaxUID
    refusal = limits.refusal(width, height)
    if syntax.is_encapsulated and not refusal:
        decoder = get_decoder(syntax)
        if not decoder.is_available:
            raise UnreadableInput(f"pixels compressed as {syntax.name}, no decoder for it", outcome=Outcome.BROKEN)
        frame = get_frame(dataset.PixelData, 0, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
        refusal = _true_size_refusal(frame, limits)
    if refusal:
        raise UnreadableInput(refusal, outcome=Outcome.BROKEN)


def _true_size_refusal(frame: bytes, limits: ImageLimits) -> str:
    """The compressed frame has a size of its own, which decides what decoding costs."""
    try:
        with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as opened:
            return limits.refusal(opened.width, opened.height)
    except UnidentifiedImageError:
        return ""  # run-length coding, whose size is that of the header


def _may_be_burned_in(dataset: "Dataset") -> bool:
    said = str(dataset.get("BurnedInAnnotation") or "").upper()
    if said:
        return said == "YES"
    captured = str(dataset.get("SOPClassUID") or "").startswith(SECONDARY_CAPTURE)
    return captured or str(dataset.get("Modality") or "").upper() in ("US", "IVUS", "XC", "OT", "SC", "ES", "DOC")


def _eight_bits(pixels: Any, dataset: "Dataset") -> tuple[Any, tuple[Flag, ...]]:
    """Returns (H, W) or (H, W, 3) uint8."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi

    kind = str(dataset.get("PhotometricInterpretation") or "")
    if kind == "PALETTE COLOR":
        return depth.integers_to_bytes(apply_color_lut(pixels, dataset))
    if pixels.ndim == 3:
        return depth.integers_to_bytes(pixels)
    padded = pixels == int(dataset.get("PixelPaddingValue")) if "PixelPaddingValue" in dataset else None
    values = apply_modality_lut(pixels, dataset)
    if dataset.get("VOILUTSequence"):
        top = 2.0 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1
        grey: Any = depth.to_bytes(apply_voi(values.astype(np.int64), dataset), low=0.0, high=top)
        flags: tuple[Flag, ...] = (Flag.WINDOWED,)
    elif dataset.get("WindowWidth") and dataset.get("WindowCenter") is not None:
        grey, flags = _windowed(values, dataset), (Flag.WINDOWED,)
    elif padded is None and values.min() >= 0 and values.max() <= 255 and int(dataset.get("BitsStored") or 16) <= 8:
        grey, flags = values.astype(np.uint8), ()
    else:
        used = values[~padded] if padded is not None and not padded.all() else None
        grey, flags = depth.stretched(values, used=used), (Flag.DEPTH_SCALED,)
    return (255 - grey if kind == "MONOCHROME1" else grey), flags


def _windowed(values: Any, dataset: "Dataset") -> Any:
    center, width = _first(dataset.WindowCenter), max(_first(dataset.WindowWidth), 1e-6)
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if function == "SIGMOID":
        curve = 255.0 / (1.0 + np.exp(np.clip(-4.0 * (values.astype(np.float64) - center) / width, -60, 60)))
        return np.rint(curve).astype(np.uint8)
    if function == "LINEAR_EXACT":
        return depth.to_bytes(values, low=center - width / 2, high=center + width / 2)
    return depth.to_bytes(values, low=center - 0.5 - (width - 1) / 2, high=center - 0.5 + (width - 1) / 2)


def _first(value: Any) -> float:
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)


def _damage() -> tuple[type[BaseException], ...]:
    """Returns what pydicom raises on damaged bytes; its own errors are no ValueErrors."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (InvalidDicomError, BytesLengthException, *DAMAGE)


def _broken(error: BaseException) -> UnreadableInput:
    """Names the kind of damage only: pydicom's own words quote the file."""
    return UnreadableInput(f"damaged DICOM ({type(error).__name__})", outcome=Outcome.BROKEN)

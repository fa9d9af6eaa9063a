"""Rows: one input row as text, exactly as written, before anything is known about its image."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chips_core.data.limits import CAPTION_CHARACTERS, FIELD_CHARACTERS
from chips_core.outcomes import Outcome

FIELDS = (
    "pair_id",
    "image",
    "caption",
    "label",
    "class_prompt",
    "split",
    "modality",
    "body_part",
    "group",
    "source",
    "caption_source",
)
SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "evaluation", "eval"), "test"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One input row.

    Args:
        number: counted from 1 in the order of the source.
        where: for a person, such as `pairs.csv:12`; never the data's own text.
        outcome: what is already known to become of it; None when the image decides.
        reason: why, when `outcome` is given.
    """

    number: int
    where: str
    pair_id: str
    image: str
    caption: str = ""
    label: str = ""
    class_prompt: str = ""
    split: str = ""
    modality: str = ""
    body_part: str = ""
    group: str = ""
    source: str = ""
    caption_source: str = ""
    outcome: Outcome | None = None
    reason: str = ""


def row_of(number: int, where: str, *, values: Mapping[str, str]) -> Row:
    """Returns a row from cells by field name; text that cannot be kept exactly refuses the row, and says where.

    A missing pair id becomes `row-00000012`: never a file name, which may name a patient.
    """
    split = values.get("split", "")
    cells = dict(values)
    if split:
        cells["split"] = SPLITS.get(split.strip().lower(), split)
    cells["pair_id"] = cells.get("pair_id") or f"row-{number:08d}"
    cells.setdefault("image", "")
    for name, text in cells.items():
        reason = _unkeepable(name, text)
        if reason:
            return _refused(number, where, cells=cells, reason=f"{where}: {reason}")
    return _row(number, where, cells=cells)


def refused_row(number: int, where: str, *, reason: str) -> Row:
    """Returns a row that could not be taken apart at all."""
    return Row(number, where, f"row-{number:08d}", "", outcome=Outcome.REFUSED, reason=f"{where}: {reason}")


def _refused(number: int, where: str, *, cells: Mapping[str, str], reason: str) -> Row:
    kept = {name: "" if _unkeepable(name, text) else text for name, text in cells.items()}
    kept["pair_id"] = kept["pair_id"] or f"row-{number:08d}"
    return replace(_row(number, where, cells=kept), outcome=Outcome.REFUSED, reason=reason)


def _row(number: int, where: str, *, cells: Mapping[str, str]) -> Row:
    text: dict[str, Any] = dict(cells)
    return Row(number, where, **text)


def _unkeepable(name: str, text: str) -> str:
    """Returns why a cell cannot be stored exactly, "" when it can."""
    if text.isascii() and len(text) <= FIELD_CHARACTERS and "\0" not in text:
        return ""  # nearly every cell
    if "\0" in text and name != "image":
        return f"{name}: byte 0x00"
    most = CAPTION_CHARACTERS if name == "caption" else FIELD_CHARACTERS
    if len(text) > most:
        return f"{name}: {len(text):,} characters, at most {most:,} are taken"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        byte = f"byte 0x{code - 0xDC00:02x} is not UTF-8" if 0xDC80 <= code <= 0xDCFF else "half a surrogate pair"
        return f"{name}: {byte}"
    return ""

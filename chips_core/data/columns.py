"""Which column of a source is which field of a pair: guessed from a list of synonyms, shown, and overridable."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from chips_core.data.rows import FIELDS
from chips_core.errors import InputError, UsageError

SYNONYMS = {
    "pair_id": ("pair_id", "id", "uid", "uuid", "key", "sample_id", "__key__", "row_id", "example_id"),
    "image": (
        *("image", "image_path", "img_path", "filepath", "file_path", "image_file", "image_filename", "filename"),
        *("file_name", "image_index", "image_name", "img", "path", "file", "dicom_path", "image_url", "url"),
        *("jpg", "jpeg", "png", "pixel_values", "images"),
    ),
    "caption": (
        *("caption", "text", "captions", "caption_text", "title", "report", "findings", "impression", "description"),
        *("sentence", "txt", "figure_caption", "alt_text", "conclusion", "report_text", "prompt_text"),
    ),
    "label": (
        *("label", "class", "labels", "category", "finding_labels", "diagnosis", "dx", "class_name", "target", "cls"),
        *("label_name", "classification", "y"),
    ),
    "class_prompt": ("class_prompt", "prompt"),
    "split": ("split", "partition", "subset", "set", "dataset_split", "phase"),
    "modality": ("modality", "image_modality", "imaging_modality", "image_type"),
    "body_part": ("body_part", "bodypart", "body_part_examined", "anatomy", "anatomical_region", "region", "organ"),
    "group": (
        *("group", "patient_id", "patientid", "patient", "subject_id", "subject", "case_id", "person_id"),
        *("lesion_id", "study_id", "mrn"),
    ),
    "source": ("source", "dataset", "dataset_name", "origin", "collection"),
    "caption_source": ("caption_source", "text_source"),
}


@dataclass(frozen=True)
class ColumnMap:
    """The source's column for each field; None when it has none. As an override, None means "as guessed", "" none."""

    pair_id: str | None = None
    image: str | None = None
    caption: str | None = None
    label: str | None = None
    class_prompt: str | None = None
    split: str | None = None
    modality: str | None = None
    body_part: str | None = None
    group: str | None = None
    source: str | None = None
    caption_source: str | None = None

    def given(self) -> dict[str, str]:
        """Returns the fields that have a column."""
        return {name: column for name in FIELDS if (column := getattr(self, name))}

    def in_words(self) -> str:
        """Returns for example `image = "path", caption = "text"`."""
        return ", ".join(f'{name} = "{column}"' for name, column in self.given().items()) or "nothing"


def guess(columns: Sequence[str]) -> ColumnMap:
    """Returns the map by synonyms: the first synonym that is there wins, and a column is used once."""
    by_name: dict[str, str] = {}
    for column in columns:
        by_name.setdefault(_plain(column), column)
    found: dict[str, str] = {}
    for field, synonyms in SYNONYMS.items():
        there = [by_name[s] for s in synonyms if s in by_name and by_name[s] not in found.values()]
        if there:
            found[field] = there[0]
    return ColumnMap(**found)


def overridden(guessed: ColumnMap, *, by: ColumnMap | None, columns: Sequence[str]) -> ColumnMap:
    """Returns the guess with the user's choices in place; a column that is not there is refused by name."""
    if by is None:
        return guessed
    changes: dict[str, str | None] = {}
    for field in fields(by):
        wanted: str | None = getattr(by, field.name)
        if wanted is None:
            continue
        if wanted and wanted not in columns:
            near = difflib.get_close_matches(wanted, columns, n=1)
            hint = f", did you mean '{near[0]}'?" if near else "."
            raise UsageError(f"There is no column '{wanted}'{hint}", fix=f"the columns are {listed(columns)}.")
        changes[field.name] = wanted or None
    taken = {column for column in changes.values() if column}
    kept = {name: None for name, column in guessed.given().items() if column in taken and name not in changes}
    return replace(guessed, **kept, **changes)


def require(mapping: ColumnMap, *, columns: Sequence[str], name: str, needed: Sequence[str]) -> None:
    """Raises InputError when a needed field has no column, naming the columns found and those expected."""
    lacking = [field for field in needed if not getattr(mapping, field)]
    if lacking:
        expected = "; ".join(f"{field} ({', '.join(SYNONYMS[field][:4])}, …)" for field in lacking)
        raise InputError(
            f"{name} has no column for {' and '.join(lacking)}. Found: {listed(columns)}. Expected: {expected}.",
            fix="name the columns yourself (--image-col, --caption-col).",
        )


def listed(columns: Sequence[str]) -> str:
    """Returns the names for a message, at most forty of them."""
    shown = ", ".join(f"'{column[:60]}'" for column in columns[:40])
    return (shown or "none") + (f" and {len(columns) - 40} more" if len(columns) > 40 else "")


def _plain(column: str) -> str:
    """Returns `image_index` for ` Image Index`, `image_path` for `imagePath`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column.strip())
    return re.sub(r"[\s.\-/]+", "_", spaced).lower()

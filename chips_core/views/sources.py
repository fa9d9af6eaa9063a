"""A data set before it is a pool: what it is, its first rows and images, which column is what, and the intake step."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pandas as pd

from chips_core.data import ColumnMap, ImageLimits, ImageOpener, Row, SourceKind, open_source, recognise, thumbnail
from chips_core.errors import ChipsError
from chips_core.views.planning import Facts, PlannedStep, facts_of_rows
from chips_core.views.pools import MANIFEST, allowed_path, roots

SHOWN, LOOKED_AT, PICTURES = 20, 5_000, 20
LISTED = 30
MAPPED = ("image", "caption", "pair_id", "label", "group", "split")
OPTIONS = {"pair_id": "id_col"} | {name: f"{name}_col" for name in MAPPED if name != "pair_id"}
TITLES = {
    "image": "Image",
    "caption": "Caption",
    "pair_id": "Pair id",
    "label": "Label",
    "group": "Patient (group)",
    "split": "Split",
}
KINDS = {
    SourceKind.DATASET_FOLDER: "A dataset folder: pairs.csv and its images.",
    SourceKind.TABLE: "A table whose rows name images.",
    SourceKind.IMAGE_FOLDER: "A folder of images, one sub-folder a class; captions are made from the class.",
    SourceKind.WEBDATASET: "WebDataset shards.",
    SourceKind.MEDMNIST: "A MedMNIST archive; captions are made from the class.",
    SourceKind.COCO: "COCO captions.",
    SourceKind.DICOM: "A folder of DICOM files.",
}
CAN_MAP = (SourceKind.DATASET_FOLDER, SourceKind.TABLE, SourceKind.WEBDATASET)


@dataclass(frozen=True)
class SourcePreview:
    """What a source looks like.

    Attributes:
        path: of the source.
        kind: what it is.
        sentence: the same in words.
        columns: that it has, for the choice of each field.
        mapping: the column of each field of MAPPED, "" where there is none.
        mappable: whether the columns can be chosen.
        expected: about how many rows there are; None when that is not known.
        table: the first rows with their thumbnails, as data addresses.
        facts: what can be planned on.
    """

    path: Path
    kind: SourceKind
    sentence: str
    columns: tuple[str, ...]
    mapping: Mapping[str, str]
    mappable: bool
    expected: int | None
    table: pd.DataFrame
    facts: Facts


def found_sources() -> list[str]:
    """Returns what lies directly inside the roots and could be a data set, as a person would type it."""
    named = []
    for root in roots():
        if not root.is_dir():
            continue
        for child in sorted(islice(root.iterdir(), 500)):
            if child.name.startswith(".") or (child / MANIFEST).exists() or not child.resolve().is_relative_to(root):
                continue
            try:
                recognise(child)
            except (ChipsError, OSError):
                continue
            named.append(str(child))
    return named[:LISTED]


def preview(given: str, *, columns: Mapping[str, str] | None = None, images: str = "") -> SourcePreview:
    """Returns the preview of the source that a person named.

    Args:
        given: its path as typed; only what lies under the roots is looked at.
        columns: the person's choice for fields of MAPPED, "" for none.
        images: the folder that the image paths are relative to, as typed; the source's own when empty.
    """
    path = allowed_path(given)
    chosen = ColumnMap(**dict(columns)) if columns else None
    source = open_source(path, columns=chosen, image_root=allowed_path(images) if images.strip() else None)
    rows = list(islice(source.rows(), LOOKED_AT))
    given_map = source.mapping.given()
    return SourcePreview(
        path=path,
        kind=source.kind,
        sentence=KINDS[source.kind],
        columns=tuple(source.columns_found),
        mapping={name: given_map.get(name, "") for name in MAPPED},
        mappable=source.kind in CAN_MAP,
        expected=source.count_hint if len(rows) == LOOKED_AT else len(rows),
        table=_table(rows[:SHOWN], root=source.root),
        facts=facts_of_rows(rows, whole=len(rows) < LOOKED_AT),
    )


def intake_step(shown: SourcePreview, *, pool: Path, columns: Mapping[str, str] | None, images: str) -> PlannedStep:
    """Returns the step that brings the source in as it was previewed."""
    settings: dict[str, str] = {"source": str(shown.path), "pool": str(pool), "kind": str(shown.kind)}
    if images.strip():
        settings["image_root"] = str(allowed_path(images))
    settings |= {OPTIONS[name]: column for name, column in (columns or {}).items()}
    return PlannedStep("intake", settings)


def _table(rows: list[Row], *, root: Path) -> pd.DataFrame:
    opener = ImageOpener(root, limits=ImageLimits())
    lines = [
        {
            "picture": _picture(opener, row) if number < PICTURES else None,
            "pair id": row.pair_id,
            "caption": row.caption,
            "label": row.label,
            "patient": row.group,
            "split": row.split,
            "remark": row.reason if row.outcome else "",
        }
        for number, row in enumerate(rows)
    ]
    opener.close()
    table = pd.DataFrame(lines, columns=["picture", "pair id", "caption", "label", "patient", "split", "remark"])
    return table[
        [name for name in table.columns if name in ("picture", "pair id", "caption") or (table[name] != "").any()]
    ]


def _picture(opener: ImageOpener, row: Row) -> str | None:
    """Returns the thumbnail as a data address; None where there is no image, which the intake will say in words."""
    if row.outcome is not None:
        return None
    try:
        data = thumbnail(opener, row.image, size=96)
    except ChipsError:
        return None
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()

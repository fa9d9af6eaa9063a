"""Folders as sources: images sorted into one sub-folder per class, and folders of DICOM files.

Pair ids are made from a hash of the path, because file names may name patients and ids travel further than locators.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

from chips_core.data import dicom
from chips_core.data.columns import ColumnMap
from chips_core.data.locators import Root, of_path
from chips_core.data.rows import SPLITS, Row, row_of
from chips_core.data.source_kind import LOOKED_AT, SourceKind
from chips_core.errors import InputError, UnreadableInput

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".gif", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", *dicom.SUFFIXES),
)
REFUSED_SUFFIXES = (
    ".svg",
    ".eps",
    ".heic",
    ".heif",
    ".avif",
    ".jp2",
    ".psd",
)  # given as rows, so that they are counted
TEMPLATE = "a medical image of {class}"


class ImageFolder:
    """Images in one sub-folder per class, with a caption from a template; see `source_kind.Source`.

    Args:
        path: the folder; a first level named train, val, test is taken as the split.
        template: the caption, in which `{class}` is replaced literally.
    """

    kind = SourceKind.IMAGE_FOLDER

    def __init__(self, path: Path, *, template: str = TEMPLATE) -> None:
        self.root = path.resolve()
        self.template = template
        self.columns_found = ["file", "folder"]
        self.mapping = ColumnMap(image="file", label="folder", caption="folder")
        self.ignored: dict[str, int] = {}

    @cached_property
    def count_hint(self) -> int | None:
        """The number of files with an image's name."""
        return sum(1 for _ in _walk(self.root, wanted=(*IMAGE_SUFFIXES, *REFUSED_SUFFIXES), ignored={}))

    def preview(self, n: int) -> list[Row]:
        """Returns the first `n` rows."""
        return list(islice(self.rows(), n))

    def rows(self) -> Iterator[Row]:
        """Yields a row for every image, folders and files in the order of their names."""
        found = _walk(self.root, wanted=(*IMAGE_SUFFIXES, *REFUSED_SUFFIXES), ignored=_fresh(self.ignored))
        for number, relative in enumerate(found, start=1):
            folders = list(relative.parent.parts)
            split = SPLITS.get(folders[0].lower(), "") if folders else ""
            label = "/".join(_readable(part) for part in (folders[1:] if split else folders))
            words = label.rsplit("/", 1)[-1].replace("_", " ")
            caption = self.template.replace("{class}", words) if words else ""
            values = {
                "pair_id": _hashed_id(relative),
                "image": of_path(relative),
                "caption": caption,
                "label": label,
                "class_prompt": caption,
                "split": split,
                "caption_source": "template" if caption else "",
            }
            yield row_of(number, f"file {number}", values=values)


class DicomFolder:
    """A folder of DICOM files, with captions from their descriptions; see `source_kind.Source`."""

    kind = SourceKind.DICOM

    def __init__(self, path: Path) -> None:
        self.root = (path.parent if path.is_file() else path).resolve()
        self.columns_found = list(dicom.ABOUT)
        self.mapping = ColumnMap(
            image="file",
            caption="StudyDescription",
            modality="Modality",
            body_part="BodyPartExamined",
            group="PatientID",
        )
        self.ignored: dict[str, int] = {}

    @cached_property
    def count_hint(self) -> int | None:
        """The number of files that may be DICOM by their name."""
        return sum(1 for _ in _walk(self.root, wanted=(*dicom.SUFFIXES, ""), ignored={}))

    def preview(self, n: int) -> list[Row]:
        """Returns the first `n` rows."""
        return list(islice(self.rows(), n))

    def rows(self) -> Iterator[Row]:
        """Yields a row for every DICOM file; one whose header cannot be read gets empty fields, the opener says why."""
        inside = Root(self.root)
        number = 0
        ignored = _fresh(self.ignored)
        for relative in _walk(self.root, wanted=(*dicom.SUFFIXES, ""), ignored=ignored):
            locator = of_path(relative)
            facts = dicom.DicomFacts("", "", "", "")
            try:
                with os.fdopen(inside.open(locator), "rb") as handle:
                    known = relative.suffix.lower() in dicom.SUFFIXES or dicom.is_dicom(handle.read(132))
                    handle.seek(0)
                    facts = dicom.facts(handle) if known else facts
            except UnreadableInput:
                known = relative.suffix.lower() in dicom.SUFFIXES
            if not known:
                ignored["no DICOM file"] = ignored.get("no DICOM file", 0) + 1
                continue
            number += 1
            values = {
                "pair_id": _hashed_id(relative),
                "image": locator,
                "caption": facts.caption,
                "modality": facts.modality,
                "body_part": facts.body_part,
                "group": facts.group,
                "caption_source": "dicom tags" if facts.caption else "",
            }
            yield row_of(number, f"file {number}", values=values)


def recognise_images(path: Path) -> SourceKind:
    """Returns DICOM or an image folder by the first files under a folder."""
    counts: Counter[str] = Counter()
    looked: dict[str, int] = {}
    inside = Root(path)
    for relative in islice(_walk(path, wanted=(*IMAGE_SUFFIXES, ""), ignored=looked), LOOKED_AT):
        suffix = relative.suffix.lower()
        counts["dicom" if suffix in dicom.SUFFIXES or (not suffix and _has_prefix(inside, relative)) else suffix] += 1
    images = sum(count for suffix, count in counts.items() if suffix in IMAGE_SUFFIXES)
    if counts["dicom"] > images:
        return SourceKind.DICOM
    if images:
        return SourceKind.IMAGE_FOLDER
    raise InputError(
        f"'{path.name}' holds no pairs.csv, no table, no shards and no images.", fix="name the folder with the data."
    )


def _has_prefix(inside: Root, relative: Path) -> bool:
    try:
        with os.fdopen(inside.open(of_path(relative)), "rb") as handle:
            return dicom.is_dicom(handle.read(132))
    except UnreadableInput:
        return False


def _walk(root: Path, *, wanted: tuple[str, ...], ignored: dict[str, int]) -> Iterator[Path]:
    """Yields paths relative to `root`, whatever they are besides folders; links to folders are not followed.

    What has an image's name but is no regular file is yielded too: the opener refuses it, so that it is counted.
    """
    waiting = [Path()]
    while waiting:
        folder = waiting.pop()
        with os.scandir(root / folder) as entries:
            listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        deeper = []
        for entry in listed:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                _count(ignored, "hidden")
            elif suffix in wanted and (suffix or entry.is_file(follow_symlinks=False)):
                yield folder / entry.name
            elif entry.is_dir(follow_symlinks=False):
                deeper.append(folder / entry.name)
            else:
                _count(ignored, "link to a folder" if entry.is_dir() else f"other file ({suffix[:12] or 'no suffix'})")
        waiting += reversed(deeper)


def _count(ignored: dict[str, int], what: str) -> None:
    ignored[what] = ignored.get(what, 0) + 1


def _fresh(ignored: dict[str, int]) -> dict[str, int]:
    """Empties the counts, so that reading a second time counts anew."""
    ignored.clear()
    return ignored


def _hashed_id(relative: Path) -> str:
    return "img-" + hashlib.sha256(os.fsencode(relative)).hexdigest()[:16]


def _readable(name: str) -> str:
    """Returns a folder's name as text even where it is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")

"""COCO caption files as a source: one row per caption, and one for every image that has none."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from chips_core.data.columns import ColumnMap
from chips_core.data.rows import SPLITS, Row, refused_row, row_of
from chips_core.data.source_kind import SourceKind
from chips_core.errors import InputError

LONGEST = 1_000_000_000  # bytes of one annotation file, which has to be read whole
HEAD = 4_096
LISTS = re.compile(rb'"(annotations|images)"\s*:\s*\[')


class CocoCaptions:
    """Pairs of a COCO caption file; see `source_kind.Source`."""

    kind = SourceKind.COCO

    def __init__(self, path: Path, *, image_root: Path | None = None) -> None:
        file = captions_file(path) if path.is_dir() else path
        if file is None:
            raise InputError(f"There is no COCO file in '{path.name}'.", fix="name the .json file with the captions.")
        self.file = file
        held = _load(file)
        self._images: list[Any] = held["images"]
        self._captions: dict[str, list[Any]] = {}
        for annotation in held["annotations"]:
            if isinstance(annotation, dict):
                self._captions.setdefault(str(annotation.get("image_id")), []).append(annotation)
        base = path if path.is_dir() else path.parent
        self.root = (image_root or _image_root(base, self._images)).resolve()
        self.columns_found = ["file_name", "caption", "id"]
        self.mapping = ColumnMap(pair_id="id", image="file_name", caption="caption")
        self.ignored: dict[str, int] = {}
        known = {str(image.get("id")) for image in self._images if isinstance(image, dict)}
        orphans = sum(len(found) for key, found in self._captions.items() if key not in known)
        if orphans:
            self.ignored["caption of an image that is not listed"] = orphans
        self.count_hint: int | None = sum(
            max(1, len(self._captions.get(str(image.get("id")), [])))
            for image in self._images
            if isinstance(image, dict)
        )

    def preview(self, n: int) -> list[Row]:
        """Returns the first `n` rows."""
        return list(islice(self.rows(), n))

    def rows(self) -> Iterator[Row]:
        """Yields the captions of each image in turn."""
        split = next(
            (s for word in self.file.stem.lower().split("_") if (s := SPLITS.get(word.rstrip("0123456789")))), ""
        )
        number = 0
        for image in self._images:
            if not isinstance(image, dict):
                number += 1
                yield refused_row(number, f"{self.file.name}:image {number}", reason="an image entry that is no object")
                continue
            for annotation in self._captions.get(str(image.get("id")), [{}]):
                number += 1
                where = f"{self.file.name}:caption {number}"
                caption = annotation.get("caption", "")
                if not isinstance(caption, str) or not isinstance(image.get("file_name"), str):
                    yield refused_row(number, where, reason="caption or file_name is not text")
                    continue
                identity = annotation.get("id")
                values = {
                    "pair_id": f"{identity}" if isinstance(identity, int | str) else f"image-{image.get('id')}",
                    "image": image["file_name"],
                    "caption": caption,
                    "split": split,
                    "group": f"{image['patient_id']}" if "patient_id" in image else "",
                }
                yield row_of(number, where, values=values)


def captions_file(folder: Path) -> Path | None:
    """Returns the first COCO file of a folder or its `annotations` sub-folder, None when there is none."""
    for place in (folder, folder / "annotations"):
        if place.is_dir():
            for file in sorted(place.glob("*.json")):
                if is_coco(file):
                    return file
    return None


def is_coco(path: Path) -> bool:
    """Says whether a JSON file looks like COCO: its first or last bytes begin a list of images or annotations."""
    if not path.is_file():
        return False
    size = path.stat().st_size
    with path.open("rb") as handle:
        head = handle.read(HEAD)
        handle.seek(max(0, size - HEAD))
        tail = handle.read(HEAD)
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return False
    return LISTS.search(head + tail) is not None and b'"features"' not in head


def _load(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LONGEST:
        raise InputError(f"{path.name} has over 1,000 megabytes.", fix="convert it to JSON Lines or Parquet.")
    try:
        held = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path.name} is not JSON ({type(error).__name__}).", fix="save it again.") from error
    if not isinstance(held, dict) or not all(isinstance(held.get(key), list) for key in ("images", "annotations")):
        raise InputError(f"{path.name} has no lists 'images' and 'annotations'.", fix="is this a COCO caption file?")
    return held


def _image_root(base: Path, images: list[Any]) -> Path:
    """Returns the usual folder under which the first image lies; the file's own when none has it."""
    name = next((i["file_name"] for i in images if isinstance(i, dict) and isinstance(i.get("file_name"), str)), "")
    if not name or name.startswith("/") or ".." in name or "\0" in name:
        return base
    candidates = [base, base / "images", base.parent, base.parent / "images"]
    candidates += [child for place in (base, base.parent) for child in sorted(place.glob("*20??")) if child.is_dir()]
    return next((folder for folder in candidates if (folder / name).is_file()), base)

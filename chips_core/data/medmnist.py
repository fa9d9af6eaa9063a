"""MedMNIST .npz files as a source: arrays `train_images`, `train_labels`, and so on for val and test."""

import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chips_core.data import arrays
from chips_core.data.columns import ColumnMap
from chips_core.data.containers import CONTAINER_DAMAGE
from chips_core.data.medmnist_names import SETS, MedMnistSet
from chips_core.data.rows import Row, row_of
from chips_core.data.source_kind import SourceKind
from chips_core.errors import InputError

SPLITS = ("train", "val", "test")
LABEL_BYTES = 512_000_000
UNKNOWN = MedMnistSet("a medical image of class", "", "", ())


class MedMnist:
    """Pairs in .npz files, with captions from the class names; see `source_kind.Source`."""

    kind = SourceKind.MEDMNIST

    def __init__(self, path: Path) -> None:
        self.files = [path] if path.is_file() else sorted(path.glob("*.npz"))
        if not self.files:
            raise InputError(f"There is no .npz file in '{path.name}'.", fix="name the folder with the files.")
        self.root = (path.parent if path.is_file() else path).resolve()
        self.columns_found = list(dict.fromkeys(name for file in self.files for name in self._arrays(file)))
        self.mapping = ColumnMap(image="images", label="labels", caption="labels", split="array name")
        self.ignored: dict[str, int] = {}
        self.count_hint: int | None = sum(n for file in self.files for n in self._counts(file).values())

    def preview(self, n: int) -> list[Row]:
        """Returns the first `n` rows."""
        return list(islice(self.rows(), n))

    def rows(self) -> Iterator[Row]:
        """Yields a row for every item of every split."""
        number = 0
        for file in self.files:
            name = file.stem.split("_")[0].lower()  # pathmnist_224 is pathmnist at 224 pixels
            known = SETS.get(name, UNKNOWN)
            for split, count in self._counts(file).items():
                labels = self._labels(file, split, count=count)
                for index in range(count):
                    number += 1
                    label = label_words(labels[index], known)
                    values = {
                        "pair_id": f"{file.stem}-{split}-{index:06d}",
                        "image": f"{file.name}#{split}_images/{index}",
                        "caption": f"{known.words} {label}",
                        "label": label,
                        "class_prompt": f"{known.words} {label}",
                        "split": split,
                        "modality": known.modality,
                        "body_part": known.body_part,
                        "source": name,
                        "caption_source": "template",
                    }
                    yield row_of(number, f"{file.name}:{split} {index}", values=values)

    def _arrays(self, file: Path) -> list[str]:
        with _Archive(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]

    def _counts(self, file: Path) -> dict[str, int]:
        """Returns the number of images of each split, every header checked."""
        with _Archive(file) as archive:
            names = archive.namelist()
            found = [split for split in SPLITS if f"{split}_images.npy" in names]
            if not found:
                listed = ", ".join(f"'{name[:40]}'" for name in names[:10])
                raise InputError(
                    f"{file.name} holds no MedMNIST arrays. Found: {listed}. Expected: 'train_images', 'train_labels'.",
                    fix="save images of shape (N, H, W) or (N, H, W, 3) under these names.",
                )
            return {split: _count(archive, split, file) for split in found}

    def _labels(self, file: Path, split: str, *, count: int) -> npt.NDArray[Any]:
        with _Archive(file) as archive:
            labels = arrays.read_small(archive, f"{split}_labels", most=LABEL_BYTES)
        if labels.shape[0] != count:
            raise InputError(f"{file.name}: {split} has {count:,} images and {labels.shape[0]:,} labels.")
        return labels.reshape(count, -1)


def label_words(label: npt.NDArray[Any], known: MedMnistSet) -> str:
    """Returns the class name of a label row, `class 3` where no name is known, several joined for multi-label."""
    if label.size > 1:
        present = [int(i) for i in np.flatnonzero(label)]
        return ", ".join(_name(i, known) for i in present) or "no finding"
    return _name(int(label[0]), known)


def _name(index: int, known: MedMnistSet) -> str:
    return known.classes[index] if 0 <= index < len(known.classes) else str(index)


def _count(archive: zipfile.ZipFile, split: str, file: Path) -> int:
    header = arrays.read_header(archive, f"{split}_images")
    if len(header.shape) < 3:
        raise InputError(f"{file.name}: '{split}_images' has shape {header.shape}, expected (N, H, W) or (N, H, W, 3).")
    return header.shape[0]


class _Archive:
    """Opens an .npz file and turns what its damage raises into a sentence with its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip: zipfile.ZipFile | None = None

    def __enter__(self) -> zipfile.ZipFile:
        try:
            self._zip = zipfile.ZipFile(self._path)
        except CONTAINER_DAMAGE as error:
            raise self._named(error) from error
        return self._zip

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._zip is not None:
            self._zip.close()
        if isinstance(error, InputError):
            raise type(error)(f"{self._path.name}: {error.what}", fix=error.fix) from error
        if isinstance(error, CONTAINER_DAMAGE):
            raise self._named(error) from error

    def _named(self, error: BaseException) -> InputError:
        return InputError(
            f"{self._path.name} is not a readable .npz file ({type(error).__name__}).", fix="fetch it again."
        )

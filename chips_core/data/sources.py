"""Sources of pairs: what a path is, and the one way to open each kind.

`recognise` looks at names and first bytes only; `open_source` returns a `Source` that yields one `Row` per input row.
Nothing is decoded, extracted or fetched here.
"""

from pathlib import Path

from chips_core.data import coco, folders, medmnist, table_source, webdataset
from chips_core.data.columns import ColumnMap
from chips_core.data.source_kind import LOOKED_AT, TABLES, Source, SourceKind
from chips_core.errors import InputError


def open_source(
    path: Path, *, kind: SourceKind | None = None, columns: ColumnMap | None = None, image_root: Path | None = None
) -> Source:
    """Returns the source at a path.

    Args:
        path: a file or a folder.
        kind: what it is; recognised when not given.
        columns: columns chosen by the user, over the guessed ones.
        image_root: the folder that image paths of a table are relative to; the table's own folder when not given.
    """
    path = Path(path).resolve()
    kind = kind or recognise(path)
    root = Path(image_root).resolve() if image_root is not None else None
    if kind is SourceKind.IMAGE_FOLDER:
        return folders.ImageFolder(path)
    if kind is SourceKind.DICOM:
        return folders.DicomFolder(path)
    if kind is SourceKind.WEBDATASET:
        return webdataset.WebDataset(path, columns=columns)
    if kind is SourceKind.MEDMNIST:
        return medmnist.MedMnist(path)
    if kind is SourceKind.COCO:
        return coco.CocoCaptions(path, image_root=root)
    return table_source.TableSource(path, kind=kind, columns=columns, image_root=root)


def recognise(path: Path) -> SourceKind:
    """Returns what kind of source a path is.

    Raises:
        InputError: when there is nothing there, or nothing that is known.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no '{path.name}' at the given path.", fix="check the path.")
    if path.is_file():
        return _recognise_file(path)
    if not path.is_dir():
        raise InputError("The source is neither a file nor a folder.", fix="name a file or a folder.")
    if (path / "pairs.csv").is_file():
        return SourceKind.DATASET_FOLDER
    names = [child.name for child, _ in zip(path.iterdir(), range(LOOKED_AT), strict=False)]
    suffixes = {Path(name).suffix.lower() for name in names}
    if coco.captions_file(path) is not None:
        return SourceKind.COCO
    if ".tar" in suffixes:
        return SourceKind.WEBDATASET
    if ".npz" in suffixes:
        return SourceKind.MEDMNIST
    if suffixes & set(TABLES) or any((path / "data").glob("*.parquet")):
        return SourceKind.TABLE
    return folders.recognise_images(path)


def _recognise_file(path: Path) -> SourceKind:
    suffix = path.suffix.lower()
    if path.name == "pairs.csv":
        return SourceKind.DATASET_FOLDER
    if suffix in TABLES:
        return SourceKind.TABLE
    if suffix == ".tar":
        return SourceKind.WEBDATASET
    if suffix == ".npz":
        return SourceKind.MEDMNIST
    if suffix == ".json" and coco.is_coco(path):
        return SourceKind.COCO
    if suffix in (".gz", ".zip", ".tgz", ".bz2", ".xz", ".7z"):
        raise InputError(f"{path.name} is compressed.", fix="unpack it first and name the folder.")
    raise InputError(
        f"{path.name} is none of the known kinds of source.",
        fix=f"give a folder, a table ({', '.join(TABLES)}), .tar shards, .npz or COCO .json.",
    )

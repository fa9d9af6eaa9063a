"""Writes hostile files from code: one function per attack, with its reference and what must become of it.

No binary lies in the repository. Every reader of a family is tried on every attack of that family; `expected` is the
outcome of the pair, `refused source` when the whole source has to be refused, or `ignored` when only that part is.
"""

import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

REFUSED_SOURCE = "refused source"


@dataclass(frozen=True)
class Attack:
    """One hostile input.

    Args:
        name: short, unique.
        family: image, locator, table, tar, npz or parquet.
        reference: the case in the reliability list and where it has bitten.
        expected: the outcomes that are right, or `refused source`.
        make: writes it into a folder and returns its path.
    """

    name: str
    family: str
    reference: str
    expected: tuple[str, ...]
    make: Callable[[Path], Path]


ATTACKS: list[Attack] = []


def attack(family: str, *, reference: str, expected: str | tuple[str, ...]) -> Callable[..., Any]:
    """Registers a function that writes one hostile file."""

    def registered(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
        outcomes = (expected,) if isinstance(expected, str) else expected
        ATTACKS.append(Attack(make.__name__, family, reference, outcomes, make))
        return make

    return registered


def of(family: str) -> list[Attack]:
    """Returns the attacks of a family."""
    return [found for found in ATTACKS if found.family == family]


# ---------------------------------------------------------------- small good files, which the attacks are made from


def picture(size: tuple[int, int] = (32, 24), *, seed: int = 0) -> Image.Image:
    """Returns a small RGB image of noise."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def encoded(form: str, *, image: Image.Image | None = None, **options: Any) -> bytes:
    """Returns an image encoded as PNG, JPEG, ..."""
    out = io.BytesIO()
    (image or picture()).save(out, form, **options)
    return out.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Returns one PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int) -> bytes:
    """Returns a PNG of about 2 kB whose header claims any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 2_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def tar_of(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """Writes an uncompressed tar of exactly these entries."""
    with tarfile.open(path, "w") as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def entry(name: str, data: bytes, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """Returns one entry for `tar_of`."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    return info, data


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _good_sample(key: str = "good") -> list[tuple[tarfile.TarInfo, bytes]]:
    return [entry(f"{key}.png", encoded("PNG")), entry(f"{key}.txt", b"an X-ray of the left hand")]


# ---------------------------------------------------------------- images


@attack("image", reference="A1 Pillow 6342, 3831", expected="broken")
def half_jpeg(folder: Path) -> Path:
    data = encoded("JPEG")
    return _written(folder / "half.jpg", data[: len(data) // 2])


@attack("image", reference="A1", expected="broken")
def half_png(folder: Path) -> Path:
    data = encoded("PNG")
    return _written(folder / "half.png", data[: len(data) // 2])


@attack("image", reference="A1: decoders forgive a missing end", expected="broken")
def png_without_end(folder: Path) -> Path:
    return _written(folder / "endless.png", encoded("PNG")[:-12])


@attack("image", reference="A2", expected="broken")
def empty_file(folder: Path) -> Path:
    return _written(folder / "empty.png", b"")


@attack("image", reference="A2", expected="broken")
def html_named_jpg(folder: Path) -> Path:
    return _written(folder / "page.jpg", b"<!DOCTYPE html><html><body>404 not found</body></html>")


@attack("image", reference="A2", expected="broken")
def zeros(folder: Path) -> Path:
    return _written(folder / "zeros.png", bytes(1000))


@attack("image", reference="A3 MONAILabel 1230", expected="broken")
def claims_3600_megapixels(folder: Path) -> Path:
    return _written(folder / "bomb.png", png_claiming(60_000, 60_000))


@attack("image", reference="A8 Label Studio 2273", expected="refused")
def svg_named_png(folder: Path) -> Path:
    return _written(folder / "vector.png", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')


@attack("image", reference="A8: would start Ghostscript", expected="refused")
def eps_named_png(folder: Path) -> Path:
    return _written(folder / "print.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) show\n")


@attack("image", reference="A8", expected="refused")
def pdf_named_png(folder: Path) -> Path:
    return _written(folder / "paper.png", b"%PDF-1.7\n1 0 obj <<>> endobj\n%%EOF")


@attack("image", reference="A8", expected=("broken", "refused"))
def python_named_png(folder: Path) -> Path:
    marker = folder / "marker"
    return _written(folder / "code.png", f"open({str(marker)!r}, 'w').write('ran')\n".encode())


@attack("image", reference="A13", expected="refused")
def pipe_named_png(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


@attack("image", reference="A13", expected="refused")
def folder_named_png(folder: Path) -> Path:
    (folder / "folder.png").mkdir()
    return folder / "folder.png"


@attack("image", reference="A13", expected="refused")
def device_named_png(folder: Path) -> Path:
    (folder / "device.png").symlink_to("/dev/zero")
    return folder / "device.png"


@attack("image", reference="A11 FiftyOne server/routes/media.py", expected="refused")
def link_leaving_root(folder: Path) -> Path:
    (folder / "link.png").symlink_to("/etc/passwd")
    return folder / "link.png"


@attack("image", reference="A13", expected=("refused", "missing", "broken"))
def link_to_itself(folder: Path) -> Path:
    (folder / "loop.png").symlink_to("loop.png")
    return folder / "loop.png"


@attack("image", reference="A3: decompression bomb inside DICOM", expected=("broken", "refused"))
def dicom_of_noise(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    return _written(folder / "noise.dcm", bytes(128) + b"DICM" + rng.bytes(500))


# ---------------------------------------------------------------- locators, tried as the image cell of a table

LOCATORS = {
    "../../etc/passwd": ("refused",),
    "images/../../../etc/passwd": ("refused",),
    "/etc/passwd": ("refused",),
    "C:\\x": ("refused",),
    "C:/Windows/win.ini": ("refused",),
    "\\\\host\\s": ("refused",),
    "..\\..\\etc\\passwd": ("refused",),
    "file:///etc/passwd": ("refused",),
    "http://127.0.0.1:9/x.png": ("missing",),
    "https://example.org/x.png": ("missing",),
    "s3://bucket/x.png": ("missing",),
    "pipe:touch marker": ("refused",),
    "data:image/png;base64,AAAA": ("refused",),
    "a\0b": ("refused",),
    "percent:%2Fetc%2Fpasswd": ("refused",),
    "percent:..%2F..%2Fetc%2Fpasswd": ("refused",),
    "percent:a%00b": ("broken", "refused"),
    ".": ("refused",),
    "..": ("refused",),
    "~/.ssh/id_rsa": ("missing",),
    "$(touch marker)": ("missing",),
    "`touch marker`": ("missing",),
    "../x.tar#0:10:a.png": ("refused",),
    "/dev/zero": ("refused",),
    "": ("missing",),
    "x" * 5000: ("refused",),
    "x" * 300: ("broken", "missing"),
}
"""A11: what a row's image may say, and what becomes of the row (streamlit 13733, webdataset gopen.py)."""


# ---------------------------------------------------------------- tables


@attack("table", reference="B4", expected="refused")
def bad_utf8(folder: Path) -> Path:
    return _written(folder / "latin.csv", b"image,caption\na.png,caf\xe9 au lait spot\n")


@attack("table", reference="B4", expected="refused")
def nul_byte(folder: Path) -> Path:
    return _written(folder / "nul.csv", b"image,caption\na.png,a\x00b\n")


@attack("table", reference="B4", expected="refused")
def ragged_row(folder: Path) -> Path:
    return _written(folder / "ragged.csv", b"image,caption\na.png,one,two,three\n")


@attack("table", reference="B4", expected="refused")
def ten_megabyte_cell(folder: Path) -> Path:
    return _written(folder / "long.csv", b"image,caption\na.png," + b"x" * 10_000_000 + b"\n")


@attack("table", reference="B4: one quote swallows the rest", expected=REFUSED_SOURCE)
def open_quote(folder: Path) -> Path:
    return _written(folder / "quote.csv", b'image,caption\na.png,"never closed\nb.png,two\n')


@attack("table", reference="B4", expected=REFUSED_SOURCE)
def utf16(folder: Path) -> Path:
    return _written(folder / "wide.csv", "image,caption\na.png,x\n".encode("utf-16"))


@attack("table", reference="B6", expected=REFUSED_SOURCE)
def empty_table(folder: Path) -> Path:
    return _written(folder / "empty.csv", b"")


@attack("table", reference="B6", expected=REFUSED_SOURCE)
def no_caption_column(folder: Path) -> Path:
    return _written(folder / "lacking.csv", b"image,age\na.png,3\n")


@attack("table", reference="B6", expected=REFUSED_SOURCE)
def column_twice(folder: Path) -> Path:
    return _written(folder / "twice.csv", b"image,caption,caption\na.png,x,y\n")


@attack("table", reference="B4", expected="refused")
def jsonl_of_junk(folder: Path) -> Path:
    good = b'{"image": "a.png", "caption": "x"}\n'
    return _written(folder / "junk.jsonl", good + b"[" * 100_000 + b"\n{not json}\n[1, 2]\n" + b'{"image": {}}\n')


@attack("table", reference="H8", expected="refused")
def lone_surrogate(folder: Path) -> Path:
    return _written(folder / "half.jsonl", b'{"image": "a.png", "caption": "\\ud800"}\n')


# ---------------------------------------------------------------- Parquet


@attack("parquet", reference="B8", expected=REFUSED_SOURCE)
def parquet_cut(folder: Path) -> Path:
    path = good_parquet(folder / "cut.parquet")
    return _written(path, path.read_bytes()[:-200])


@attack("parquet", reference="B8", expected=REFUSED_SOURCE)
def parquet_noise(folder: Path) -> Path:
    return _written(folder / "noise.parquet", b"PAR1" + np.random.default_rng(0).bytes(3000) + b"PAR1")


@attack("parquet", reference="B8: thrift lengths of 2^31", expected=REFUSED_SOURCE)
def parquet_long_thrift(folder: Path) -> Path:
    footer = b"\x15\x02\x19\xfc\xff\xff\xff\xff\x07" + b"\x48" + b"\xff\xff\xff\xff\x07"
    data = b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"
    return _written(folder / "lengths.parquet", data)


@attack("parquet", reference="B8: footer longer than the file", expected=REFUSED_SOURCE)
def parquet_long_footer(folder: Path) -> Path:
    return _written(folder / "footer.parquet", b"PAR1" + bytes(64) + struct.pack("<I", 2**31 - 1) + b"PAR1")


@attack("parquet", reference="B7 CVE-2023-47248", expected=REFUSED_SOURCE)
def parquet_pickled_type(folder: Path) -> Path:
    metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle_of(folder)}
    schema = pa.schema([pa.field("image", pa.string()), pa.field("caption", pa.string(), metadata=metadata)])
    pq.write_table(pa.table({"image": ["a.png"], "caption": ["x"]}, schema=schema), folder / "pickled.parquet")
    return folder / "pickled.parquet"


@attack("parquet", reference="B6", expected="refused")
def parquet_caption_list(folder: Path) -> Path:
    pq.write_table(pa.table({"image": ["a.png"], "caption": [["x", "y"]]}), folder / "list.parquet")
    return folder / "list.parquet"


@attack("parquet", reference="B4", expected="refused")
def parquet_bad_utf8(folder: Path) -> Path:
    bad = pa.array([b"caf\xe9 noir"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"image": ["a.png"], "caption": bad}), folder / "latin.parquet")
    return folder / "latin.parquet"


def good_parquet(path: Path, *, rows: int = 100) -> Path:
    """Writes a small good Parquet file with image paths."""
    pq.write_table(
        pa.table({"image": [f"{i}.png" for i in range(rows)], "caption": [f"case {i} of chest" for i in range(rows)]}),
        path,
    )
    return path


# ---------------------------------------------------------------- archives


def pickle_of(folder: Path) -> bytes:
    """Returns the bytes of a pickle that would write `marker` when loaded, spelled out by hand."""
    return b"cbuiltins\nexec\n(Vopen(" + repr(str(folder / "marker")).encode() + b', "w").write("ran")\ntR.'


@attack("tar", reference="B9 webdataset 490", expected="kept")
def tar_with_pickles(folder: Path) -> Path:
    evil = [entry(f"good.{suffix}", pickle_of(folder)) for suffix in ("pkl", "pyd", "pt", "pickle")]
    return tar_of(folder / "pickles.tar", [*_good_sample(), *evil])


@attack("tar", reference="B10 GHSA-9rg3-9pvr-6p27", expected="refused")
def tar_escaping_names(folder: Path) -> Path:
    return tar_of(
        folder / "escape.tar",
        [
            *[entry("../x.png", encoded("PNG")), entry("../x.txt", b"a caption of some words")],
            *[entry("/abs.png", encoded("PNG", image=picture(seed=2))), entry("/abs.txt", b"another caption of words")],
        ],
    )


@attack("tar", reference="B10", expected="kept")
def tar_links_and_devices(folder: Path) -> Path:
    return tar_of(
        folder / "links.tar",
        [
            entry("link.png", b"", kind=tarfile.SYMTYPE, link="/etc/passwd"),
            entry("hard.png", b"", kind=tarfile.LNKTYPE, link="good.png"),
            entry("device.png", b"", kind=tarfile.CHRTYPE),
            entry("pipe.png", b"", kind=tarfile.FIFOTYPE),
            entry("folder.png", b"", kind=tarfile.DIRTYPE),
            *_good_sample(),
        ],
    )


@attack("tar", reference="B10", expected="refused")
def tar_same_name_twice(folder: Path) -> Path:
    return tar_of(folder / "twice.tar", [entry("a.png", encoded("PNG")), *_good_sample("a")])


@attack("tar", reference="B10", expected=("broken", "kept"))
def tar_cut(folder: Path) -> Path:
    path = tar_of(folder / "cut.tar", [*_good_sample("a"), *_good_sample("b")])
    data = path.read_bytes().rstrip(b"\0")
    return _written(path, data[: len(data) * 3 // 4])


@attack("tar", reference="B10", expected=REFUSED_SOURCE)
def tar_compressed(folder: Path) -> Path:
    with tarfile.open(folder / "packed.tar", "w:gz") as archive:
        info, data = entry("a.png", encoded("PNG"))
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return folder / "packed.tar"


@attack("tar", reference="B10", expected=REFUSED_SOURCE)
def tar_of_noise(folder: Path) -> Path:
    return _written(folder / "noise.tar", np.random.default_rng(0).bytes(5000))


@attack("tar", reference="B10: 42.zip inside", expected="kept")
def tar_with_zip_bomb(folder: Path) -> Path:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10_000_000))
    return tar_of(folder / "bomb.tar", [*_good_sample(), entry("good.zip", bomb.getvalue())])


@attack("tar", reference="B10: a header that claims 8 GB", expected=("broken", REFUSED_SOURCE))
def tar_claiming_size(folder: Path) -> Path:
    info = tarfile.TarInfo("big.png")
    info.size = 8 * 2**30
    return _written(folder / "claims.tar", info.tobuf() + encoded("PNG"))


# ---------------------------------------------------------------- arrays


def npz_of(path: Path, members: dict[str, bytes]) -> Path:
    """Writes an .npz of raw member bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy_header(shape: tuple[int, ...], descr: str) -> bytes:
    """Returns an .npy header that claims any shape."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@attack("npz", reference="B11", expected=REFUSED_SOURCE)
def npz_claims_a_trillion(folder: Path) -> Path:
    images = npy_header((10**12, 28, 28), "|u1") + bytes(100)
    return npz_of(folder / "claims.npz", {"train_images": images, "train_labels": _npy(np.zeros((1, 1), np.uint8))})


@attack("npz", reference="B11, numpy raises tokenize.TokenError", expected=REFUSED_SOURCE)
def npz_with_a_torn_header(folder: Path) -> Path:
    images = _npy(np.zeros((4, 28, 28), np.uint8)).replace(b"{", b"[", 1)
    return npz_of(folder / "torn.npz", {"train_images": images, "train_labels": _npy(np.zeros((4, 1), np.uint8))})


@attack("npz", reference="B11", expected=REFUSED_SOURCE)
def npz_of_objects(folder: Path) -> Path:
    images = npy_header((4, 28, 28), "|O") + pickle_of(folder)
    return npz_of(folder / "objects.npz", {"train_images": images, "train_labels": _npy(np.zeros((4, 1), np.uint8))})


@attack("npz", reference="B11", expected=REFUSED_SOURCE)
def npz_labels_of_objects(folder: Path) -> Path:
    labels = npy_header((4,), "|O") + pickle_of(folder)
    return npz_of(
        folder / "labels.npz", {"train_images": _npy(np.zeros((4, 28, 28), np.uint8)), "train_labels": labels}
    )


@attack("npz", reference="B11", expected=REFUSED_SOURCE)
def npz_of_noise(folder: Path) -> Path:
    return _written(folder / "noise.npz", b"PK\x03\x04" + np.random.default_rng(0).bytes(2000))


@attack("npz", reference="B11", expected=REFUSED_SOURCE)
def npz_without_images(folder: Path) -> Path:
    return npz_of(folder / "other.npz", {"x": _npy(np.zeros((4, 4), np.uint8))})

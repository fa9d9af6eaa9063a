"""Cases A11-A13: paths that try to leave, names that are hard to write, things that are no files."""

import multiprocessing
import os
import socket
import subprocess
import unicodedata
from pathlib import Path

import pytest
from hostile import make
from hypothesis import given
from hypothesis import strategies as st

from chips_core.data import examine, open_source
from chips_core.data.locators import Root, of_path, parse
from chips_core.data.opener import ImageOpener
from chips_core.errors import UnreadableInput


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process, no socket: either fails the test."""

    def forbidden(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("tried to leave the process")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    monkeypatch.setattr(os, "system", forbidden)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("text", make.LOCATORS, ids=lambda text: repr(text[:40]))
def test_a11__an_unsafe_path_opens_nothing(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = tmp_path / "a" / "root"
    root.mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("secret")
    (tmp_path / "a" / "x.tar").write_bytes(make.encoded("PNG"))
    monkeypatch.chdir(root)
    opened: list[str] = []
    monkeypatch.setattr(os, "open", lambda path, *_args, **_kwargs: opened.append(str(path)) or os.dup(0))
    with pytest.raises(UnreadableInput) as told:
        ImageOpener(root).read(text)
    assert told.value.outcome in make.LOCATORS[text]
    assert text == "" or len(text) < 3 or text not in told.value.what
    assert opened == []
    assert not (root / "marker").exists()


@pytest.mark.usefixtures("sealed")
def test_a11__in_a_table_the_row_is_refused_with_its_number(tmp_path: Path):
    (tmp_path / "good.png").write_bytes(make.encoded("PNG"))
    lines = ["image,caption", "good.png,a good pair of words", "../../etc/passwd,a caption of words"]
    lines += ["http://localhost/x.png,another caption of words", "pipe:touch x,the last of all words"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    (batch,) = examine(open_source(tmp_path))
    assert batch["outcome"].to_pylist() == ["kept", "refused", "missing", "refused"]
    reasons = batch["reason"].to_pylist()
    assert reasons[1].startswith("pairs.csv:3: ")
    assert reasons[2] == "pairs.csv:4: missing: remote, images are never fetched"
    assert reasons[3].startswith("pairs.csv:5: ")


@given(st.lists(st.sampled_from(["..", ".", "a", "link", "", "etc", "\\", "b.png"]), min_size=1, max_size=8))
def test_a11__no_path_made_of_parts_leaves_the_root(tmp_path_factory: pytest.TempPathFactory, parts: list[str]):
    base = tmp_path_factory.mktemp("outer")
    root = base / "root"
    (root / "a").mkdir(parents=True)
    (base / "b.png").write_bytes(b"outside")
    (root / "b.png").write_bytes(b"inside")
    (root / "link").symlink_to("..")
    try:
        descriptor = Root(root).open("/".join(parts))
    except UnreadableInput:
        return
    with os.fdopen(descriptor, "rb") as handle:
        assert handle.read() == b"inside"


def test_a11__a_link_inside_the_root_is_followed(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(make.encoded("PNG"))
    (tmp_path / "link.png").symlink_to("real/a.png")
    (tmp_path / "linked").symlink_to("real")
    opener = ImageOpener(tmp_path)
    assert (
        opener.read("link.png").sha256 == opener.read("linked/a.png").sha256 == opener.read("real/../real/a.png").sha256
    )


def test_a11__backslashes_of_a_windows_table_are_understood(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(make.encoded("PNG"))
    assert ImageOpener(tmp_path).read("images\\a.png").width == 32


NAMES = [
    b"new\nline.png",
    "\U0001fa7b.png".encode(),
    unicodedata.normalize("NFC", "é.png").encode(),
    unicodedata.normalize("NFD", "é.png").encode(),
    b"x" * 251 + b".png",
    b"not\xffutf8.png",
    b"A.png",
    b"a.png",
    b"hash#1.png",
    b" space .png",
    b"100%.png",
]


def test_a12__hard_names_survive_a_folder_and_stay_apart(tmp_path: Path):
    folder = tmp_path / "class"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        (Path(os.fsdecode(os.fsencode(folder) + b"/" + name))).write_bytes(
            make.encoded("PNG", image=make.picture(seed=number))
        )
    (batch,) = examine(open_source(tmp_path))
    assert batch["outcome"].to_pylist() == ["kept"] * len(NAMES)
    locators = batch["image"].to_pylist()
    assert len(set(locators)) == len(set(batch["pair_id"].to_pylist())) == len(NAMES)
    opener = ImageOpener(tmp_path)
    assert [opener.read(name).sha256 for name in locators] == batch["image_sha256"].to_pylist()


@given(st.binary(min_size=1, max_size=60).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_a12__every_file_name_has_a_locator_that_finds_it(tmp_path_factory: pytest.TempPathFactory, name: bytes):
    folder = tmp_path_factory.mktemp("names")
    if name in (b".", b".."):
        return
    inner = Path(os.fsdecode(b"d/" + name))
    (folder / "d").mkdir()
    (folder / inner).write_bytes(b"found")
    locator = of_path(inner)
    locator.encode()
    with os.fdopen(Root(folder).open(locator), "rb") as handle:
        assert handle.read() == b"found"


def test_a13__a_pipe_is_refused_without_waiting(tmp_path: Path):
    os.mkfifo(tmp_path / "x.png")
    process = multiprocessing.get_context("spawn").Process(target=_read, args=(str(tmp_path),))
    process.start()
    process.join(20)
    assert process.exitcode == 0


def _read(folder: str) -> None:
    with pytest.raises(UnreadableInput, match="not a regular file"):
        ImageOpener(Path(folder)).read("x.png")


@pytest.mark.parametrize("attack", [make.pipe_named_png, make.device_named_png, make.folder_named_png])
def test_a13__what_is_no_file_is_not_even_opened(
    attack: make.Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = attack(tmp_path).name
    opened: list[str] = []
    monkeypatch.setattr(os, "open", lambda path, *_args, **_kwargs: opened.append(str(path)) or os.dup(0))
    with pytest.raises(UnreadableInput):
        ImageOpener(tmp_path).read(name)
    inside = tmp_path / "inner.png"
    inside.mkdir()
    (tmp_path / "to_folder.png").symlink_to("inner.png")
    with pytest.raises(UnreadableInput, match="not a regular file"):
        ImageOpener(tmp_path).read("to_folder.png")
    assert opened == []


def test_parse__a_hash_in_a_plain_name_is_no_place():
    assert parse("a#1.png").file == "a#1.png"
    assert (parse("x/s.tar#5:6:a#b.png").file, parse("x/s.tar#5:6:a#b.png").place) == ("x/s.tar", "5:6:a#b.png")

"""Atomic writes: whole old or whole new at every fault, in the right order, and nothing left behind."""

import errno
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from faults import Failing, Lying, Recording, every_failure, every_kill, injected
from hypothesis import given
from hypothesis import strategies as st

from chips_core import atomic, disk
from chips_core.errors import ChipsError, DiskFault, NoSpace, PoolDamaged

OLD, NEW = b"old " * 1000, b"new " * 2000


def temporaries(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob(f"{atomic.TEMPORARY}*")]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def reset(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "file").write_bytes(OLD)


def write_in_two_pieces(folder: Path) -> None:
    with atomic.replacing(folder / "file") as handle:
        handle.write(NEW[:100])
        handle.write(NEW[100:])


def test_replacing__is_private_and_whole(place: Path) -> None:
    atomic.write_bytes(place / "file", NEW)
    assert (place / "file").read_bytes() == NEW
    assert stat.S_IMODE((place / "file").stat().st_mode) == 0o600
    assert not temporaries(place)


def write_half(folder: Path) -> None:
    with atomic.replacing(folder / "file") as handle:
        handle.write(b"half")
        raise KeyboardInterrupt


def test_replacing__an_error_in_the_block_changes_nothing(place: Path) -> None:
    reset(place)
    with pytest.raises(KeyboardInterrupt):
        write_half(place)
    assert (place / "file").read_bytes() == OLD
    assert not temporaries(place)


def test_replacing__an_error_of_another_file_in_the_block_keeps_its_own_words(place: Path) -> None:
    with pytest.raises(PermissionError, match="elsewhere"), atomic.replacing(place / "file"):
        raise PermissionError(errno.EACCES, "elsewhere")


def test_d2__replacing_killed_at_every_call_leaves_old_or_new(place: Path) -> None:
    seen = set()
    for _ in every_kill(lambda: write_in_two_pieces(place), fresh=lambda: reset(place)):
        found = (place / "file").read_bytes()
        assert found in (OLD, NEW)
        seen.add(found)
        atomic.sweep(place)
        assert not temporaries(place)
    assert seen == {OLD, NEW}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_d3__replacing_failing_at_every_call_says_so_and_leaves_old_or_new(place: Path, code: int) -> None:
    for _, error in every_failure(lambda: write_in_two_pieces(place), fresh=lambda: reset(place), code=code):
        assert isinstance(error, DiskFault if code == errno.EIO else NoSpace)
        assert error.exit_code == 3
        assert (place / "file").read_bytes() in (OLD, NEW)
        assert not temporaries(place)


def test_d3__a_full_disk_names_the_file_and_the_bytes_needed(place: Path) -> None:
    with pytest.raises(NoSpace, match=r"file failed.*8,000 bytes needed"), injected(Failing(at=2, code=errno.ENOSPC)):
        atomic.write_bytes(place / "file", NEW)


def test_m8__a_disk_that_lies_is_caught_before_the_commit(place: Path) -> None:
    reset(place)
    with pytest.raises(DiskFault, match="read back"), injected(Lying("file")):
        atomic.write_bytes(place / "file", NEW)
    assert (place / "file").read_bytes() == OLD
    assert not temporaries(place)


def durable_replacement(log: list[tuple[str, str]], folder: Path) -> bool:
    """Whether the data was flushed before the rename, and the folder after it, with no write in between."""
    names = [name for name, _ in log]
    rename = names.index("rename") if "rename" in names else -1
    if rename < 0 or "sync" not in names[:rename]:
        return False
    flush = names.index("sync")
    return "write" not in names[flush:] and ("sync", str(folder)) in log[rename:]


def test_d5__replacing_flushes_data_then_renames_then_flushes_the_folder(place: Path) -> None:
    with injected(calls := Recording()):
        write_in_two_pieces(place)
    assert [name for name, _ in calls.log] == ["open", "write", "write", "sync", "rename", "sync"]
    assert durable_replacement(calls.log, place)


def write_in_place(folder: Path) -> None:
    descriptor = disk.calls.open(str(folder / "file"), os.O_WRONLY | os.O_TRUNC, 0o600)
    disk.calls.write(descriptor, NEW)
    disk.calls.sync(descriptor)
    os.close(descriptor)


def rename_before_flush(folder: Path) -> None:
    descriptor = disk.calls.open(str(folder / ".tmp-x"), os.O_WRONLY | os.O_CREAT, 0o600)
    disk.calls.write(descriptor, NEW)
    disk.calls.rename(str(folder / ".tmp-x"), str(folder / "file"))
    disk.calls.sync(descriptor)
    os.close(descriptor)
    atomic.sync_folder(folder)


@pytest.mark.parametrize("broken", [write_in_place, rename_before_flush])
def test_d5__the_harness_catches_a_writer_broken_on_purpose(place: Path, broken: Callable[[Path], None]) -> None:
    """A fault test that has never failed proves nothing: these two writers must not pass."""
    reset(place)
    with injected(calls := Recording()):
        broken(place)
    assert not durable_replacement(calls.log, place)


def test_d2__the_harness_catches_a_torn_file(place: Path) -> None:
    kills = every_kill(lambda: write_in_place(place), fresh=lambda: reset(place))
    assert any((place / "file").read_bytes() not in (OLD, NEW) for _ in kills)


def test_d3__a_new_array_is_reserved_and_flushed_before_it_is_seen(place: Path) -> None:
    with injected(calls := Recording()):
        array = atomic.new_array(place / "a.npy", shape=(np.int64(5), 3), dtype=np.float16)  # type: ignore[arg-type]
    assert array.shape == (5, 3)
    assert not array.any()
    names = [name for name, _ in calls.log]
    assert names[-4:] == ["allocate", "sync", "rename", "sync"]
    assert (place / "a.npy").stat().st_blocks * 512 >= array.nbytes


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_d3__a_new_array_failing_at_every_call_leaves_nothing(place: Path, code: int) -> None:
    def make() -> None:
        atomic.new_array(place / "a.npy", shape=(4, 2), dtype=np.float32)

    for _, error in every_failure(make, fresh=lambda: reset(place), code=code):
        assert isinstance(error, ChipsError)
        assert not temporaries(place)


def test_new_array__of_nothing_can_be_opened(place: Path) -> None:
    assert atomic.new_array(place / "a.npy", shape=(0, 3), dtype=np.float16).shape == (0, 3)


def test_write_array__comes_back_and_objects_are_refused(place: Path) -> None:
    values = np.arange(12.0).reshape(3, 4).T[::2]
    atomic.write_array(place / "a.npy", values)
    np.testing.assert_array_equal(np.load(place / "a.npy"), values)
    with pytest.raises(TypeError, match="objects"):
        atomic.write_array(place / "b.npy", np.array([{}], dtype=object))
    assert not (place / "b.npy").exists()


@given(place=st.integers(0, 127), mask=st.integers(1, 255))
def test_b11__an_array_with_any_header_is_read_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, place: int, mask: int
) -> None:
    path = tmp_path_factory.mktemp("header") / "a.npy"
    np.save(path, np.arange(6.0))
    data = bytearray(path.read_bytes())
    data[place] ^= mask
    path.write_bytes(data)
    told: list[str] = []
    for mapped in (None, "r"):
        try:
            atomic.read_array(path, mapped=mapped)  # type: ignore[arg-type]
        except PoolDamaged as error:
            told.append(error.what)
    assert all("a.npy" in words for words in told)


def test_read_array__that_is_not_there_is_no_damage(place: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic.read_array(place / "none.npy")


def test_d2__make_folder_killed_at_every_call_can_be_made_again(place: Path) -> None:
    for _ in every_kill(lambda: atomic.make_folder(place / "a" / "b"), fresh=lambda: reset(place)):
        atomic.make_folder(place / "a" / "b")
    assert stat.S_IMODE((place / "a" / "b").stat().st_mode) == 0o700


def test_make_folder__where_a_file_is_raises(place: Path) -> None:
    (place / "a").touch()
    with pytest.raises(OSError, match="exists"):
        atomic.make_folder(place / "a")


def test_d2__move_killed_at_every_call_leaves_it_here_or_there(place: Path) -> None:
    def fresh() -> None:
        reset(place)
        (place / "from").mkdir()
        (place / "to").mkdir()
        (place / "from" / "x").write_bytes(NEW)

    for _ in every_kill(lambda: atomic.move(place / "from" / "x", place / "to" / "y"), fresh=fresh):
        assert (place / "from" / "x").exists() != (place / "to" / "y").exists()


def test_remove__never_follows_a_link(place: Path) -> None:
    (place / "kept").mkdir()
    (place / "kept" / "file").write_bytes(OLD)
    (place / "gone").mkdir()
    (place / "gone" / "link").symlink_to(place / "kept")
    (place / "link").symlink_to(place / "kept")
    atomic.remove(place / "gone")
    atomic.remove(place / "link")
    atomic.remove(place / "never there")
    assert sorted(p.name for p in place.iterdir()) == ["kept"]
    assert (place / "kept" / "file").read_bytes() == OLD


def test_create_empty__only_the_first_makes_it(place: Path) -> None:
    assert atomic.create_empty(place / "lock")
    (place / "lock").write_bytes(b"x")
    assert not atomic.create_empty(place / "lock")
    assert (place / "lock").read_bytes() == b"x"


def test_descriptors__none_is_left_open_after_faults(place: Path) -> None:
    def attempt() -> None:
        write_in_two_pieces(place)
        atomic.new_array(place / "a.npy", shape=(2,), dtype=np.uint8)
        atomic.write_json(place / "a.json", {})
        atomic.make_folder(place / "f")

    list(every_failure(attempt, fresh=lambda: reset(place), code=errno.EIO))
    before = len(os.listdir("/proc/self/fd"))
    list(every_failure(attempt, fresh=lambda: reset(place), code=errno.EIO))
    assert len(os.listdir("/proc/self/fd")) == before


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(value=json_values)
def test_write_json__comes_back_exactly(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    atomic.write_json(path, value)
    assert atomic.read_json(path) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": object()}])
def test_write_json__refuses_what_is_not_json(place: Path, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        atomic.write_json(place / "a.json", value)
    assert not list(place.iterdir())


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": NaN}', "{", "", "[" * 100_000, '"\udc80"', "9" * 10_000])
def test_read_json__refuses_what_is_not_strict(place: Path, text: str) -> None:
    (place / "a.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(PoolDamaged, match=r"a\.json"):
        atomic.read_json(place / "a.json")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here (needs the rights of root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_d3__a_real_full_disk_is_told_and_keeps_what_was_there(small_disk: Path) -> None:
    atomic.write_json(small_disk / "a.json", {"kept": True})
    with pytest.raises(NoSpace, match="free on its disk"):
        atomic.write_bytes(small_disk / "big", bytes(1 << 20))
    with pytest.raises(NoSpace):
        atomic.new_array(small_disk / "big.npy", shape=(1 << 20,), dtype=np.uint8)
    assert json.loads((small_disk / "a.json").read_bytes()) == {"kept": True}
    assert [p.name for p in small_disk.iterdir()] == ["a.json"]

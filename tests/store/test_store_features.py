"""Features: what was not written is undone, what does not belong together is refused, and resuming changes nothing."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import Unflushed, injected
from hypothesis import given, settings
from hypothesis import strategies as st
from small_pools import IMAGE_DIM, TEXT_DIM, batch, begin, copy_of, encode, finish, make_pool, row_values

from chips_core import atomic
from chips_core.errors import ChipsError, EncoderMismatch, InputError, PoolDamaged
from chips_core.store import Pool, Status, check_pool


@pytest.fixture(autouse=True)
def _fast_disk() -> Iterator[None]:
    with injected(Unflushed()):
        yield


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return make_pool(tmp_path / "pool", count=5)


def test_d4__rows_never_written_are_undone_not_zeros(pool: Pool) -> None:
    with pool.writing("encode"):
        writer = begin(pool)
        writer.write([0, 3], **row_values([0, 3]))
        assert writer.pending().tolist() == [1, 2, 4]
        with pytest.raises(InputError, match="3 pairs are not encoded"):
            writer.commit(image_head=np.ones((2, IMAGE_DIM)), text_head=np.ones((2, TEXT_DIM)), logit_scale=0.0)
    assert not pool.feature_sets()
    with pool.writing("encode"):
        writer = begin(pool)
        assert writer.pending().tolist() == [1, 2, 4]
        finish(writer)
    assert pool.features().image[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_d4__a_copied_in_array_of_the_right_size_is_undone(pool: Pool) -> None:
    """Right size, right shape, and never written by this run: the status decides, not the file."""
    with pool.writing("encode"):
        begin(pool)
    work = pool.path / "work" / "features-f1"
    np.save(work / "image.npy", np.ones((5, IMAGE_DIM), dtype=np.float16))
    with pool.writing("encode"):
        assert begin(pool).pending().tolist() == [0, 1, 2, 3, 4]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from small_pools import begin, row_values
from chips_core.store import Pool
pool = Pool.open(Path(sys.argv[1]))
with pool.writing("encode"):
    writer = begin(pool)
    writer.write([0, 1], **row_values([0, 1]))
    writer.checkpoint()
    writer.write([2], **row_values([2]))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_d1__a_killed_writer_keeps_what_was_checkpointed(pool: Pool) -> None:
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", KILLED, str(pool.path), here], check=False)
    assert done.returncode == -9
    with pool.writing("encode"):
        assert begin(pool).pending().tolist() == [2, 3, 4]


def test_writing__stopped_in_the_middle_keeps_the_rows(pool: Pool) -> None:
    def stopped() -> None:
        with pool.writing("encode"):
            begin(pool).write([2], **row_values([2]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    with pool.writing("encode"):
        assert begin(pool).pending().tolist() == [0, 1, 3, 4]


def test_writer__statuses_come_back_and_features_only_where_done(pool: Pool) -> None:
    states = [Status.DONE, Status.MISSING, Status.BROKEN, Status.CHANGED, Status.DONE]
    values = row_values(range(5)) | {"status": states}
    values["image"][1] = np.nan  # a blank of any kind is fine where nothing is claimed
    with pool.writing("encode"):
        writer = begin(pool)
        writer.write(range(5), **values)
        finish(writer)
    features = pool.features()
    assert features.status.tolist() == [1, 2, 3, 4, 1]
    assert features.done.tolist() == [True, False, False, False, True]
    assert features.counts() == {"done": 2, "missing": 1, "broken": 1, "changed": 1}
    assert features.heads.logit_scale == 2.0
    assert features.heads.image.shape == (2, IMAGE_DIM)
    assert features.image.dtype == np.float16
    assert not features.image.flags.writeable


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65520.0, 1e9, 0.0])
@pytest.mark.parametrize("part", ["image", "text"])
def test_write__features_that_cannot_be_kept_are_refused_by_row(pool: Pool, part: str, value: float) -> None:
    values = row_values([0, 1])
    values[part][1] = value
    with pool.writing("encode"):
        writer = begin(pool)
        with pytest.raises(InputError, match=f"{part} features of rows 1 are"):
            writer.write([0, 1], **values)
        assert len(writer.pending()) == 5


@pytest.mark.parametrize(
    "change",
    [{"rows": [0, 0]}, {"rows": [0, 5]}, {"rows": [-1, 0]}, {"status": [1, 0]}, {"status": [1, 9]}, {"status": [1]},
     {"image": np.ones((2, IMAGE_DIM + 1))}, {"text": np.ones((1, TEXT_DIM))}],
)  # fmt: skip
def test_write__what_does_not_fit_is_refused(pool: Pool, change: dict[str, Any]) -> None:
    values = {"rows": [0, 1], **row_values([0, 1]), **change}
    with pool.writing("encode"):
        writer = begin(pool)
        with pytest.raises(InputError):
            writer.write(values.pop("rows"), **values)
        assert len(writer.pending()) == 5


def test_write__a_row_again_is_undone_until_its_new_features_are_durable(pool: Pool) -> None:
    with pool.writing("encode"):
        writer = begin(pool)
        writer.write([0, 1], **row_values([0, 1]))
        writer.checkpoint()
        writer.write([1, 2], **row_values([6, 7]))
        assert np.load(pool.path / "work" / "features-f1" / "status.npy").tolist() == [1, 0, 0, 0, 0]
        writer.write([2], **row_values([8]))
        finish(writer)
    assert pool.features().image[:, 0].tolist() == [1, 7, 9, 4, 5]


@settings(max_examples=25)
@given(data=st.data())
def test_writer__any_order_pieces_and_stops_give_the_same_features(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    pool = make_pool(tmp_path_factory.mktemp("any") / "pool", count=7)
    order = data.draw(st.permutations(range(7)))
    while order:
        with pool.writing("encode"):
            writer = begin(pool)
            assert writer.pending().tolist() == sorted(order)
            for size in data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)):
                rows, order = order[:size], order[size:]
                writer.write(rows, **row_values(rows))
    with pool.writing("encode"):
        finish(begin(pool))
    np.testing.assert_array_equal(pool.features().image, row_values(range(7))["image"])
    np.testing.assert_array_equal(pool.features().text, row_values(range(7))["text"])


def test_feature_writer__for_finished_features_has_nothing_to_do(pool: Pool) -> None:
    encode(pool)
    before = (pool.path / "pool.json").read_bytes()
    encode(pool)
    assert (pool.path / "pool.json").read_bytes() == before


def test_d6__other_unfinished_features_are_refused_with_both_fingerprints(pool: Pool) -> None:
    with pool.writing("encode"):
        begin(pool).write([0], **row_values([0]))
    with pool.writing("encode"), pytest.raises(EncoderMismatch, match=r"f1.*other"):
        begin(pool, fingerprint="other")


def test_d6__other_finished_features_are_refused_with_both_encoders(pool: Pool) -> None:
    encode(pool)
    with pool.writing("encode"):
        with pytest.raises(EncoderMismatch, match=r"tiny \(f1\).*huge \(f2\)"):
            begin(pool, fingerprint="f2", record={"encoder": "huge"})
        finish(begin(pool, fingerprint="f2", record={"encoder": "huge"}, beside=True))
    assert [a.name for a in pool.feature_sets()] == ["f1", "f2"]
    assert pool.features().name == "f2"
    assert pool.features("f1").record == {"encoder": "tiny"}


@pytest.mark.parametrize("change", [{"image_dim": 9}, {"text_dim": 9}])
def test_d6__the_same_name_with_other_settings_is_refused(pool: Pool, change: dict[str, int]) -> None:
    with pool.writing("encode"):
        begin(pool)
    with pool.writing("encode"), pytest.raises(InputError, match="not those asked for"):
        begin(pool, **change)


def test_d6__work_of_another_data_set_of_the_same_length_is_refused(pool: Pool, tmp_path: Path) -> None:
    with pool.writing("encode"):
        begin(pool).write([0], **row_values([0]))
    other = Pool.create(tmp_path / "other", batches=[batch([f"q{i}" for i in range(5)])], record={})
    copy_of(pool.path / "work", other.path / "work")
    with other.writing("encode"), pytest.raises(InputError) as caught:
        begin(other)
    assert pool.fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)


def test_feature_writer__another_count_than_the_kept_pairs_is_refused(pool: Pool) -> None:
    with pool.writing("encode"), pytest.raises(InputError, match="6 features do not fit 5"):
        begin(pool, count=6)


def test_feature_writer__needs_the_lock(pool: Pool) -> None:
    with pytest.raises(RuntimeError, match="writing"):
        begin(pool)


@pytest.mark.parametrize(
    "heads",
    [{"image_head": np.ones((2, 9))}, {"text_head": np.ones((2, 9))}, {"image_head": np.ones((3, IMAGE_DIM))},
     {"image_head": np.ones(IMAGE_DIM)}, {"logit_scale": float("nan")}, {"text_head": np.full((2, TEXT_DIM), np.inf)}],
)  # fmt: skip
def test_commit__heads_that_do_not_fit_are_refused_and_work_is_kept(pool: Pool, heads: dict[str, Any]) -> None:
    fitting = {"image_head": np.ones((2, IMAGE_DIM)), "text_head": np.ones((2, TEXT_DIM)), "logit_scale": 1.0}
    with pool.writing("encode"):
        writer = begin(pool)
        writer.write(range(5), **row_values(range(5)))
        with pytest.raises(InputError):
            writer.commit(**{**fitting, **heads})
        writer.commit(**fitting)
    assert pool.features().done.all()


@pytest.mark.parametrize("name", ["image.npy", "text.npy"])
def test_m8__rows_that_do_not_read_back_are_undone_and_written_again(pool: Pool, name: str) -> None:
    """A disk that lies: what lies in the file is not what the encoder gave."""
    with pool.writing("encode"):
        writer = begin(pool)
        writer.write(range(5), **row_values(range(5)))
        writer.checkpoint()
        np.load(pool.path / "work" / "features-f1" / name, mmap_mode="r+")[3, 1] = 77
        with pytest.raises(PoolDamaged, match="1 rows of features do not read back"):
            finish(writer)
    assert not Pool.open(pool.path).feature_sets()
    with pool.writing("encode"):
        writer = begin(pool)
        assert writer.pending().tolist() == [3]
        finish(writer)
    assert pool.features().image[:, 1].tolist() == [1, 2, 3, 4, 5]


def test_d4__work_cut_short_never_yields_zeros(pool: Pool) -> None:
    with pool.writing("encode"):
        begin(pool).write([0, 4], **row_values([0, 4]))
    path = pool.path / "work" / "features-f1" / "image.npy"
    os.truncate(path, path.stat().st_size - 8)
    with pool.writing("encode"), pytest.raises(ChipsError):
        finish(begin(pool))
    assert check_pool(pool.path, repair=True).sound
    encode(pool)
    assert pool.features().image[:, 0].tolist() == [1, 2, 3, 4, 5]


LARGE = (5, 40_000)  # a map of several 64 kB steps


def test_m2__features_cut_anywhere_are_found_at_open_by_their_size(tmp_path: Path) -> None:
    """Reading a cut map would end the process with SIGBUS, so each case must be found before a row is touched."""
    pool = make_pool(tmp_path / "pool", count=5)
    with pool.writing("encode"):
        writer = begin(pool, image_dim=LARGE[1])
        values = row_values(range(5)) | {"image": np.ones(LARGE)}
        writer.write(range(5), **values)
        writer.commit(image_head=np.ones((2, LARGE[1])), text_head=np.ones((2, TEXT_DIM)), logit_scale=0)
    for path in sorted((pool.path / "features" / "f1").iterdir()):
        whole = path.read_bytes()
        for size in [*range(0, len(whole), 65_536), len(whole) - 1]:
            os.truncate(path, size)
            for verify in (True, False):
                if verify or path.name not in {"sums.npy", "identity.json"}:
                    with pytest.raises(PoolDamaged, match=path.name):
                        Pool.open(pool.path).features(verify=verify)
            assert [finding.file for finding in check_pool(pool.path).findings] == [f"features/f1/{path.name}"]
        path.write_bytes(whole)
    assert Pool.open(pool.path).features().done.all()


def test_m2__features_cut_while_the_pool_is_open_are_found_at_the_next_use(pool: Pool) -> None:
    encode(pool)
    assert pool.features().done.all()
    path = pool.path / "features" / "f1" / "text.npy"
    os.truncate(path, path.stat().st_size - 2)
    with pytest.raises(PoolDamaged, match=r"text\.npy"):
        pool.features()


def test_features__grown_are_found_even_unverified(pool: Pool) -> None:
    encode(pool)
    with (pool.path / "features" / "f1" / "text.npy").open("ab") as handle:
        handle.write(b"more")
    with pytest.raises(PoolDamaged, match=r"text\.npy"):
        pool.features(verify=False)


def test_b11__an_array_of_objects_with_a_fitting_checksum_is_refused(pool: Pool) -> None:
    """Somebody else's pool: every checksum fits, and the array would run code if it were unpickled."""
    encode(pool)
    path = pool.path / "features" / "f1" / "status.npy"
    np.save(path, np.array([{}] * 5, dtype=object), allow_pickle=True)
    _seal_again(pool, "status.npy")
    with pytest.raises(PoolDamaged, match=r"status\.npy"):
        Pool.open(pool.path).features()


@pytest.mark.parametrize(
    ("name", "array"),
    [("status.npy", np.ones(4, np.uint8)), ("status.npy", np.ones(5, int)), ("text.npy", np.ones((5, 9), np.float16)),
     ("image.npy", np.ones((5, IMAGE_DIM), np.float64)), ("image.npy", np.ones(5, np.float16))],
)  # fmt: skip
def test_features__parts_that_do_not_fit_each_other_are_refused(pool: Pool, name: str, array: np.ndarray) -> None:
    encode(pool)
    atomic.write_array(pool.path / "features" / "f1" / name, array)
    _seal_again(pool, name)
    with pytest.raises(PoolDamaged, match="shapes"):
        Pool.open(pool.path).features()


def test_b11__a_header_that_claims_a_terabyte_is_refused(pool: Pool) -> None:
    encode(pool)
    path = pool.path / "features" / "f1" / "image.npy"
    header = "{'descr': '<f2', 'fortran_order': False, 'shape': (1000000000000, 4), }".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(40))
    _seal_again(pool, "image.npy")
    with pytest.raises(PoolDamaged, match=r"image\.npy"):
        Pool.open(pool.path).features()


def _seal_again(pool: Pool, name: str) -> None:
    from chips_core.store.artifacts import seal
    from chips_core.store.manifest import as_document, sealed

    document = json.loads(json.dumps(as_document(pool.manifest)))
    for file in document["artifacts"]["features/f1"]["files"]:
        if file["path"].endswith(name):
            stored = seal(pool.path, [file["path"]])[0]
            file.update(bytes=stored.bytes, sha256=stored.sha256)
    (pool.path / "pool.json").write_bytes(sealed(document))


WATCHED = """
import os, sys
from pathlib import Path
committed = set()
def watch(event, args):
    if event == "open" and isinstance(args[0], str) and os.path.realpath(args[0]) in committed:
        if args[2] & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
            print("reopened for writing", args[0], flush=True)
            os._exit(3)
    if event == "os.truncate":
        os._exit(4)
sys.addaudithook(watch)
sys.path.insert(0, sys.argv[2])
from small_pools import *
pool = make_pool(Path(sys.argv[1]))
def note():
    for artifact in pool.manifest.artifacts.values():
        committed.update(os.path.realpath(pool.path / file.path) for file in artifact.files)
note(); encode(pool); note(); score(pool); note()
encode(pool); score(pool); score(pool, name="more"); note()
fresh = Pool.open(pool.path)
fresh.features(); fresh.table("scores", "run"); fresh.arrays("scores", "run"); fresh.kept()
from chips_core.store import check_pool
check_pool(pool.path, repair=True)
print(len(committed))
"""


def test_m5__a_committed_file_is_never_opened_for_writing(tmp_path: Path) -> None:
    """Somebody may have it mapped."""
    arguments = [sys.executable, "-c", textwrap.dedent(WATCHED), str(tmp_path / "pool"), str(Path(__file__).parent)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) == 1 + 6 + 2 + 2

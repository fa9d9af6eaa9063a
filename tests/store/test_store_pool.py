"""The pool as others use it: pairs exactly as given, tables, one writer, and nothing that ties it to a place."""

import os
import shutil
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from faults import Unflushed, injected
from hypothesis import given
from hypothesis import strategies as st
from small_pools import batch, encode, make_pool, score

from chips_core.errors import InputError, NotWritable, PoolBusy, PoolDamaged
from chips_core.pairs_schema import PAIRS
from chips_core.store import Pool, Review, check_pool


@pytest.fixture(autouse=True)
def _fast_disk() -> Iterator[None]:
    with injected(Unflushed()):
        yield


HARD_TEXTS = ["NA", "None", "null", "nan", "", "  ", "00123", "1e5", "é́\n\t", "\0", "x" * 5_000, "'\"--"]


def test_create__texts_come_back_exactly(tmp_path: Path) -> None:
    ids = [f"{i:03d}" for i in range(len(HARD_TEXTS))]
    flags = [["a"] * (i % 3) for i in range(len(ids))]
    given_batch = batch(ids, caption=HARD_TEXTS, label=HARD_TEXTS, flags=flags)
    Pool.create(tmp_path / "pool", batches=[given_batch], record={})
    found = Pool.open(tmp_path / "pool").pairs()
    assert found["pair_id"].tolist() == ids
    assert found["caption"].tolist() == HARD_TEXTS
    assert found["label"].tolist() == HARD_TEXTS
    assert [list(value) for value in found["flags"]] == flags
    assert list(found.columns) == PAIRS.names


@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=6), cut=st.integers(0, 6))
def test_create__fingerprint_is_of_the_contents_not_of_the_batches(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("pools")
    whole = batch([f"p{i}" for i in range(len(texts))], caption=texts, flags=[[t] for t in texts])
    one = Pool.create(folder / "one", batches=[whole], record={})
    two = Pool.create(folder / "two", batches=[whole[:cut], whole[cut:]], record={"other": 1})
    assert one.fingerprint == two.fingerprint
    assert one.id != two.id
    assert two.pairs(["caption"])["caption"].tolist() == texts


def test_create__other_contents_have_another_fingerprint(tmp_path: Path) -> None:
    pools = [
        [batch(["ab", "c"])], [batch(["a", "bc"])], [batch(["ab", "c"], caption="x")], [batch(["ab", "c"], width=9)],
        [batch(["ab", "c"], flags=[["x"], []])], [batch(["ab", "c"], flags=[[], ["x"]])], [batch(["ab"])],
    ]  # fmt: skip
    found = {Pool.create(tmp_path / str(i), batches=b, record={}).fingerprint for i, b in enumerate(pools)}
    assert len(found) == len(pools)


def test_create__slices_of_a_larger_batch_keep_their_own_rows(tmp_path: Path) -> None:
    large = batch([f"p{i}" for i in range(9)], caption=[f"c{i}" for i in range(9)])
    sliced = Pool.create(tmp_path / "a", batches=[large.slice(3, 4)], record={})
    own = batch([f"p{i}" for i in range(3, 7)], caption=[f"c{i}" for i in range(3, 7)])
    assert sliced.fingerprint == Pool.create(tmp_path / "b", batches=[own], record={}).fingerprint


def test_outcomes__add_up_and_kept_is_in_file_order(tmp_path: Path) -> None:
    batches = [
        batch(["b", "x", "a"], outcome=["kept", "missing", "kept"]),
        batch(["y", "c"], outcome=["broken", "kept"]),
    ]
    pool = Pool.create(tmp_path / "pool", batches=batches, record={})
    assert pool.outcomes().in_words() == "3 of 5 kept (1 missing, 1 broken)"
    kept = pool.kept(["pair_id"])
    assert kept["pair_id"].tolist() == ["b", "a", "c"]
    assert kept.index.tolist() == [0, 1, 2]
    assert list(kept.columns) == ["pair_id"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_d11__a_pool_of_few_pairs_lives_through_everything(tmp_path: Path, count: int) -> None:
    pool = make_pool(tmp_path / "pool", count=count, broken=0)
    encode(pool)
    score(pool)
    assert len(pool.kept()) == len(pool.features().image) == len(pool.table("scores", "run")) == count
    assert not check_pool(pool.path).findings


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([batch(["a", "b"]), batch(["a"])], "given twice"),
        ([batch(["a"], outcome="fine")], "not an outcome"),
        ([pa.RecordBatch.from_pylist([{"pair_id": "a"}])], "other columns"),
    ],
)
def test_create__batches_that_do_not_fit_are_refused_and_leave_no_pool(
    tmp_path: Path, batches: list[pa.RecordBatch], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Pool.create(tmp_path / "pool", batches=batches, record={})
    assert not (tmp_path / "pool" / "pool.json").exists()
    make_pool(tmp_path / "pool")


def test_create__nulls_are_refused(tmp_path: Path) -> None:
    nullable = pa.schema([field.with_nullable(True) for field in PAIRS])
    rows = pa.RecordBatch.from_pylist([dict.fromkeys(PAIRS.names)], schema=nullable)
    with pytest.raises(InputError, match="null"):
        Pool.create(tmp_path / "pool", batches=[rows], record={})


def test_create__a_pair_id_may_come_again_among_those_not_kept(tmp_path: Path) -> None:
    rows = batch(["a", "a"], outcome=["kept", "refused"])
    assert len(Pool.create(tmp_path / "pool", batches=[rows], record={}).pairs()) == 2


def test_create__a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(InputError, match="not empty"):
        make_pool(tmp_path)
    make_pool(tmp_path / "pool")
    with pytest.raises(InputError, match="already"):
        make_pool(tmp_path / "pool")


@pytest.mark.parametrize("record", [{"source_root": "/abs"}, {"source_root": 5}, {"x": float("nan")}, {"x": object()}])
def test_create__a_record_that_cannot_be_kept_is_refused(tmp_path: Path, record: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Pool.create(tmp_path / "pool", batches=[], record=record)


def test_pairs__an_unknown_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'nothing'"):
        make_pool(tmp_path / "pool").pairs(["nothing"])


def test_l6__a_pool_is_private_to_its_user(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir(mode=0o755)
    pool = make_pool(tmp_path / "pool")
    encode(pool)
    score(pool)
    with Review.open(pool.path) as review:
        review.add_verdict(pair_id="p0", verdict="correct", reviewer="r")
        for path in [pool.path, *pool.path.rglob("*")]:
            wanted = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_m6__a_pool_copied_elsewhere_is_the_same_pool_and_names_no_place(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "here" / "pool")
    encode(pool)
    score(pool)
    shutil.copytree(pool.path, tmp_path / "there" / "deeper" / "copy")
    shutil.rmtree(tmp_path / "here")
    copy = Pool.open(tmp_path / "there" / "deeper" / "copy")
    assert (copy.id, copy.fingerprint) == (pool.id, pool.fingerprint)
    assert copy.features().done.all()
    assert len(copy.table("scores", "run")) == 3
    assert copy.source_root == tmp_path / "there" / "deeper" / "images"
    for path in copy.path.rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path


def test_m6__a_pool_that_may_only_be_read_opens_and_refuses_to_write(tmp_path: Path) -> None:
    """As another user, or on a read-only medium: run by a user without rights, for root may do everything."""
    pool = make_pool(tmp_path / "pool")
    encode(pool)
    score(pool)
    for path in [pool.path, *pool.path.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in [tmp_path, *[p for p in tmp_path.parents if p.name.startswith(("pytest-", "popen-"))]]:
        parent.chmod(0o755)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            _read_all_of(pool.path)
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for path in [pool.path, *pool.path.rglob("*")]:
        path.chmod(0o755)


def _read_all_of(path: Path) -> None:
    pool = Pool.open(path)
    assert len(pool.kept(["pair_id"])) == 3
    assert pool.features().done.all()
    assert len(pool.table("scores", "run")) == 3
    assert check_pool(path).sound
    with Review.open(path) as review:
        assert review.current_verdicts().empty
        with pytest.raises(NotWritable):
            review.add_verdict(pair_id="p0", verdict="correct", reviewer="r")
    with pytest.raises(NotWritable):
        score(pool, name="another")


def test_write_table__is_immutable_and_again_the_same_does_nothing(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    score(pool)
    before = (pool.path / "pool.json").read_bytes()
    score(pool)
    assert (pool.path / "pool.json").read_bytes() == before
    with pytest.raises(InputError, match=r"there already \(s1, not other\)"):
        pool.write_table("scores", "run", pd.DataFrame({"pair_id": ["p0"], "x": [1.0]}), record={}, fingerprint="other")


def test_write_table__comes_back_with_its_record_and_arrays(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    arrays = {"index": np.arange(6, dtype=np.float32).reshape(2, 3), "shards": np.array([1, 2])}
    table = pd.DataFrame({"x": [0.5, float("nan")], "name": ["NA", ""]})
    pool.write_table("maps", "m.1", table, record={"seed": 3}, fingerprint="f", arrays=arrays)
    fresh = Pool.open(pool.path)
    pd.testing.assert_frame_equal(fresh.table("maps", "m.1"), table, check_dtype=False)
    assert fresh.table("maps", "m.1", ["name"])["name"].tolist() == ["NA", ""]
    assert [(a.name, a.record, a.fingerprint) for a in fresh.tables("maps")] == [("m.1", {"seed": 3}, "f")]
    for name, array in fresh.arrays("maps", "m.1").items():
        np.testing.assert_array_equal(array, arrays[name])
        assert not array.flags.writeable


@pytest.mark.parametrize(
    ("ids", "values", "words"),
    [
        (["p0", "p1"], [0.1, float("inf")], "not finite"),
        (["p0", "p1"], [0.1, float("-inf")], "not finite"),
        (["p0", "p1"], [0.1, float("nan")], "no value for 1 pairs"),
        (["p0", "p0"], [0.1, 0.2], "twice"),
        (["p0", "b0"], [0.1, 0.2], "values for 1 pairs"),
        (["p0", "who"], [0.1, 0.2], "values for 1 pairs"),
    ],
)
def test_write_table__scores_that_would_mislead_are_refused(
    tmp_path: Path, ids: list[str], values: list[float], words: str
) -> None:
    pool = make_pool(tmp_path / "pool")
    with pytest.raises(InputError, match=words):
        pool.write_table("scores", "s", pd.DataFrame({"pair_id": ids, "u": values}), record={}, fingerprint="f")
    assert not pool.tables("scores")
    assert not (pool.path / "scores").exists()


def test_write_table__a_true_nan_in_an_arrow_table_is_refused_even_where_null_is_right(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    ids = pa.array(["p0", "b0"])
    with pytest.raises(InputError, match="not finite"):
        pool.write_table(
            "scores", "s", pa.table({"pair_id": ids, "u": [0.5, float("nan")]}), record={}, fingerprint="f"
        )
    pool.write_table("scores", "s", pa.table({"pair_id": ids, "u": [0.5, None]}), record={}, fingerprint="f")
    assert pool.table("scores", "s")["u"].isna().tolist() == [False, True]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 101, "a\0", "é"])
def test_write_table__a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    pool = make_pool(tmp_path / "pool")
    with pytest.raises(InputError, match="name"):
        pool.write_table("maps", name, pd.DataFrame({"x": [1]}), record={}, fingerprint="f")


@pytest.mark.parametrize("kind", ["pairs", "features", "work", "lock", "jobs", "../x", "Maps", ""])
def test_write_table__a_kind_that_is_the_pools_own_is_refused(tmp_path: Path, kind: str) -> None:
    pool = make_pool(tmp_path / "pool")
    with pytest.raises(InputError, match="kind"):
        pool.write_table(kind, "x", pd.DataFrame({"x": [1]}), record={}, fingerprint="f")


def test_write_table__sweeps_what_a_killed_writer_of_a_new_kind_left(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    (pool.path / "prompts").mkdir()
    (pool.path / "prompts" / ".tmp-x.parquet-1").touch()
    pool.write_table("prompts", "x", pd.DataFrame({"x": [1]}), record={}, fingerprint="f")
    assert [path.name for path in (pool.path / "prompts").iterdir()] == ["x.parquet"]


def test_table__unknown_names_those_that_are_there(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    score(pool)
    with pytest.raises(InputError, match="there are: run"):
        pool.table("scores", "ran")


def test_remove__leaves_nothing_and_pairs_stay(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    encode(pool)
    score(pool)
    pool.remove("scores", "run")
    pool.remove("features", "f1")
    assert not list(pool.path.glob("scores/*")) + list(pool.path.glob("features/*"))
    with pytest.raises(InputError):
        pool.remove("pairs", "pairs")
    assert Pool.open(pool.path).manifest.artifacts.keys() == {"pairs"}


def test_refresh__sees_what_another_process_committed(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    score(Pool.open(pool.path))
    assert not pool.tables("scores")
    assert pool.refresh()
    assert not pool.refresh()
    assert pool.tables("scores")


def test_refresh__another_pool_in_its_place_is_told(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    shutil.copy(make_pool(tmp_path / "other").path / "pool.json", pool.path / "pool.json")
    with pytest.raises(PoolDamaged, match="another pool"):
        pool.refresh()


def test_write_table__keeps_what_another_writer_committed_meanwhile(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    score(Pool.open(pool.path), name="theirs")
    score(pool, name="ours")
    assert [a.name for a in Pool.open(pool.path).tables("scores")] == ["theirs", "ours"]


HOLDER = """
import sys, time
from pathlib import Path
from chips_core.store import Pool
with Pool.open(Path(sys.argv[1])).writing("encode"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_d8__a_second_process_is_told_who_and_takes_over_from_a_dead_one(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(pool.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(PoolBusy, match=rf"'encode' \(process {holder.pid}, since 20") as caught,
            pool.writing("score"),
        ):
            pass
        assert caught.value.exit_code == 4
        assert len(pool.kept(["pair_id"])) == 3, "readers never wait"
    finally:
        holder.kill()
        holder.wait()
    with pool.writing("score"):
        score(pool)


def test_d8__a_second_thread_is_told_and_the_same_thread_may_nest(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    for other in (pool, Pool.open(pool.path)):
        refused: list[str] = []

        def attempt(tried: Pool = other, said: list[str] = refused) -> None:
            try:
                with tried.writing("score"):
                    said.append("entered")
            except PoolBusy as error:
                said.append(error.what)

        with pool.writing("encode"), pool.writing("encode again"):
            thread = threading.Thread(target=attempt)
            thread.start()
            thread.join()
        assert len(refused) == 1
        assert "encode" in refused[0]
    with Pool.open(pool.path).writing("after"):
        pass


def test_d13__the_lock_is_freed_by_any_way_out(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    with pytest.raises(KeyboardInterrupt), pool.writing("encode"):
        raise KeyboardInterrupt
    assert not (pool.path / "lock.json").exists()
    with Pool.open(pool.path).writing("score"):
        pass


def test_descriptors__none_is_left_open(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    encode(pool)
    score(pool)

    def use() -> None:
        opened = Pool.open(pool.path)
        opened.features()
        opened.table("scores", "run")
        opened.arrays("scores", "run")
        with opened.writing("x"):
            pass

    use()
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(50):
        use()
    assert len(os.listdir("/proc/self/fd")) <= before
    assert threading.active_count() <= threads


@pytest.mark.slow
def test_m9__a_million_pairs_open_at_once(tmp_path: Path) -> None:
    size = 50_000
    template = batch(
        [f"p{i}" for i in range(size)], caption="a chest radiograph with a finding that takes some words " * 2
    )

    def batches() -> object:
        for part in range(20):
            ids = pa.array([f"{part}-{i}" for i in range(size)])
            yield template.set_column(0, PAIRS.field("pair_id"), ids)

    pool = Pool.create(tmp_path / "pool", batches=batches(), record={})  # type: ignore[arg-type]
    assert pool.outcomes().kept == 1_000_000
    code = """
import resource, sys, time
from pathlib import Path
from chips_core.store import Pool
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
kept = Pool.open(Path(sys.argv[1])).outcomes().kept
print(kept, time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code, str(pool.path)], capture_output=True, text=True, check=True)
    kept, seconds, kilobytes = done.stdout.split()
    assert int(kept) == 1_000_000
    assert float(seconds) < 10  # the machine may be busy; a pool of this size opens in milliseconds
    assert int(kilobytes) < 200_000

"""A pool survives a process killed, a disk full or a disk broken at each single call that changes it (D2, D3, D5)."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

import numpy as np
import pytest
from faults import Recording, Unflushed, every_failure, every_kill, flipped, injected
from small_pools import begin, copy_of, encode, finish, make_pool, opened_or_made, row_values, score

from chips_core import atomic
from chips_core.errors import DiskFault, InputError, NoSpace
from chips_core.store import Pool, Severity, check_pool

Scenario = Callable[[Path], None]
DAMAGED = {"scores/run.parquet"}


def create(path: Path) -> None:
    opened_or_made(path)


def encode_opened(path: Path) -> None:
    encode(Pool.open(path))


def score_opened(path: Path) -> None:
    score(Pool.open(path))


def remove_features(path: Path) -> None:
    pool = Pool.open(path)
    if pool.feature_sets():
        pool.remove("features", "f1")


def repair(path: Path) -> None:
    check_pool(path, repair=True)


@pytest.fixture(autouse=True)
def _fast_disk() -> Iterator[None]:
    with injected(Unflushed()):
        yield


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    """The pool that each scenario starts from; None is no pool at all."""
    folder = tmp_path_factory.mktemp("bases")
    make_pool(folder / "plain")
    encode(make_pool(folder / "encoded"))
    encode(damaged := make_pool(folder / "damaged"))
    score(damaged)
    (table,) = damaged.path.glob("scores/*.parquet")
    table.write_bytes(flipped(table.read_bytes(), bit=99))
    (damaged.path / "scores" / "orphan.parquet").touch()
    return {"none": None} | {name: folder / name for name in ("plain", "encoded", "damaged")}


SCENARIOS = pytest.mark.parametrize(
    ("scenario", "base"),
    [
        (create, "none"),
        (encode_opened, "plain"),
        (score_opened, "plain"),
        (remove_features, "encoded"),
        (repair, "damaged"),
    ],
    ids=["create", "encode", "score", "remove", "repair"],
)


def starting_from(base: Path | None, path: Path) -> Callable[[], None]:
    def fresh() -> None:
        shutil.rmtree(path, ignore_errors=True)
        if base is not None:
            copy_of(base, path)

    return fresh


def assert_sound(path: Path) -> None:
    report = check_pool(path)
    assert not report.findings, report
    assert not list(path.rglob(f"{atomic.TEMPORARY}*"))


def assert_whole_old_or_new(path: Path, *, kept: int, before: AbstractSet[str] = frozenset()) -> None:
    """Everything that the manifest names is there and sound, or `before` is damaged still, as it was."""
    if not (path / "pool.json").exists():
        return
    pool = Pool.open(path)
    broken = {finding.file for finding in check_pool(path).findings if finding.severity is Severity.DAMAGE}
    if broken and broken == before:
        return
    assert not broken
    assert len(pool.kept(["pair_id"])) == kept
    for features in pool.feature_sets():
        found = pool.features(features.name)
        assert found.done.all()
        np.testing.assert_array_equal(found.image, row_values(range(kept))["image"])
        np.testing.assert_array_equal(found.text, row_values(range(kept))["text"])
    for scores in pool.tables("scores"):
        assert pool.table("scores", scores.name)["utility"].notna().all()
        assert list(pool.arrays("scores", scores.name)) == ["index"]


@SCENARIOS
def test_d2__a_pool_killed_at_every_call_opens_and_the_next_run_completes(
    scenario: Scenario, base: str, bases: dict[str, Path | None], tmp_path: Path
) -> None:
    path = tmp_path / "pool"
    kills = 0
    for _ in every_kill(lambda: scenario(path), fresh=starting_from(bases[base], path)):
        kills += 1
        assert_whole_old_or_new(path, kept=3, before=DAMAGED if base == "damaged" else set())
        scenario(path)
        assert_whole_old_or_new(path, kept=3)
        sweep_by_next_writer(path)
        assert_sound(path)
    assert kills > 5


def sweep_by_next_writer(path: Path) -> None:
    """A scenario that found its work done may not have written: any writer sweeps what is half-written."""
    with Pool.open(path).writing("test"):
        pass
    assert not list(path.rglob(f"{atomic.TEMPORARY}*"))
    if check_pool(path).findings:  # taken out of the manifest, then killed before it was taken off the disk
        check_pool(path, repair=True)


@pytest.mark.parametrize(
    ("code", "ever_after"),
    [(errno.ENOSPC, True), (errno.EIO, False), (errno.EDQUOT, False)],
    ids=["full ever after", "broken once", "quota once"],
)
@SCENARIOS
def test_d3__a_pool_failing_at_every_call_is_told_and_the_next_run_completes(
    scenario: Scenario, base: str, bases: dict[str, Path | None], tmp_path: Path, code: int, ever_after: bool
) -> None:
    path = tmp_path / "pool"
    failures = every_failure(
        lambda: scenario(path), fresh=starting_from(bases[base], path), code=code, ever_after=ever_after
    )
    for _, error in failures:
        assert isinstance(error, DiskFault if code == errno.EIO else NoSpace), repr(error)
        assert error.exit_code == 3
        assert error.fix
        assert_whole_old_or_new(path, kept=3, before=DAMAGED if base == "damaged" else set())
        scenario(path)
        assert_whole_old_or_new(path, kept=3)


def test_d5__encode_flushes_data_before_status_and_status_before_manifest(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    marked: list[list[int]] = []

    class Watching(Recording):
        def before(self, name: str, path: str) -> None:
            super().before(name, path)
            status = list((tmp_path / "pool").glob("*/*/status.npy"))
            if name == "sync" and status:
                marked.append(list(np.load(status[0])))

    with pool.writing("encode"):
        writer = begin(pool)
        with injected(calls := Watching()):
            writer.write([0, 2], **row_values([0, 2]))
            assert not calls.log, "nothing is durable, so nothing may be marked, before the checkpoint"
            writer.checkpoint()
        assert [(n, os.path.basename(p)) for n, p in calls.log] == [
            ("sync", "image.npy"), ("sync", "text.npy"), ("sync", "sums.npy"), ("sync", "status.npy"),
        ]  # fmt: skip
        assert marked == [[0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 1]]
        with injected(calls := Recording()):
            finish(writer)
    log = [(name, os.path.basename(path)) for name, path in calls.log]
    last_status = max(i for i, call in enumerate(log) if call == ("sync", "status.npy"))
    assert last_status < log.index(("rename", "f1")) < log.index(("rename", "pool.json"))
    assert log.index(("sync", "features")) < log.index(("rename", "pool.json"))


@pytest.mark.parametrize("failing", ["image.npy", "text.npy", "sums.npy", "status.npy"])
def test_d3__a_checkpoint_whose_flush_failed_is_not_tried_again_but_done_anew(tmp_path: Path, failing: str) -> None:
    """After a failed flush the system may have dropped the data and say 'done' the next time."""

    class Broken(Recording):
        def before(self, name: str, path: str) -> None:
            if name == "sync" and path.endswith(failing):
                raise OSError(errno.EIO, "broken")

    pool = make_pool(tmp_path / "pool")
    with pool.writing("encode"):
        writer = begin(pool)
        writer.write([0], **row_values([0]))
        with injected(Broken()), pytest.raises(DiskFault):
            writer.checkpoint()
        with pytest.raises(InputError, match="flush failed"):
            writer.write([1], **row_values([1]))
    encode(pool)
    assert pool.features().image[:, 0].tolist() == [1, 2, 3]


def test_create__interrupted_in_the_middle_of_the_batches_leaves_no_pool(tmp_path: Path) -> None:
    def batches() -> object:
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        Pool.create(tmp_path / "pool", batches=batches(), record={})  # type: ignore[arg-type]
    assert not (tmp_path / "pool" / "pool.json").exists()
    assert_sound(make_pool(tmp_path / "pool").path)

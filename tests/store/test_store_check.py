"""One changed bit in any artifact is found, named, and never scored with (M1); swapped and lost files too (M3)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from faults import Unflushed, flipped, injected
from small_pools import begin, copy_of, encode, make_pool, row_values, score

from chips_core import atomic
from chips_core.errors import PoolDamaged
from chips_core.store import CheckReport, Pool, Review, Severity, check_pool

FLIPS = 200


@pytest.fixture(autouse=True)
def _fast_disk() -> Iterator[None]:
    with injected(Unflushed()):
        yield


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    pool = make_pool(tmp_path / "pool", count=40)
    encode(pool)
    score(pool)
    return pool


READ: dict[str, Callable[[Pool], object]] = {
    "pairs": lambda pool: pool.kept(["pair_id"]),
    "image.npy": Pool.features,
    "text.npy": Pool.features,
    "status.npy": Pool.features,
    "sums.npy": Pool.features,
    "heads.safetensors": Pool.features,
    "identity.json": Pool.features,
    "run.parquet": lambda pool: pool.table("scores", "run"),
    "run.index.npy": lambda pool: pool.arrays("scores", "run"),
}


@pytest.mark.parametrize("part", READ)
def test_m1__a_flipped_bit_is_found_by_name_200_of_200_and_never_read(pool: Pool, part: str) -> None:
    (path,) = [p for p in pool.path.rglob("*") if part in p.name and p.is_file()]
    whole = path.read_bytes()
    manifest = pool.manifest
    for bit in np.random.default_rng(0).choice(len(whole) * 8, size=min(FLIPS, len(whole) * 8), replace=False).tolist():
        path.write_bytes(flipped(whole, bit=bit))
        fresh = Pool(pool.path, manifest, pool._lock)  # opened anew, without parsing the manifest each time
        with pytest.raises(PoolDamaged, match=path.name):
            READ[part](fresh)
        findings = check_pool(pool.path).findings
        assert [finding.file for finding in findings] == [str(path.relative_to(pool.path))]
    path.write_bytes(whole)
    assert check_pool(pool.path).sound


def test_m1__a_bit_flipped_after_the_pool_was_verified_is_still_found_in_parquet_pages(pool: Pool) -> None:
    pool.kept()
    path = next(pool.path.glob("pairs-*.parquet"))
    whole = path.read_bytes()
    start = whole.index(b"p0") if b"p0" in whole else 60
    path.write_bytes(flipped(whole, bit=start * 8))
    with pytest.raises(PoolDamaged, match="pairs-"):
        pool.kept()


def names(report: CheckReport) -> list[str]:
    return sorted(finding.file for finding in report.findings)


def test_check__a_sound_pool_has_no_findings(pool: Pool) -> None:
    report = check_pool(pool.path)
    assert report.sound
    assert not report.findings
    assert report.files == 1 + 1 + 6 + 2
    assert report.in_words().endswith("all sound")


@pytest.mark.parametrize("part", READ)
def test_m3__a_lost_a_renamed_and_a_linked_file_are_named(pool: Pool, tmp_path: Path, part: str) -> None:
    (path,) = [p for p in pool.path.rglob("*") if part in p.name and p.is_file()]
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    assert str(path.relative_to(pool.path)) in names(check_pool(pool.path))
    path.symlink_to(elsewhere)
    assert str(path.relative_to(pool.path)) in names(check_pool(pool.path))
    with pytest.raises(PoolDamaged, match="link"):
        READ[part](Pool.open_damaged(pool.path))


def test_m3__a_file_swapped_with_another_pools_is_named(pool: Pool, tmp_path: Path) -> None:
    other = make_pool(tmp_path / "other", count=40, broken=2)
    with other.writing("encode"):
        writer = begin(other)
        writer.write(range(40), **row_values([r + 50 for r in range(40)]))
        writer.commit(image_head=np.ones((2, 4)), text_head=np.ones((2, 3)), logit_scale=2.0)
    swapped = pool.path / "features" / "f1" / "image.npy"
    assert swapped.stat().st_size == (other.path / "features" / "f1" / "image.npy").stat().st_size
    swapped.write_bytes((other.path / "features" / "f1" / "image.npy").read_bytes())
    assert names(check_pool(pool.path)) == ["features/f1/image.npy"]
    with pytest.raises(PoolDamaged):
        Pool.open(pool.path).features()


def test_m3__another_pools_reviews_are_named(pool: Pool, tmp_path: Path) -> None:
    Review.open(make_pool(tmp_path / "other").path).close()
    (pool.path / "review.sqlite").write_bytes((tmp_path / "other" / "review.sqlite").read_bytes())
    assert names(check_pool(pool.path)) == ["review.sqlite"]
    with pytest.raises(PoolDamaged, match="another pool"):
        Review.open(pool.path)


@pytest.mark.parametrize(
    ("part", "kind"), [("image.npy", "features"), ("run.parquet", "scores"), ("run.index", "scores")]
)
def test_repair__drops_what_can_be_computed_again_and_the_rest_lives(pool: Pool, part: str, kind: str) -> None:
    with Review.open(pool.path) as review:
        review.add_verdict(pair_id="p1", verdict="correct", reviewer="r")
    (path,) = [p for p in pool.path.rglob("*") if part in p.name]
    path.write_bytes(flipped(path.read_bytes(), bit=77))
    report = check_pool(pool.path, repair=True)
    assert report.sound
    assert [(f.severity, f.repaired) for f in report.findings] == [(Severity.DAMAGE, True)]
    assert not check_pool(pool.path).findings
    fresh = Pool.open(pool.path)
    assert not fresh.manifest.of_kind(kind)
    assert len(fresh.kept(["pair_id"])) == 40
    encode(fresh)
    score(fresh)
    with Review.open(pool.path) as review:
        assert review.current_verdicts()["pair_id"].tolist() == ["p1"]


def test_repair__never_touches_pairs(pool: Pool) -> None:
    path = next(pool.path.glob("pairs-*.parquet"))
    damaged = flipped(path.read_bytes(), bit=77)
    path.write_bytes(damaged)
    report = check_pool(pool.path, repair=True)
    assert not report.sound
    assert path.read_bytes() == damaged
    assert [(f.file, f.repaired) for f in report.findings] == [(path.name, False)]


def test_repair__clears_leftovers_and_only_those(pool: Pool) -> None:
    plain = copy_of(pool.path, pool.path.with_name("copy"))
    (plain / "work" / "features-f9").mkdir()
    (plain / "work" / "features-f9" / "image.npy").touch()
    (plain / "features" / "f8").mkdir()
    (plain / "features" / "f8" / "image.npy").touch()
    (plain / "scores" / f"{atomic.TEMPORARY}x").touch()
    (plain / "scores" / "orphan.parquet").touch()
    (plain / f"{atomic.TEMPORARY}pool.json-1").touch()
    (plain / "jobs").mkdir()
    (plain / "jobs" / "log.txt").touch()
    (plain / "notes of the owner.txt").touch()
    report = check_pool(plain)
    assert report.sound
    assert names(report) == [
        ".tmp-pool.json-1", "features/f8", "scores/.tmp-x", "scores/orphan.parquet", "work/features-f9",
    ]  # fmt: skip
    check_pool(plain, repair=True)
    assert not check_pool(plain).findings
    assert (plain / "jobs" / "log.txt").exists()
    assert (plain / "notes of the owner.txt").exists()
    assert Pool.open(plain).features().done.all()

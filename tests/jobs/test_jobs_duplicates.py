"""The duplicates step: pictures saved anew are found by input row, whatever was not kept between them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chips_core.jobs import duplicates
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    draw = np.random.default_rng(0)
    source = tmp_path / "source"
    source.mkdir()
    first, other = (Image.fromarray(draw.integers(0, 255, (8, 8, 3), np.uint8)).resize((128, 128)) for _ in range(2))
    first.save(source / "first.png")
    (source / "broken.png").write_bytes(b"no image")
    other.save(source / "other.png")
    first.save(source / "again.jpg", quality=80)
    with (source / "pairs.csv").open("w", newline="") as handle:
        names = ("first.png", "broken.png", "other.png", "again.jpg")
        csv.writer(handle).writerows([("image", "caption"), *[(name, f"caption of {name}") for name in names]])
    run_step("intake", {"source": str(source), "pool": str(tmp_path / "pool"), "workers": 1}, progress=Silent())
    return Pool.open(tmp_path / "pool")


def test_run__finds_the_picture_saved_anew(pool: Pool) -> None:
    answer = run_step("duplicates", {"pool": str(pool.path), "workers": 1}, progress=Silent())
    assert answer == {"duplicates": "near-24", "groups": 1, "pairs": 2}
    pool.refresh()
    assert pool.table("duplicates", "near-24").to_numpy().tolist() == [[0, 0], [3, 0]]
    assert run_step("duplicates", {"pool": str(pool.path)}, progress=Silent()) == answer  # found, not made again


def test_run__none_are_none_and_unreadable_images_are_passed_over(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "source" / "again.jpg").unlink()
    answer = run_step("duplicates", {"pool": str(pool.path)}, progress=Silent())
    assert (answer["groups"], answer["pairs"]) == (0, 0)


def test_run__large_pools_are_compared_among_neighbours(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 0.01]], np.float32)  # of the kept pairs: first, other, again
    with pool.writing("test"):
        writer = pool.feature_writer(fingerprint="f", count=3, image_dim=2, text_dim=2, record={})
        writer.write(np.arange(3), image=vectors, text=vectors, status=np.ones(3, np.uint8))
        writer.commit(image_head=np.eye(2), text_head=np.eye(2), logit_scale=1.0)
    monkeypatch.setattr(duplicates, "COMPARED", 1)
    run_step("duplicates", {"pool": str(pool.path)}, progress=Silent())
    pool.refresh()
    assert pool.table("duplicates", "near-24")["input_row"].tolist() == [0, 3]

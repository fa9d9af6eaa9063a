"""The detect benchmark: its figures by hand, its splits, and the whole of it on a tiny data set of coloured squares."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chips_core.bench import base, detect, noisy_pool
from chips_core.bench.base import parts_of
from chips_core.bench.dataset import read_dataset
from chips_core.errors import InputError, UsageError

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200), "grey": (120, 120, 120)}


def write_folder(folder: Path, *, pairs: int = 200) -> Path:
    """A data set of coloured squares in two sources; every fourth pair shares its patient with the one before."""
    draw = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    with (folder / "pairs.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["pair_id", "image", "caption", "label", "class_prompt", "split", "group", "source"])
        for i in range(pairs):
            colour = list(COLOURS)[i % 4]
            noise = draw.integers(-30, 30, size=(16, 16, 3))
            pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
            split = "test" if i % 10 == 9 else "val" if i % 5 == 3 else "train"
            group, source = f"g{i - (i % 4 == 3)}", "warm" if i % 2 else "cold"
            row = [f"p{i:04d}", f"images/{i}.png", f"a {colour} square", colour, f"the colour {colour}", split, group]
            writer.writerow([*row, source])
    return folder


@pytest.fixture
def quick_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noisy_pool, "QUICK_RECIPE", replace(base.QUICK_RECIPE, epochs=2, batch_size=16))


def test_figures__by_hand() -> None:
    score = np.array([0.9, 0.8, 0.7, 0.1])
    wrong = np.array([True, False, True, False])
    found = detect.figures(score, wrong=wrong, order=np.arange(4))
    assert found == {"auroc": 0.75, "ap": pytest.approx((1 + 2 / 3) / 2), "p_at_10": 0.5, "p_at_100": 0.5}


def test_figures__equal_scores_are_chance_whoever_comes_first() -> None:
    wrong = np.arange(400) < 100
    order = np.random.default_rng(0).permutation(400)
    found = detect.figures(np.zeros(400), wrong=wrong, order=order)
    assert found["auroc"] == 0.5
    assert found["ap"] == pytest.approx(0.25, abs=0.06)


def test_figures__agree_with_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    draw = np.random.default_rng(1)
    wrong, score = draw.random(200) < 0.2, draw.normal(size=200)
    found = detect.figures(score, wrong=wrong, order=np.arange(200))
    assert found["auroc"] == pytest.approx(roc_auc_score(wrong, score))
    assert found["ap"] == pytest.approx(average_precision_score(wrong, score))


def test_parts_of__are_disjoint_and_divide_no_group(tmp_path: Path) -> None:
    data = read_dataset(write_folder(tmp_path / "d"))
    parts = parts_of(data, seed=0)
    everybody = [*parts.base, *parts.pool, *parts.target, *parts.test]
    assert sorted(everybody) == list(range(len(data)))
    groups = [{data.rows[place].group for place in some} for some in (parts.base, parts.pool)]
    assert not groups[0] & groups[1]
    assert len(parts.base) == pytest.approx(0.4 * (len(parts.base) + len(parts.pool)), abs=2)
    assert {data.rows[place].split for place in parts.test} == {"test"}


def test_parts_of__a_folder_without_splits_lends_groups_for_target_and_test(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "d", pairs=400)
    table = (folder / "pairs.csv").read_text()
    (folder / "pairs.csv").write_text(table.replace(",val,", ",,").replace(",test,", ",,").replace(",train,", ",,"))
    data = read_dataset(folder)
    parts = parts_of(data, seed=0)
    dealt = (parts.base, parts.pool, parts.target, parts.test)
    assert sorted(place for some in dealt for place in some) == list(range(len(data)))
    groups = [{data.rows[place].group for place in some} for some in dealt]
    assert all(not a & b for i, a in enumerate(groups) for b in groups[:i])
    assert len(parts.test) == pytest.approx(0.1 * 0.9 * len(data), abs=2)


def test_read_dataset__leaves_out_and_counts_what_cannot_be_used(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "d", pairs=20)
    (folder / "images" / "3.png").write_bytes(b"no picture")
    text = (folder / "pairs.csv").read_text().replace("a green square,green", ",green", 1)
    (folder / "pairs.csv").write_text(text)
    data = read_dataset(folder)
    assert (len(data), data.left_out) == (18, 2)


def test_parts_of__says_when_there_are_too_few_pairs(tmp_path: Path) -> None:
    data = read_dataset(write_folder(tmp_path / "d", pairs=40))
    with pytest.raises(InputError, match="pairs for the"):
        parts_of(data, seed=0)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_recipe")
def test_run__on_coloured_squares(tmp_path: Path) -> None:
    folder, cache = write_folder(tmp_path / "d"), tmp_path / "cache"
    result = detect.run(data=folder, noise=0.2, kind="within", seeds=2, quick=True, cache=cache)
    json.dumps(result, allow_nan=False)
    methods = result["methods"]
    assert {"queue", "queue_no_labels", "ecif_audit", "ecif_paper", "random", "cleanlab_captions"} <= set(methods)
    for row in methods.values():
        assert set(row) == {f + tail for f in detect.FIGURES for tail in ("", "_sd")}
    assert methods["queue"]["auroc"] > 0.9  # a caption of a colour that the label is not
    assert 0.2 < methods["random"]["auroc"] < 0.8
    assert "queue" in detect.table(result)
    trained = sorted(cache.rglob("*.safetensors"))
    again = detect.run(data=folder, noise=0.2, kind="within", seeds=2, quick=True, cache=cache)
    assert sorted(cache.rglob("*.safetensors")) == trained
    assert again["methods"]["queue"] == methods["queue"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_recipe")
def test_run__no_method_is_told_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the truth dealt at random after the scores are made, nobody does better than chance."""
    swap, draw = noisy_pool.swap_captions, np.random.default_rng(3)

    def lie(*args: object, **options: object) -> object:
        found = swap(*args, **options)  # type: ignore[arg-type]
        return replace(found, swapped=draw.permutation(found.swapped))

    monkeypatch.setattr(noisy_pool, "swap_captions", lie)
    result = detect.run(data=write_folder(tmp_path / "d", pairs=400), seeds=1, quick=True, cache=tmp_path / "cache")
    for row in result["methods"].values():
        assert 0.2 < row["auroc"] < 0.8


@pytest.mark.slow
@pytest.mark.usefixtures("quick_recipe")
def test_run__on_images_and_captions_alone(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "d", pairs=400)
    with (folder / "pairs.csv").open(newline="") as handle:
        rows = [{"image": row["image"], "caption": row["caption"]} for row in csv.DictReader(handle)]
    with (folder / "pairs.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["image", "caption"])
        writer.writeheader()
        writer.writerows(rows)
    result = detect.run(data=folder, seeds=1, quick=True, cache=tmp_path / "cache")
    assert set(result["queue_parts"]) <= {"peer_loss", "loss_residual", "influence"}
    assert result["methods"]["queue"] == result["methods"]["queue_no_labels"]
    assert "cleanlab_images" not in result["methods"]
    assert result["pairs"]["test"] == 36  # lent by train
    assert result["pairs"]["target"] == 40


def test_run__refuses_no_seeds(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 seeds"):
        detect.run(data=tmp_path, seeds=0)

"""The encode step: what it stores, and that a kill, a resume or a bad file mixes nothing up."""

import multiprocessing
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from encode_child import done_rows, encode_in_child
from tiny import tiny_dataset, tiny_model

from chips_core.clip import load_encoder
from chips_core.errors import InputError
from chips_core.jobs import encode, intake
from chips_core.jobs.models import model_named
from chips_core.progress import Silent
from chips_core.store import Pool, Status


def make_pool(folder: Path, *, count: int = 24) -> Path:
    source = tiny_dataset(folder / "source", count=count)
    intake.run(intake.Settings(str(source), str(folder / "pool"), workers=1), progress=Silent())
    return folder / "pool"


def settings(pool: Path, model: Path, **more: object) -> encode.Settings:
    return encode.Settings(str(pool), str(model), device="cpu", precision="fp32", **more)  # type: ignore[arg-type]


def test_run__features_are_the_encoders(tmp_path: Path) -> None:
    pool, model = make_pool(tmp_path), tiny_model(tmp_path / "model")
    result = encode.run(settings(pool, model, batch=5), progress=Silent())
    features = Pool.open(pool).features()
    encoder = load_encoder(model_named(str(model)), device="cpu", precision="fp32")
    kept = Pool.open(pool).kept(["image", "caption"])
    from chips_core.data import ImageOpener

    opener = ImageOpener(Pool.open(pool).source_root)
    pictures = torch.stack([encoder.preprocess(opener.read(name).image) for name in kept["image"]])
    expected = encoder.image_features(pictures).numpy()
    np.testing.assert_allclose(features.image, expected, rtol=2e-3, atol=2e-3)
    expected = encoder.text_features(encoder.tokenize(list(kept["caption"])).ids).numpy()
    np.testing.assert_allclose(features.text, expected, rtol=2e-3, atol=2e-3)
    assert result["pairs"]["done"] == len(kept)
    np.testing.assert_array_equal(features.heads.image, encoder.heads.image.numpy())


def test_run__twice_does_nothing_the_second_time(tmp_path: Path) -> None:
    pool, model = make_pool(tmp_path), tiny_model(tmp_path / "model")
    first = encode.run(settings(pool, model), progress=Silent())
    written = (pool / "pool.json").read_bytes()
    assert encode.run(settings(pool, model), progress=Silent()) == first
    assert (pool / "pool.json").read_bytes() == written


def test_a10__file_replaced_after_intake_is_changed(tmp_path: Path) -> None:
    pool, model = make_pool(tmp_path), tiny_model(tmp_path / "model")
    images = tmp_path / "source" / "images"
    (images / "p0003.png").write_bytes((images / "p0004.png").read_bytes())
    (images / "p0005.png").unlink()
    (images / "p0006.png").write_bytes((images / "p0006.png").read_bytes()[:60])
    encode.run(settings(pool, model), progress=Silent())
    opened = Pool.open(pool)
    status = dict(zip(opened.kept(["pair_id"])["pair_id"], opened.features().status, strict=True))
    assert status["p0003"] == Status.CHANGED
    assert status["p0005"] == Status.MISSING
    assert status["p0006"] == Status.BROKEN
    assert sum(s == Status.DONE for s in status.values()) == len(status) - 3


def test_d6__other_model_of_the_same_shape_is_refused(tmp_path: Path) -> None:
    pool, model = make_pool(tmp_path), tiny_model(tmp_path / "model")
    encode.run(settings(pool, model), progress=Silent())
    with pytest.raises(InputError, match="Fix:"):
        encode.run(settings(pool, tiny_model(tmp_path / "other", seed=1)), progress=Silent())


def test_d7__other_batch_and_workers_agree(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    found = []
    for name, batch, workers in (("a", 3, 1), ("b", 24, 2)):
        pool = make_pool(tmp_path / name)
        encode.run(settings(pool, model, batch=batch, workers=workers), progress=Silent())
        found.append(np.asarray(Pool.open(pool).features().image))
    np.testing.assert_allclose(found[0], found[1], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("count", [1, 2])
def test_d11__one_pair_and_two_pairs(tmp_path: Path, count: int) -> None:
    pool, model = make_pool(tmp_path, count=count), tiny_model(tmp_path / "model")
    assert encode.run(settings(pool, model), progress=Silent())["pairs"]["done"] == count


def test_b3__cut_captions_are_counted(tmp_path: Path) -> None:
    source = tiny_dataset(tmp_path / "source", count=6)
    text = (source / "pairs.csv").read_text().splitlines()
    long = "word " * 200
    text[1] = text[1].replace(text[1].split('"')[1], long + "one") if '"' in text[1] else text[1]
    text[2] = text[2].replace(text[2].split('"')[1], long + "two") if '"' in text[2] else text[2]
    (source / "pairs.csv").write_text("\n".join(text) + "\n")
    intake.run(intake.Settings(str(source), str(tmp_path / "pool"), workers=1), progress=Silent())
    result = encode.run(settings(tmp_path / "pool", tiny_model(tmp_path / "model")), progress=Silent())
    pool = Pool.open(tmp_path / "pool")
    assert result["captions_cut"] == 2
    assert pool.tables("captions")[0].record["alike_after_cut"] == 2
    assert set(pool.table("captions", result["features"])["pair_id"]) == {"p0000", "p0001"}


def test_d1__twenty_kills_then_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills the encoding process 20 times in the middle of its work; what is stored at the end has the same bits."""
    model = tiny_model(tmp_path / "model")
    whole, killed = make_pool(tmp_path / "whole", count=200), make_pool(tmp_path / "killed", count=200)
    context = multiprocessing.get_context("forkserver")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where the fork server finds encode_child
    context.set_forkserver_preload(["encode_child"])
    draw = random.Random(4)  # noqa: S311 -- a seeded choice of moments
    for _ in range(20):
        before = done_rows(killed)
        child = context.Process(target=encode_in_child, args=(str(killed), str(model)))
        child.start()
        while child.is_alive() and done_rows(killed) == before:
            time.sleep(0.01)
        time.sleep(draw.random() * 0.004)
        assert child.is_alive(), "the work ended before the kill: the test would prove nothing"
        child.kill()
        child.join()
    for pool in (whole, killed):
        child = context.Process(target=encode_in_child, args=(str(pool), str(model)))
        child.start()
        child.join(300)
        assert child.exitcode == 0
    left, right = Pool.open(whole).features(), Pool.open(killed).features()
    assert np.asarray(left.image).tobytes() == np.asarray(right.image).tobytes()
    assert np.asarray(left.text).tobytes() == np.asarray(right.text).tobytes()

"""How far predictions can be believed: measured once, kept by model, question and images, read by the page."""

from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest
from tiny import tiny_dataset, tiny_model

from chips_core.errors import PoolDamaged
from chips_core.jobs import trace_pool
from chips_core.jobs.steps import run_step
from chips_core.jobs.trace_pool import HONESTY, Prepared, Settings, measure_honesty, prepare
from chips_core.progress import Silent, Stopped
from chips_core.store import Pool
from chips_core.store.check import check_pool
from chips_core.verify.tracer import honesty_of
from chips_core.views.trace import honesty_in_words

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pool(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(trace_pool, "REMOVALS", 3)
    source = tiny_dataset(tmp_path / "data", count=72)
    run_step("intake", {"source": str(source), "pool": str(tmp_path / "pool")}, progress=Silent())
    model = str(tiny_model(tmp_path / "model"))
    run_step("encode", {"pool": str(tmp_path / "pool"), "model": model}, progress=Silent())
    return tmp_path / "pool"


def ready_of(pool: Path, **asked) -> Prepared:
    return prepare(Pool.open(pool), Settings(str(pool), probes=8, **asked), progress=Silent())


def kept(pool: Path) -> list:
    return Pool.open(pool).tables(HONESTY)


def never(*_, **__):
    raise AssertionError("measured again")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_measure_honesty__is_that_of_the_first_wrong_predictions_stored_once_and_found_again(pool, monkeypatch):
    ready = ready_of(pool)
    assert ready.honesty is None
    found = measure_honesty(ready, progress=Silent())
    wrong = [place for place in range(len(ready.wrong)) if ready.wrong[place]][: trace_pool.HONEST_IMAGES]
    images, labels = ready.test.features.image[wrong], torch.tensor(ready.test.labels[wrong])
    share = trace_pool.SHARE
    assert found == honesty_of(ready.tracer, images, labels, removals=3, share=share, seed=0)
    monkeypatch.setattr(trace_pool, "honesty_of", never)
    again = ready_of(pool)
    assert again.honesty == found
    assert measure_honesty(again, progress=Silent()) == found
    assert [artifact.record["removals"] for artifact in kept(pool)] == [3]


def test_measure_honesty__other_questions_and_other_images_have_figures_of_their_own(pool):
    """What was measured on the test split must not be shown for another split, nor for the captions."""
    asked = ({}, {"test": "val"}, {"question": "caption"})
    found = [measure_honesty(ready_of(pool, **settings), progress=Silent()) for settings in asked]
    assert len(kept(pool)) == 3
    assert len({(one.spearman, one.slope) for one in found}) == 3
    assert [ready_of(pool, **settings).honesty for settings in asked] == found


def test_measure_honesty__a_stopped_one_keeps_nothing_and_is_done_again(pool, monkeypatch):
    def stops(*_, tick, **__):
        tick(1)
        raise Stopped(143)

    ready = ready_of(pool)
    with monkeypatch.context() as stopped:
        stopped.setattr(trace_pool, "honesty_of", stops)
        with pytest.raises(Stopped):
            measure_honesty(ready, progress=Silent())
    assert not kept(pool)
    assert check_pool(pool).sound
    assert measure_honesty(ready, progress=Silent()) is not None


def test_m1__a_changed_bit_is_told_dropped_by_repair_and_measured_again(pool):
    found = measure_honesty(ready_of(pool), progress=Silent())
    name = kept(pool)[0].name
    flip(pool / HONESTY / f"{name}.parquet")
    with pytest.raises(PoolDamaged, match=f"{HONESTY}/{name}.parquet is damaged"):
        ready_of(pool)
    assert [finding.file for finding in check_pool(pool, repair=True).findings] == [f"{HONESTY}/{name}.parquet"]
    ready = ready_of(pool)
    assert ready.honesty is None
    assert measure_honesty(ready, progress=Silent()) == found


def test_page__shows_what_is_stored_says_what_is_damaged_and_offers_to_measure(pool, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CHIPS_POOL", str(pool))
    monkeypatch.setenv("CHIPS_ROOTS", str(pool.parent))

    def said() -> str:
        at = AppTest.from_file(str(ROOT / "pages" / "navigation.py"), default_timeout=120)
        at.query_params["image"] = image
        at.run().switch_page("mispredictions.py")
        at.query_params["image"] = image
        at.run()
        assert not at.exception
        words = [*at.text, *at.error, *at.button]
        return " ".join(str(getattr(w, "label", "") if w.type == "button" else w.value) for w in words).replace(
            "\\", ""
        )

    before = prepare(Pool.open(pool), Settings(str(pool)), progress=Silent(), measure=False)
    image = before.test.pairs["pair_id"].iloc[int(before.wrong.argmax())]
    assert "Measure it" in said()
    ready = prepare(Pool.open(pool), Settings(str(pool)), progress=Silent())
    found = measure_honesty(ready, progress=Silent())
    assert honesty_in_words(found) in said()
    assert "Measure it" not in said()
    flip(pool / HONESTY / f"{kept(pool)[0].name}.parquet")
    Pool.open(pool).remove("traces", Pool.open(pool).tables("traces")[0].name)  # so that nothing is remembered
    assert "is damaged: it is not what was written. Run: chips check" in said()
    check_pool(pool, repair=True)
    assert "Measure it" in said()

"""The page of wrong predictions: matrix to trace to removal to verdict, and what it says when something is missing."""

from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from tiny import tiny_dataset, tiny_model

from chips_core.jobs.steps import run_step
from chips_core.jobs.trace_answers import explain
from chips_core.jobs.trace_pool import Prepared, Settings, prepare
from chips_core.progress import Silent
from chips_core.store import Pool

ROOT = Path(__file__).resolve().parents[2]


def build(folder: Path, *, labels: bool = True) -> Path:
    source = tiny_dataset(folder / "data", count=72)
    table = pd.read_csv(source / "pairs.csv", dtype=str)
    if labels:
        table.loc[table.index[-1], "image"] = table.loc[0, "image"]
        table["label"] = table["label"].replace("bar", "<b>*bar*</b> {0}")
    else:
        table = table.drop(columns=["label", "class_prompt"])
    table.to_csv(source / "pairs.csv", index=False)
    pool = folder / "pool"
    run_step("intake", {"source": str(source), "pool": str(pool)}, progress=Silent())
    run_step("encode", {"pool": str(pool), "model": str(tiny_model(folder / "model"))}, progress=Silent())
    return pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("wrong"))


@pytest.fixture
def ready(pool) -> Prepared:
    return prepare(Pool.open(pool), Settings(str(pool)), progress=Silent(), measure=False)


def opened(monkeypatch, folder, **query) -> AppTest:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CHIPS_POOL", str(folder))
    monkeypatch.setenv("CHIPS_ROOTS", str(folder.parent))

    def script(path: str) -> None:
        import runpy

        from pages.parts.opened import open_wanted

        open_wanted()
        runpy.run_path(path)

    at = AppTest.from_function(script, args=(str(ROOT / "pages" / "mispredictions.py"),), default_timeout=120)
    for name, value in query.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception, at.exception
    return at


def said(at: AppTest) -> str:
    return " ".join(str(e.value) for kind in (at.text, at.info, at.error) for e in kind).replace("\\", "")


def press(at: AppTest, key: str) -> None:
    at.button(key=key).click().run()
    assert not at.exception, at.exception


def test_page__counts_the_errors_and_tells_the_leak_first(monkeypatch, pool, ready):
    at = opened(monkeypatch, pool)
    assert "Leak: 1 test images" in said(at)
    assert f"gets {int(ready.wrong.sum()):,} of" in said(at)
    cells = next(e.value for e in at.dataframe)
    assert cells["images"].sum() == ready.wrong.sum()


def test_page__traces_removes_and_retrains(monkeypatch, pool, ready):
    image = str(ready.test.pairs["pair_id"].iloc[int(ready.wrong.argmax())])
    at = opened(monkeypatch, pool, image=image)
    assert "Tick pairs" in said(at)
    press(at, "tick_all")
    assert list(at.dataframe[0].value.columns) == ["class", "before", "predicted without them"]
    press(at, "retrain")
    table = at.dataframe[0].value
    assert list(table.columns)[1:] == ["before", "predicted without them", "really retrained"]
    assert (table["really retrained"] != table["before"]).any()


def test_judge__saves_on_the_ticked_pairs_and_takes_back(ready):
    from pages.parts.review.resources import ledger_of, unscored_of
    from pages.parts.trace.acts import judge

    chosen = explain(ready, [int(ready.wrong.argmax())], mode="plain", top=2)
    scored = unscored_of(ready.pool)
    assert "Tick a pair first" in judge(ready.pool, scored, chosen.head(0), key="m").text
    assert judge(ready.pool, scored, chosen, key="7") is None
    assert judge(ready.pool, scored, chosen, key="m").saved
    held = ledger_of(ready.pool).held()
    assert {held[pair].verdict for pair in chosen["pair_id"]} == {"wrong pair"}
    assert judge(ready.pool, scored, chosen, key="z").saved
    assert not set(chosen["pair_id"]) & set(ledger_of(ready.pool).held())


def test_page__a_leaked_image_is_told_beside_its_trace(monkeypatch, pool, ready):
    image = str(ready.test.pairs["pair_id"].iloc[int(ready.test.leaked.argmax())])
    assert "Leak: this test image" in said(opened(monkeypatch, pool, image=image))


def test_page__an_unknown_image_is_told_and_the_way_back_works(monkeypatch, pool):
    at = opened(monkeypatch, pool, image="nobody")
    assert "no image of that id" in said(at)
    press(at, "back")
    assert "test images wrong" in said(at)


def test_page__without_labels_explains_and_offers_retrieval(monkeypatch, tmp_path):
    at = opened(monkeypatch, build(tmp_path, labels=False))
    assert "classes with prompts" in said(at)
    assert "Own caption first" in said(at)


def test_page__without_a_test_split_says_so(monkeypatch, tmp_path):
    source = tiny_dataset(tmp_path / "data", count=36)
    table = pd.read_csv(source / "pairs.csv", dtype=str)
    table["split"] = table["split"].replace("test", "train")
    table.to_csv(source / "pairs.csv", index=False)
    run_step("intake", {"source": str(source), "pool": str(tmp_path / "pool")}, progress=Silent())
    model = str(tiny_model(tmp_path / "model"))
    run_step("encode", {"pool": str(tmp_path / "pool"), "model": model}, progress=Silent())
    assert "no encoded pair in the split 'test'" in said(opened(monkeypatch, tmp_path / "pool"))

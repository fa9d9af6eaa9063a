"""The page of wrong predictions: matrix to trace to removal to verdict, and what it says when something is missing."""

from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from tiny import tiny_dataset, tiny_model

from chips_core.jobs import runner, trace_pool
from chips_core.jobs.runner import StepRequest
from chips_core.jobs.steps import run_step
from chips_core.jobs.trace_answers import accuracy_of, errors_table, explain
from chips_core.jobs.trace_pool import Prepared, Settings, prepare
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.views.trace import class_lines, shortened
from pages.parts.trace.view import LONGEST_CLASS

ROOT = Path(__file__).resolve().parents[2]
ODD = "<b>*bar*</b> {0} $x$ :red[y]\nof two lines"


def build(folder: Path, *, change=None, before_encode=None) -> Path:
    """Makes a pool of 72 pairs, 12 of them to test on, of which the last one shows a training image."""
    source = tiny_dataset(folder / "data", count=72)
    table = pd.read_csv(source / "pairs.csv", dtype=str)
    table.loc[table.index[-1], "image"] = table.loc[0, "image"]
    table["label"] = table["label"].replace("bar", ODD)
    table = change(table) if change else table
    table.to_csv(source / "pairs.csv", index=False)
    pool = folder / "pool"
    run_step("intake", {"source": str(source), "pool": str(pool)}, progress=Silent())
    if before_encode:
        before_encode(source)
    run_step("encode", {"pool": str(pool), "model": str(tiny_model(folder / "model"))}, progress=Silent())
    return pool


def without_labels(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=["label", "class_prompt"])


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("wrong"))


@pytest.fixture(scope="module")
def plain_pool(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("plain"), change=without_labels)


def ready_of(pool: Path, question="class") -> Prepared:
    return prepare(Pool.open(pool), Settings(str(pool), question=question), progress=Silent(), measure=False)


@pytest.fixture
def ready(pool) -> Prepared:
    return ready_of(pool)


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


def first_words(at: AppTest) -> str:
    """Returns the first thing that the page says below its title."""
    kinds = ("text", "info", "error", "success", "subheader", "markdown")
    return next(str(element.value) for element in flat(at.main) if element.type in kinds).replace("\\", "")


def flat(block) -> list:
    """Returns the elements of a block in the order in which they are drawn."""
    found = []
    for child in block.children.values():
        found += flat(child) if hasattr(child, "children") else [child]
    return found


def press(at: AppTest, key: str) -> None:
    at.button(key=key).click().run()
    assert not at.exception, at.exception


def test_page__counts_the_errors_and_tells_the_leak_first(monkeypatch, pool, ready):
    at = opened(monkeypatch, pool)
    assert first_words(at).startswith("Leak: 1 test image is in the training pairs too")
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


def test_page__ticks_and_refit_of_the_address_are_there_and_strange_ones_are_not(monkeypatch, pool, ready):
    image = str(ready.test.pairs["pair_id"].iloc[int(ready.wrong.argmax())])
    known = str(ready.pair_ids[3])
    at = opened(monkeypatch, pool, image=image, ticked=[known, "no such pair"], really="1")
    assert "Predicted without 1 pair:" in said(at)  # nobody excluded that pair and the strange one
    at = opened(monkeypatch, pool, image=image, ticked=[known], really="1")
    assert "Really retrained without 1 pair:" in said(at)
    press(at, "tick_all")  # another set: what was retrained is no longer its answer
    assert "Predicted without" in said(at)
    assert len(at.query_params["ticked"]) > 1
    assert "really" not in at.query_params
    press(at, "untick_all")
    assert "Tick pairs" in said(at)
    press(at, "back")
    assert not {"image", "ticked", "really"} & set(at.query_params)


def test_page__pairs_can_be_followed_through_the_whole_training(monkeypatch, pool, ready):
    image = str(ready.test.pairs["pair_id"].iloc[int(ready.wrong.argmax())])
    at = opened(monkeypatch, pool, image=image)
    assert "measured at the model that came of the training" in said(at)
    at.segmented_control(key="trace_way").set_value("fit").run()
    assert not at.exception
    assert "followed through each step of the training" in said(at)
    assert "predicted change of the loss if the pair is removed" in said(at)
    press(at, "tick_all")
    assert "Through the whole training:" in said(at)
    address = {name: at.query_params[name] for name in ("image", "way", "ticked")}
    count = len(address["ticked"])
    at = opened(monkeypatch, pool, **address)  # a reload
    assert at.segmented_control(key="trace_way").value == "fit"
    assert f"Predicted without {count} pair" in said(at)
    assert "Through the whole training:" in said(at)
    at.segmented_control(key="trace_way").set_value("exact").run()
    assert "way" not in at.query_params
    assert f"Predicted without {count} pair" in said(at)  # also those that this list does not show
    at = opened(monkeypatch, pool, image=image, way="no such way")
    assert at.segmented_control(key="trace_way").value == "exact"


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


def test_page__a_leaked_image_is_told_before_its_trace(monkeypatch, pool, ready):
    image = str(ready.test.pairs["pair_id"].iloc[int(ready.test.leaked.argmax())])
    assert first_words(opened(monkeypatch, pool, image=image)).startswith("Leak: this test image is in the training")


def test_page__an_unknown_image_is_told_and_the_way_back_works(monkeypatch, pool):
    at = opened(monkeypatch, pool, image="nobody")
    assert "no pair of that id" in said(at)
    press(at, "back")
    assert "test images wrong" in said(at)


def test_page__class_names_are_shown_as_they_are_and_reach_the_trace_of_a_cell(monkeypatch, pool, ready):
    errors = errors_table(ready)
    cell = errors[(errors["label"] == ODD) | (errors["predicted"] == ODD)].iloc[0]
    at = opened(monkeypatch, pool)
    names = set(at.dataframe[0].value["truth"]) | set(at.dataframe[0].value["taken for"])
    assert ODD in names
    assert not [m.value for m in at.markdown if "bar" in m.value]
    count = len(errors[(errors["label"] == cell["label"]) & (errors["predicted"] == cell["predicted"])])
    at = opened(monkeypatch, pool, truth=cell["label"], guess=cell["predicted"])
    told = f"{count:,} images of {cell['label']} taken for {cell['predicted']}"
    assert (told in [t.value for t in at.text]) == (count > 1)
    press(at, "tick_all")
    assert shortened(ODD, most=LONGEST_CLASS) in set(at.dataframe[0].value["class"])
    assert not [m.value for m in at.markdown if "bar" in m.value]


def test_page__a_class_without_a_test_image_has_no_number(monkeypatch, tmp_path):
    def no_test_ring(table):
        return table[(table["label"] != "ring") | (table["split"] != "test")]

    folder = build(tmp_path, change=no_test_ring)
    ready = ready_of(folder)
    lines = {line.name: line.value for line in class_lines(accuracy_of(ready))}
    assert lines["ring"] == "no image"
    assert set(lines) == {"disc", "ring", ODD}
    at = opened(monkeypatch, folder)
    assert "ring" not in set(at.dataframe[0].value["truth"])
    at = opened(monkeypatch, folder, image=errors_table(ready)["pair_id"].iloc[0])
    assert "ring" in set(at.dataframe[0].value["class"])  # it can still be guessed


def test_page__images_that_cannot_be_read_are_counted_and_explained(monkeypatch, tmp_path):
    def torn(table):
        (tmp_path / "data" / table["image"].iloc[-2]).write_bytes(b"not an image")
        return table

    def gone(source):
        (source / "images" / "p0069.png").unlink()

    folder = build(tmp_path, change=torn, before_encode=gone)
    at = opened(monkeypatch, folder)
    assert "2 rows of the test split have no caption, or an image that could not be read" in said(at)
    assert "of 10 test images wrong" in said(at)
    assert "not used (broken:" in said(opened(monkeypatch, folder, image="p0070"))
    assert "could not be read when the pool was encoded" in said(opened(monkeypatch, folder, image="p0069"))
    assert "not of the test split" in said(opened(monkeypatch, folder, image="p0000"))
    image = errors_table(ready_of(folder))["pair_id"].iloc[0]
    (tmp_path / "data" / "images" / f"{image}.png").unlink()  # read before, gone now: the features are kept
    assert "Tick pairs" in said(opened(monkeypatch, folder, image=image))


def test_page__without_labels_tells_the_leak_and_what_is_missing_and_offers_retrieval(monkeypatch, plain_pool):
    at = opened(monkeypatch, plain_pool)
    assert first_words(at).startswith("Leak: 1 test image")
    assert "has no labels" in said(at)
    wrong = int(ready_of(plain_pool, "caption").wrong.sum())
    assert f"than its own for {wrong:,} of 12 test images" in said(at)
    assert not at.get("button_group")  # there is no other question


def one_class(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(label="disc")


def none_to_test(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(label=table["label"].where(table["split"] != "test", ""))


@pytest.mark.parametrize(
    ("change", "words"),
    [(one_class, "has only one class"), (none_to_test, "No pair of the split 'test' has a label")],
)
def test_page__labels_that_cannot_be_wrong_are_explained_and_retrieval_offered(monkeypatch, tmp_path, change, words):
    at = opened(monkeypatch, build(tmp_path, change=change))
    assert words in said(at)
    assert "Own caption first" in said(at)


def test_page__traces_a_retrieval_error_and_retrains(monkeypatch, plain_pool):
    ready = ready_of(plain_pool, "caption")
    image = errors_table(ready)["pair_id"].iloc[0]
    at = opened(monkeypatch, plain_pool, image=image, ask="caption")
    assert "no labels" not in said(at)
    press(at, "tick_all")
    press(at, "retrain")
    table = at.dataframe[0].value
    assert set(table["class"]) <= set(ready.classes)
    assert (table["really retrained"] != table["before"]).any()
    press(at, "back")
    assert "Own caption first" in said(at)


def test_page__both_questions_can_be_asked_where_there_are_labels(monkeypatch, pool):
    at = opened(monkeypatch, pool)
    at.get("button_group")[0].set_value("caption").run()
    assert "Own caption first" in said(at)
    assert "caption" in at.query_params["ask"]
    at.get("button_group")[0].set_value("class").run()
    assert "test images wrong" in said(at)
    assert "ask" not in at.query_params


def test_page__a_large_pool_is_fitted_by_a_job_not_while_one_waits(monkeypatch, tmp_path):
    folder = build(tmp_path, change=without_labels)
    monkeypatch.setattr(trace_pool, "FITTED_AT_ONCE", 10)
    at = opened(monkeypatch, folder)
    assert "has no labels" in said(at)
    assert "not fitted to the 48 pairs" in said(at)
    started = []
    monkeypatch.setattr(runner, "start", lambda pool, steps: started.append((pool, *steps)))
    at.button(key="trace_job").click().run()  # it would go on to the page of the jobs, if this were the whole app
    asked = {"pool": str(folder), "question": "caption"}
    assert started == [(folder, StepRequest("trace", asked))]
    run_step("trace", {**asked, "probes": 8}, progress=Silent())
    assert "Own caption first" in said(opened(monkeypatch, folder))


def test_page__without_a_test_split_says_so(monkeypatch, tmp_path):
    source = tiny_dataset(tmp_path / "data", count=36)
    table = pd.read_csv(source / "pairs.csv", dtype=str)
    table["split"] = table["split"].replace("test", "train")
    table.to_csv(source / "pairs.csv", index=False)
    run_step("intake", {"source": str(source), "pool": str(tmp_path / "pool")}, progress=Silent())
    model = str(tiny_model(tmp_path / "model"))
    run_step("encode", {"pool": str(tmp_path / "pool"), "model": model}, progress=Silent())
    assert "no encoded pair in the split 'test'" in said(opened(monkeypatch, tmp_path / "pool"))

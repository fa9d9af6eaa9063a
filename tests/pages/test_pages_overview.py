"""The Overview page: the one button that leads on, the chosen run, and captions shown as they are."""

from pathlib import Path

import pytest
from pool_states import app, many, no_pool, words

from chips_core.jobs import runner
from chips_core.jobs.runner import StepRequest
from chips_core.store import Pool
from pages.parts import charts
from pages.parts.opened import literal


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a large pool with two runs; the newer one was measured against another target set."""
    path = many(tmp_path_factory.mktemp("many"))
    pool = Pool.open(path)
    record = pool.tables("scores")[0].record | {"target": "elsewhere"}
    pool.write_table("scores", "paper-2", pool.table("scores", "paper-1"), record=record, fingerprint="s2")
    return path


@pytest.fixture(autouse=True)
def _own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHIPS_ROOTS", raising=False)


def test_overview__shows_the_pool_and_one_primary_button(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIPS_POOL", str(large))
    monkeypatch.chdir(large.parent)
    test = app()
    assert [metric.value for metric in test.metric] == ["10,000", "made up", "elsewhere", "1 method"]
    primary = [button.label for button in test.button if button.proto.type == "primary"]
    assert primary == ["Look at misaligned pairs"]
    findings = test.dataframe[0].value["finding"].tolist()
    assert findings[:2] == ["Image in several splits", "Patient in several splits"]


def test_overview__another_run_by_its_address(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIPS_POOL", str(large))
    monkeypatch.chdir(large.parent)
    assert "elsewhere" in [metric.value for metric in app().metric]  # the newest
    assert "val" in [metric.value for metric in app(query={"run": "paper-1"}).metric]
    assert "elsewhere" in [metric.value for metric in app(query={"run": "junk"}).metric]


def test_overview__the_suspect_side_of_zero_is_told_and_orange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, shapes = Pool.open(many(tmp_path)), []
    columns = [
        {"column": name, "method": name, "higher_is": higher, "signed": True}
        for name, higher in (("utility", "valuable"), ("peer_loss", "suspect"))
    ]
    table = pool.table("scores", "paper-1").rename(columns={"clipscore": "utility"})
    record = pool.tables("scores")[0].record | {"columns": columns}
    pool.write_table("scores", "two", table.assign(peer_loss=-table["utility"]), record=record, fingerprint="s2")
    monkeypatch.setenv("CHIPS_POOL", str(pool.path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(charts, "_draw", lambda data, **_: shapes.extend(data.get("shapes", [])))
    test = app()
    assert {shape["towards"]: shape["low_first"] for shape in shapes} == {
        "high = valuable": True,
        "high = suspect": False,
    }
    assert "the suspect side is orange" in words(test)
    assert "the suspect side is orange" not in words(app(query={"run": "paper-1"}))


def test_overview__without_a_pool_builds_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[Path, list[StepRequest]]] = []
    monkeypatch.setattr(runner, "start", lambda pool, steps: started.append((pool, list(steps))))
    monkeypatch.setenv("CHIPS_POOL", str(no_pool(tmp_path)))
    monkeypatch.chdir(tmp_path)
    test = app()
    assert "Try the demo" in words(test)
    test.button(key="build_demo").click().run()
    assert not test.exception
    assert [(pool.name, [step.step for step in steps]) for pool, steps in started] == [("demo", ["demo"])]


@pytest.mark.parametrize(
    "text", ["**b**", "![](http://x)", "[x](javascript:1)", "$a$", ":red[x]", "<script>", "# h", "1. a", "`c`"]
)
def test_literal__nothing_is_left_for_markdown(text: str) -> None:
    escaped = literal(text)
    assert escaped.replace("\\", "") == text
    marks = set("\\`*_{}[]()#+-.!|<>~$:")
    assert all(escaped[n - 1] == "\\" for n, c in enumerate(escaped) if c in marks - {"\\"})

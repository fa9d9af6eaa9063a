"""The Runs page: what a person chose becomes one job; paths stay inside; a failure says what to do."""

import json
import os
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest
from pool_states import app, not_encoded, words
from streamlit.testing.v1 import AppTest
from tiny import tiny_dataset

from chips_core.jobs import runner
from chips_core.jobs.runner import StepRequest
from chips_core.views import catalogue
from chips_core.views.catalogue import Catalogue, MethodEntry

METHODS = (
    MethodEntry("queue", "Misalignment queue", "Which pairs to look at.", "We.", ("heads fitted to the pool",)),
    MethodEntry("clipscore", "CLIPScore", "How similar.", "They.", ()),
    MethodEntry("trak", "TRAK", "Agreement.", "They.", ("a target set",)),
    MethodEntry("none", "Needs a thing", "Never.", "They.", ("class prompts",)),
)
Started = list[tuple[Path, list[StepRequest]]]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """Lets no job really start, and says which were asked for."""
    asked: Started = []
    monkeypatch.setattr(runner, "start", lambda pool, steps: asked.append((pool, list(steps))))
    known: Future[Catalogue] = Future()
    known.set_result(Catalogue(METHODS, ()))
    monkeypatch.setattr(catalogue, "catalogue_soon", lambda: known)  # what is asked once in a process stays unasked
    monkeypatch.setenv("CHIPS_ROOTS", str(tmp_path))
    monkeypatch.setenv("CHIPS_POOL", str(tmp_path / "plain"))
    monkeypatch.chdir(tmp_path)
    return asked


def test_compute__one_job_of_what_is_missing(started: Started, tmp_path: Path) -> None:
    pool = not_encoded(tmp_path)
    test = app("runs.py")
    test.button(key="start_pool").click().run()
    assert not test.exception
    ((folder, steps),) = started
    assert folder == pool
    assert [step.step for step in steps] == ["encode", "score", "duplicates", "map"]
    assert steps[0].settings["model"] == "demo"
    assert steps[1].settings["methods"] == ["queue", "clipscore"]


def test_compute__what_cannot_be_computed_is_shown_with_the_reason(started: Started, tmp_path: Path) -> None:
    not_encoded(tmp_path)
    test = app("runs.py")
    test.radio(key="pool_mode").set_value("paper").run()
    queue = next(box for box in test.checkbox if "Misalignment" in box.label)
    assert queue.disabled
    assert "choose audit mode" in queue.label
    test.button(key="start_pool").click().run()
    assert started[0][1][1].settings["methods"] == ["clipscore"]
    assert started[0][1][1].settings["mode"] == "paper"


def bring_in(path: str) -> AppTest:
    test = app()
    test.query_params["do"] = "new"
    test.switch_page("runs.py")
    test.session_state["do"] = "new"
    test.session_state["source_path"] = path
    return test.run()


def test_bring_in__a_data_set_becomes_a_job(started: Started, tmp_path: Path) -> None:
    source = tiny_dataset(tmp_path / "my source", count=24)
    test = bring_in(str(source))
    assert not test.exception
    assert "A dataset folder" in words(test)
    assert len(test.dataframe[0].value) == 20
    test.button(key="start_bring").click().run()
    ((folder, steps),) = started
    assert folder == tmp_path / "my source pool"  # the source has that name already
    assert [step.step for step in steps] == ["intake", "encode", "score", "duplicates", "map"]
    json.dumps([dict(step.settings) for step in steps])  # plain data only
    assert {step.settings["pool"] for step in steps} == {str(folder)}


def test_bring_in__a_chosen_column_goes_into_the_job(started: Started, tmp_path: Path) -> None:
    source = tiny_dataset(tmp_path / "deep", count=24)
    test = bring_in(str(source))
    test.selectbox(key=f"column_caption_{source}").set_value("label").run()
    assert set(test.dataframe[0].value["caption"]) == {"disc", "bar", "ring"}
    test.button(key="start_bring").click().run()
    assert started[0][1][0].settings["caption_col"] == "label"


@pytest.mark.parametrize("path", ["/etc", "../../etc/passwd", "file:///etc", "pipe:touch x", "a\0b", "C:\\x"])
def test_k6__paths_outside_are_refused_by_naming_the_roots(started: Started, tmp_path: Path, path: str) -> None:
    test = bring_in(path)
    assert not test.exception
    assert str(tmp_path) in words(test).replace("\\", "")
    assert not [button for button in test.button if button.key == "start_bring"]
    assert not started


@pytest.mark.parametrize("name", ["$(touch x)", "; rm -rf", "--help", "../x"])
def test_k10__a_name_that_is_none_starts_nothing(started: Started, tmp_path: Path, name: str) -> None:
    source = tiny_dataset(tmp_path / "deep", count=24)
    test = bring_in(str(source))
    test.text_input(key=f"pool_name_{source}").set_value(name).run()
    assert "cannot be the name" in words(test)
    assert not [button for button in test.button if button.key == "start_bring"]
    assert not started


def job_of(pool: Path, *, step: str, state: dict[str, object]) -> Path:
    """Writes a job into a pool as it would stand on disk; returns its folder."""
    job = pool / "jobs" / "20260101T000000000000"
    job.mkdir(parents=True)
    (job / "request.json").write_text(json.dumps({"steps": [{"step": step, "settings": {"pool": str(pool)}}]}))
    (job / "state.json").write_text(json.dumps(state))
    return job


FAILED: dict[str, object] = {"status": "failed", "message": "No weights here. Fix: put them there.", "exit_code": 3}


def test_job__a_failure_says_what_to_do_and_can_be_resumed(started: Started, tmp_path: Path) -> None:
    job_of(not_encoded(tmp_path), step="encode", state=FAILED)
    test = app("runs.py")
    assert "No weights here. Fix: put them there." in words(test).replace("\\", "")
    assert test.button(key="resume_job").label == "Resume"
    test.button(key="resume_job").click().run()
    assert not test.exception
    assert [step.step for step in started[0][1]] == ["encode"]


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(("step", "index", "words"), [("export", 0, "Try again"), ("map", 1, "Resume")])
def test_job__one_that_begins_anew_is_tried_again(tmp_path: Path, step: str, index: int, words: str) -> None:
    job_of(not_encoded(tmp_path), step=step, state=FAILED | {"step_index": index})
    assert app("runs.py").button(key="resume_job").label == words


@pytest.mark.parametrize(("step", "told"), [("encode", False), ("export", True)])
@pytest.mark.usefixtures("started")
def test_job__curate_tells_of_its_own_failures_only(tmp_path: Path, step: str, told: bool) -> None:
    job_of(not_encoded(tmp_path), step=step, state=FAILED)
    assert ("No weights here" in words(app("curate.py"))) == told


@pytest.mark.usefixtures("started")
def test_job__of_a_pool_to_come_is_shown_on_the_overview_and_other_pages_lead_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_of(tmp_path / "coming", step="demo", state=FAILED)
    monkeypatch.setenv("CHIPS_POOL", str(tmp_path / "coming"))
    assert "No weights here" in words(app()).replace("\\", "")
    test = app("map.py")
    assert [title.value for title in test.title] == ["Map"]
    test.button(key="way_on").click().run()
    assert "No weights here" in words(test).replace("\\", "")


@pytest.mark.usefixtures("started")
def test_job__while_one_is_alive_no_other_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = {"pid": os.getpid(), "pid_started": psutil.Process().create_time()}
    at = {"status": "running", "stage": "encode", "done": 5, "total": 10, "rate": 2.0, "seconds_left": 125.0}
    job = job_of(not_encoded(tmp_path), step="encode", state=me | at)
    test = app("runs.py")
    assert "5 of 10 pairs · 2 a second · 2 min 05 s left" in words(test)
    assert not [button for button in test.button if button.key == "start_pool"]
    cancelled: list[str] = []
    monkeypatch.setattr(runner, "cancel", lambda found: cancelled.append(found.id))
    test.button(key="cancel_job").click().run()
    assert cancelled == [job.name]

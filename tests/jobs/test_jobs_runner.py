"""Background jobs: found again from disk, one at a time, cancelled and resumed without losing work."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import tiny_dataset, tiny_model

from chips_core.errors import PoolBusy
from chips_core.jobs import runner
from chips_core.jobs.runner import Job, StepRequest
from chips_core.jobs.state import JobState
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.store.check import check_pool


def wait_for(folder: Path, *, seconds: float = 120.0) -> Job:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        job = runner.job_at(folder)
        if not job.alive:
            return job
        time.sleep(0.05)
    raise AssertionError(f"still {job.state}")


def steps_for(tmp_path: Path, *, count: int = 12) -> tuple[Path, list[StepRequest]]:
    source, pool = tiny_dataset(tmp_path / "source", count=count), tmp_path / "pool"
    model = str(tiny_model(tmp_path / "model"))
    return pool, [
        StepRequest("intake", {"source": str(source), "pool": str(pool), "workers": 1}),
        StepRequest("encode", {"pool": str(pool), "model": model, "batch": 4, "precision": "fp32"}),
    ]


def test_start__runs_the_steps_and_is_found_again(tmp_path: Path) -> None:
    pool, steps = steps_for(tmp_path)
    job = wait_for(runner.start(pool, steps).folder)
    assert (job.state.status, job.state.exit_code, job.state.step_index) == ("done", 0, 1)
    assert Pool.open(pool).feature_sets()
    assert [found.id for found in runner.jobs(pool)] == [job.id]
    assert "intake" in runner.log_tail(job)


def test_start__a_failure_says_what_and_what_now(tmp_path: Path) -> None:
    pool, steps = steps_for(tmp_path)
    bad = [StepRequest("intake", {**steps[0].settings, "source": str(tmp_path / "nowhere")})]
    job = wait_for(runner.start(pool, bad).folder)
    assert (job.state.status, job.state.exit_code) == ("failed", 3)
    assert "Fix:" in job.state.message
    assert "Traceback" not in runner.log_tail(job)


def test_cancel__then_resume_finishes(tmp_path: Path) -> None:
    pool, steps = steps_for(tmp_path, count=400)
    job = runner.start(pool, steps)
    with pytest.raises(PoolBusy, match="at work"):
        runner.start(pool, steps)
    limit = time.monotonic() + 120
    while runner.job_at(job.folder).state.stage != "encode" and time.monotonic() < limit:
        time.sleep(0.02)
    stopped = runner.cancel(runner.job_at(job.folder))
    assert stopped.state.status in ("stopped", "died")
    assert wait_for(runner.resume(stopped).folder).state.status == "done"
    assert Pool.open(pool).features().counts()["done"] == 400


def test_d12__started_twice_at_once_is_one_job(tmp_path: Path) -> None:
    """Two tabs, or a button pressed twice: one starts the job, the other is told of it."""
    pool, steps = steps_for(tmp_path, count=60)
    together, told = threading.Barrier(2), []

    def click() -> None:
        together.wait()
        try:
            told.append(runner.start(pool, steps))
        except PoolBusy as error:
            told.append(error)

    clicks = [threading.Thread(target=click) for _ in range(2)]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    assert sorted(type(answer).__name__ for answer in told) == ["Job", "PoolBusy"]
    assert len(runner.jobs(pool)) == 1
    assert wait_for(runner.jobs(pool)[0].folder).state.status == "done"


def test_d14__a_clock_set_back_leaves_the_order_of_jobs_and_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chips_core.store import manifest

    pool, steps = steps_for(tmp_path)
    first = wait_for(runner.start(pool, steps).folder)
    newest = first.folder.rename(first.folder.with_name("20991231T235959000000"))
    second = wait_for(runner.start(pool, [StepRequest("map", {"pool": str(pool)})]).folder)
    assert [job.id for job in runner.jobs(pool)] == [second.id, newest.name]
    monkeypatch.setattr(manifest, "now", lambda: "1970-01-01T00:00:00+00:00")
    opened = Pool.open(pool)
    before = opened.tables("maps")[0].name
    opened.write_table("maps", "later", opened.table("maps", before), record={}, fingerprint="x")
    assert [run.name for run in Pool.open(pool).tables("maps")] == [before, "later"]


def test_d10__a_worker_killed_in_the_middle_is_told_within_ten_seconds(tmp_path: Path) -> None:
    pool, steps = steps_for(tmp_path, count=400)
    job = runner.start(pool, steps)
    os.kill(runner.job_at(job.folder).state.pid, signal.SIGKILL)
    began = time.monotonic()
    died = wait_for(job.folder, seconds=10)
    assert died.state.status == "died"
    assert "resume" in died.state.message
    assert time.monotonic() - began < 10
    assert wait_for(runner.resume(died).folder).state.status == "done"
    assert Pool.open(pool).features().counts()["done"] == 400


def cancel_when(folder: Path, reached: Callable[[], bool]) -> Job:
    """Cancels the job as soon as it is that far."""
    limit = time.monotonic() + 120
    while not reached() and runner.job_at(folder).alive and time.monotonic() < limit:
        time.sleep(0.02)
    return runner.cancel(runner.job_at(folder))


def test_cancel__of_the_honesty_keeps_what_is_finished(tmp_path: Path) -> None:
    """Stopped while predictions are measured: the sizes of the removals are kept, and it ends as if never stopped."""
    pool, steps = steps_for(tmp_path, count=216)
    for step in steps:
        run_step(step.step, step.settings, progress=Silent())

    def tables(kind: str) -> list[str]:
        return [found.name for found in Pool.open(pool).tables(kind)]

    first = runner.start(pool, [StepRequest("trace", {"pool": str(pool), "probes": 8})])
    first = cancel_when(first.folder, lambda: runner.job_at(first.folder).state.stage == "refit without random pairs")
    assert first.state.status in ("stopped", "died")
    sizes = tables("traces")
    assert (len(sizes), tables("honesty"), check_pool(pool).sound) == (1, [], True)
    second = wait_for(runner.resume(first).folder)
    assert second.state.status == "done"
    assert "measure removals" not in runner.log_tail(second)
    assert (tables("traces"), len(tables("honesty")), check_pool(pool).sound) == (sizes, 1, True)


def test_job_at__a_process_that_is_gone_is_reported(tmp_path: Path) -> None:
    from dataclasses import asdict

    from chips_core import atomic

    folder = tmp_path / "jobs" / "one"
    atomic.make_folder(folder)
    atomic.write_json(folder / "request.json", {"steps": [{"step": "intake", "settings": {}}]})
    atomic.write_json(folder / "state.json", asdict(JobState(status="running", pid=1, pid_started=1.0)))
    assert runner.job_at(folder).state.status == "died"


def test_job_at__a_worker_that_never_began_does_not_block_the_pool(tmp_path: Path) -> None:
    folder = tmp_path / "pool" / "jobs" / "one"
    folder.mkdir(parents=True)
    (folder / "request.json").write_text('{"steps": []}')
    assert runner.job_at(folder).alive  # it may still be starting
    long_ago = time.time() - 2 * runner.START_SECONDS
    os.utime(folder / "request.json", (long_ago, long_ago))
    assert runner.job_at(folder).state.status == "died"

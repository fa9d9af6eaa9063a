"""Background jobs: found again from disk, one at a time, cancelled and resumed without losing work."""

import os
import time
from pathlib import Path

import pytest
from tiny import tiny_dataset, tiny_model

from chips_core.errors import PoolBusy
from chips_core.jobs import runner
from chips_core.jobs.runner import Job, StepRequest
from chips_core.jobs.state import JobState
from chips_core.store import Pool


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

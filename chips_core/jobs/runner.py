"""Background jobs: a process of its own with its state on disk, so that a closed browser or a restart loses nothing.

A job is a list of steps. It lives in `<pool>/jobs/<id>/`: `request.json` (the steps), `state.json` (rewritten as the
work goes on), `log.txt`. Whoever opens the pool finds it there. One job at a time works on a pool.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from chips_core import atomic
from chips_core.errors import InputError, PoolBusy
from chips_core.jobs.state import JobState, read_state
from chips_core.jobs.steps import CONTINUED

FOLDER = "jobs"
START_SECONDS = 20.0  # a worker that has not written its state by then did not start


@dataclass(frozen=True)
class StepRequest:
    """One step of a job: its name and its settings as plain data."""

    step: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """A job as it stands on disk, its state already checked against the process that owns it."""

    folder: Path
    id: str
    steps: tuple[StepRequest, ...]
    state: JobState

    @property
    def alive(self) -> bool:
        """Whether its process is at work."""
        return self.state.status in ("starting", "running")

    @property
    def continues(self) -> bool:
        """Whether resuming it finds finished work; a job such as an export begins anew."""
        return self.state.step_index > 0 or any(step.step in CONTINUED for step in self.steps[:1])


def start(pool: Path, steps: Sequence[StepRequest]) -> Job:
    """Starts a job on `pool` and returns it once its process has taken over; refuses while another one works."""
    with _one_at_a_time(pool):
        there = jobs(pool)
        for job in there:
            if job.alive:
                raise PoolBusy(
                    f"Pool '{pool.name}' is at work: {job.state.stage or job.steps[0].step}, since {job.state.began}.",
                    fix="wait for it or cancel it on the Runs page.",
                )
        folder = pool / FOLDER / _next_id(there[0].id if there else "")
        atomic.make_folder(folder)
        atomic.write_json(folder / "request.json", {"steps": [asdict(s) for s in steps]})
        _launch(folder)
        return job_at(folder)


def resume(job: Job) -> Job:
    """Starts a job that ended early once more, from its unfinished step; finished work is found and kept."""
    if job.alive:
        raise PoolBusy("That job is still at work.", fix="wait for it or cancel it.")
    return start(job.folder.parents[1], job.steps[job.state.step_index :])


def cancel(job: Job, *, wait: float = 5.0) -> Job:
    """Asks the job's process to stop, waits up to `wait` seconds, then ends it; finished work is kept."""
    process = _process(job.state)
    if process is None:
        return job_at(job.folder)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(wait)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(wait)
    return job_at(job.folder)


def jobs(pool: Path) -> list[Job]:
    """Returns the jobs of a pool, the newest first."""
    folder = pool / FOLDER
    if not folder.is_dir():
        return []
    found = sorted((p for p in folder.iterdir() if (p / "request.json").is_file()), reverse=True)
    return [job_at(path) for path in found]


def job_at(folder: Path) -> Job:
    """Returns the job in `folder`; one whose process is gone without a last word is reported as `died`."""
    if not (folder / "request.json").is_file():
        raise InputError("There is no such job.", fix="choose one from the list on the Runs page.")
    request = atomic.read_json(folder / "request.json")
    steps = tuple(StepRequest(s["step"], s["settings"]) for s in request["steps"])
    state = read_state(folder)
    late = time.time() - (folder / "request.json").stat().st_mtime > START_SECONDS
    if state.status in ("starting", "running") and (state.pid or late) and _process(state) is None:
        state = replace(state, status="died", message="The process ended without a word; resume it or try again.")
    return Job(folder, folder.name, steps, state)


def log_tail(job: Job, *, lines: int = 40) -> str:
    """Returns the last lines of the job's log."""
    path = job.folder / "log.txt"
    if not path.is_file():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


@contextmanager
def _one_at_a_time(pool: Path) -> Iterator[None]:
    """Lets one caller look and start; a second one, of another tab or a second click, waits and then finds its job."""
    atomic.make_folder(pool / FOLDER)
    descriptor = atomic.open_lock(pool / FOLDER / "lock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _next_id(newest: str) -> str:
    """Returns a name by the time that sorts after the newest job's, even when the clock was set back."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    return stamp if stamp > newest else f"{newest}a"


def _launch(folder: Path) -> None:
    command = [sys.executable, "-m", "chips_core.jobs.worker", str(folder)]
    log = atomic.open_log(folder / "log.txt")
    try:
        child = subprocess.Popen(  # noqa: S603 -- an argument list, no shell
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
        )
    finally:
        os.close(log)
    _reap_later(child)
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit:
        if read_state(folder).pid or child.poll() is not None:
            return
        time.sleep(0.02)


def _reap_later(child: "subprocess.Popen[bytes]") -> None:
    """Waits for the child in a thread, so that a finished job does not linger as a zombie of the app's process."""
    import threading

    threading.Thread(target=child.wait, daemon=True).start()


def _process(state: JobState) -> psutil.Process | None:
    """Returns the process that owns the state, or None when it is gone or its number was given to another."""
    if not state.pid:
        return None
    try:
        process = psutil.Process(state.pid)
        same = abs(process.create_time() - state.pid_started) < 1.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None

"""The process of a background job: `python -m chips_core.jobs.worker JOBFOLDER`."""

import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil

from chips_core import atomic
from chips_core.errors import ChipsError
from chips_core.jobs.state import JobState, StateProgress
from chips_core.jobs.steps import run_step
from chips_core.progress import Stopped


def main(folder: Path) -> int:
    """Runs the steps of the job in `folder` one after the other and returns the exit code."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    steps: Sequence[dict[str, Any]] = atomic.read_json(folder / "request.json")["steps"]
    me = psutil.Process()
    state = JobState(status="running", pid=me.pid, pid_started=me.create_time(), began=_now())
    progress = StateProgress(folder, state)
    sys.excepthook = lambda kind, _error, _trace: _end_with_bug(progress, kind)
    try:
        for index, step in enumerate(steps):
            progress.change(step_index=index, stage=step["step"], done=0, total=0)
            run_step(step["step"], step["settings"], progress=progress)
    except ChipsError as error:
        print(error, flush=True)
        progress.change(status="failed", message=str(error), exit_code=error.exit_code, ended=_now())
        return error.exit_code
    except Stopped as stopped:
        words = "Cancelled; finished work is kept."
        progress.change(status="stopped", message=words, exit_code=stopped.exit_code, ended=_now())
        return stopped.exit_code
    progress.change(status="done", message="", exit_code=0, ended=_now())
    return 0


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped(128 + number)


def _end_with_bug(progress: StateProgress, kind: type[BaseException]) -> None:
    words = f"This is a bug in CHIPS Lens ({kind.__name__}). Please report it."
    progress.change(status="failed", message=words, exit_code=1, ended=_now())
    print(words, flush=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(Path(sys.argv[1])))

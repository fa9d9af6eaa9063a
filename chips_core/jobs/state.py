"""A job's state on disk, and the progress that keeps it up to date."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from chips_core import atomic
from chips_core.config import settings_from
from chips_core.progress import Meter

WRITE_EVERY = 0.5  # seconds between two states on disk


@dataclass(frozen=True)
class JobState:
    """Where a job stands."""

    status: str = "starting"  # starting, running, done, failed, stopped; `died` is found by the reader
    pid: int = 0
    pid_started: float = 0.0
    began: str = ""
    ended: str = ""
    step_index: int = 0
    stage: str = ""
    unit: str = "pairs"
    done: int = 0
    total: int = 0
    rate: float = 0.0
    seconds_left: float | None = None
    message: str = ""
    exit_code: int | None = None

    @property
    def share(self) -> float:
        """The share of the current stage that is done, 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 0.0


def read_state(folder: Path) -> JobState:
    """Returns the state in `folder`, or the state of a job that is about to start."""
    path = folder / "state.json"
    return settings_from(JobState, atomic.read_json(path), where="state.json") if path.is_file() else JobState()


class StateProgress:
    """A Progress that rewrites `state.json`, at most twice a second, and logs what it is told in words."""

    def __init__(self, folder: Path, state: JobState) -> None:
        self._folder = folder
        self._meter = Meter()
        self._written = 0.0
        self.state = state
        self.write()

    def start(self, stage: str, *, total: int, unit: str = "pairs") -> None:
        """Begins a stage."""
        self._meter = Meter(stage, unit, total)
        print(f"{stage}: {total:,} {unit}", flush=True)
        self._keep(force=True)

    def advance(self, done: int = 1) -> None:
        """Counts, and writes the state when it is due."""
        self._meter.done += done
        self._keep(force=False)

    def note(self, text: str) -> None:
        """Writes one line to the log."""
        print(text, flush=True)

    def change(self, **changes: object) -> None:
        """Changes and writes the state at once."""
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]
        self.write()

    def write(self) -> None:
        """Writes the state as it is."""
        atomic.write_json(self._folder / "state.json", asdict(self.state))
        self._written = time.monotonic()

    def _keep(self, *, force: bool) -> None:
        if not force and time.monotonic() - self._written < WRITE_EVERY:
            return
        meter = self._meter
        self.change(
            stage=meter.stage,
            unit=meter.unit,
            done=meter.done,
            total=meter.total,
            rate=meter.rate,
            seconds_left=meter.seconds_left,
        )

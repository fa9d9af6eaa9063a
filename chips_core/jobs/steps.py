"""The steps of the work, by name: each has settings (a frozen dataclass) and a function that does it.

The command line and the background worker run the same steps: what a page starts is what a person types.
A step module defines `Settings` and `run(settings, *, progress) -> Mapping` (plain data, JSON-able).
"""

import importlib
from collections.abc import Mapping
from typing import Any, Protocol, cast

from chips_core.config import settings_from
from chips_core.errors import UsageError
from chips_core.progress import Progress

STEPS = {
    "demo": "chips_core.jobs.demo",
    "intake": "chips_core.jobs.intake",
    "encode": "chips_core.jobs.encode",
    "score": "chips_core.jobs.score",
    "map": "chips_core.jobs.map",
    "evaluate": "chips_core.jobs.evaluate",
    "trace": "chips_core.jobs.trace",
    "duplicates": "chips_core.jobs.duplicates",
    "select": "chips_core.jobs.select",
    "pretrain": "chips_core.jobs.pretrain",
    "export": "chips_core.jobs.export",
    "measure": "chips_core.jobs.measure",
}
CONTINUED = frozenset({"demo", "encode", "score", "pretrain"})  # they find what they finished; the others begin anew


class StepModule(Protocol):
    """What a step's module offers."""

    Settings: type

    def run(self, settings: Any, *, progress: Progress) -> Mapping[str, Any]:
        """Does the work and returns what came of it."""


def step(name: str) -> StepModule:
    """Returns the module of a step; imported only now, so that a page or a help text never waits for torch."""
    if name not in STEPS:
        raise UsageError(f"There is no step '{name}'.", fix=f"the steps are {', '.join(STEPS)}.")
    return cast(StepModule, importlib.import_module(STEPS[name]))


def run_step(name: str, settings: Mapping[str, Any], *, progress: Progress) -> Mapping[str, Any]:
    """Checks the settings, runs the step and returns what came of it."""
    module = step(name)
    return module.run(settings_from(module.Settings, settings, where=name), progress=progress)

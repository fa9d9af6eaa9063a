"""What the tests of pages share: each state of a pool is made once, by whichever worker asks first, and copied."""

import fcntl
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from pool_states import STATES


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns a function that gives the pool of a state, in a folder of this worker's own."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "states"

    @cache
    def pool_of(name: str) -> Path:
        made = _made_once(shared / name.replace(" ", "_"), STATES[name])
        own = tmp_path_factory.mktemp("state")
        shutil.copytree(made.parent, own, dirs_exist_ok=True)
        return own / made.name

    return pool_of


def _made_once(folder: Path, make: Callable[[Path], Path]) -> Path:
    """Returns what `make` makes in a folder, made by one process while the others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.name").open("a+") as name:
        fcntl.flock(name, fcntl.LOCK_EX)
        name.seek(0)
        known = name.read()
        if not known:
            known = make(folder).name
            name.write(known)
    return folder / known

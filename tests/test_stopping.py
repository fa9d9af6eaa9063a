"""Work that is stopped: by a signal (D9), by the page that shows it (D13); nothing is lost or half-committed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from encode_child import done_rows
from tiny import tiny_dataset, tiny_model

from chips_core.cli import main
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool, check_pool

SIGNALLED = """
import os, sys, time
from chips_core import cli, progress
class Signalling(progress.Terminal):
    blocks = 0
    def advance(self, done=1):
        super().advance(done)
        Signalling.blocks += 1
        if Signalling.blocks == 2:
            print("signalled", time.monotonic(), flush=True)
            os.kill(os.getpid(), int(sys.argv[1]))
cli.Terminal = Signalling
began = time.monotonic()
code = cli.main(sys.argv[2:])
print("ended", time.monotonic(), flush=True)
sys.exit(code)
"""


def stopped_by(number: int, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command that gets a signal in the middle of its work."""
    command = [sys.executable, "-c", SIGNALLED, str(number), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)], ids=["SIGINT", "SIGTERM"])
def test_d9__a_signal_ends_encode_at_once_and_its_work_is_kept(tmp_path: Path, number: int, code: int) -> None:
    source, pool, model = tiny_dataset(tmp_path / "s", count=40), tmp_path / "pool", tiny_model(tmp_path / "m")
    assert main(["intake", str(source), str(pool), "--quiet"]) == 0
    arguments = ["encode", str(pool), "--model", str(model), "--batch", "4", "--precision", "fp32"]
    done = stopped_by(number, arguments)
    assert done.returncode == code, done.stderr
    signalled, ended = (float(line.split()[1]) for line in done.stdout.splitlines())
    assert ended - signalled < 5
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "Stopped. Finished work is kept; run the same command again to continue."
    assert 8 <= done_rows(pool) < 40
    assert main([*arguments, "--quiet"]) == 0
    assert Pool.open(pool).features().counts() == {"done": 40}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_d9__a_signal_ends_intake_and_leaves_no_half_pool(tmp_path: Path, workers: str) -> None:
    source, pool = tiny_dataset(tmp_path / "s", count=900, size=8), tmp_path / "pool"
    arguments = ["intake", str(source), str(pool), "--workers", workers]
    done = stopped_by(2, arguments)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert not (pool / "pool.json").exists()
    assert main([*arguments, "--quiet"]) == 0
    assert not check_pool(pool).findings


class Raising(Silent):
    """A progress in which the page that shows it asks for another run, as Streamlit does, at the k-th report."""

    def __init__(self, at: int) -> None:
        self.left = at

    def advance(self, done: int = 1) -> None:  # noqa: ARG002
        from streamlit.runtime.scriptrunner_utils.exceptions import RerunException
        from streamlit.runtime.scriptrunner_utils.script_requests import RerunData

        self.left -= 1
        if not self.left:
            raise RerunException(RerunData())


STEPS = [("encode", {"batch": 4, "precision": "fp32"}), ("score", {"methods": ["ecif"], "name": "run"}), ("map", {})]


def test_d13__a_rerun_in_the_middle_of_any_step_leaves_nothing_half_done(tmp_path: Path) -> None:
    from streamlit.runtime.scriptrunner_utils.exceptions import RerunException

    source, model = tiny_dataset(tmp_path / "s", count=60), tiny_model(tmp_path / "m")
    for step, more in [("intake", {"source": str(source)}), *STEPS]:
        for name in ("plain", "rerun"):
            pool = tmp_path / name
            settings = {"pool": str(pool), **more, **({"model": str(model)} if step == "encode" else {})}
            if name == "rerun":
                with pytest.raises(RerunException):
                    run_step(step, settings, progress=Raising(1))
                assert not (pool / "lock.json").exists()
                assert step == "intake" or check_pool(pool).sound
            run_step(step, settings, progress=Silent())
    plain, rerun = Pool.open(tmp_path / "plain"), Pool.open(tmp_path / "rerun")
    np.testing.assert_array_equal(plain.features().image, rerun.features().image)
    np.testing.assert_array_equal(plain.features().text, rerun.features().text)
    assert plain.table("scores", "run").equals(rerun.table("scores", "run"))
    assert not check_pool(rerun.path).findings

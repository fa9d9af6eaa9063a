"""The command line as a person or a script meets it: exit codes, streams, strict JSON, no traceback."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import tiny_dataset, tiny_model

from chips_core import __version__
from chips_core.cli import main, parser
from chips_core.commands import pretrain
from chips_core.commands.listing import commands
from chips_core.jobs.steps import STEPS


def strict(text: str) -> dict[str, object]:
    def refuse(name: str) -> None:
        raise ValueError(name)

    found: dict[str, object] = json.loads(text, parse_constant=refuse)
    return found


def test_main__whole_way_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, pool, model = tiny_dataset(tmp_path / "s"), str(tmp_path / "pool"), str(tiny_model(tmp_path / "m"))
    assert main(["intake", str(source), pool, "--json", "--quiet"]) == 0
    assert strict(capsys.readouterr().out)["outcomes"]["kept"] == 24  # type: ignore[index]
    assert main(["encode", pool, "--model", model, "--precision", "fp32", "--json", "--quiet"]) == 0
    assert strict(capsys.readouterr().out)["pairs"]["done"] == 24  # type: ignore[index]
    assert main(["check", pool, "--json", "--quiet"]) == 0
    out = capsys.readouterr()
    assert strict(out.out)["sound"] is True
    assert out.err == ""


def test_n1__exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-verb"]) == 2
    assert main(["check", str(tmp_path / "nowhere")]) == 3
    assert main(["intake", str(tmp_path / "nowhere"), str(tmp_path / "pool")]) == 3
    source, pool = tiny_dataset(tmp_path / "s", count=6), tmp_path / "pool"
    assert main(["intake", str(source), str(pool), "--quiet"]) == 0
    damaged = next(pool.glob("pairs-*.parquet"))
    data = bytearray(damaged.read_bytes())
    data[len(data) // 3] ^= 1
    damaged.write_bytes(bytes(data))
    assert main(["check", str(pool), "--quiet"]) == 5
    assert damaged.name in capsys.readouterr().out


def test_n1__busy_pool_is_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, pool = tiny_dataset(tmp_path / "s", count=6), tmp_path / "pool"
    assert main(["intake", str(source), str(pool), "--quiet"]) == 0
    holder = (
        "import sys,time; from pathlib import Path; from chips_core.store import Pool\n"
        "with Pool.open(Path(sys.argv[1])).writing('encode'):\n print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holder, str(pool)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        assert main(["encode", str(pool), "--model", str(tiny_model(tmp_path / "m")), "--quiet"]) == 4
        child.kill()
    assert "encode" in capsys.readouterr().err


def test_n2__words_on_stderr_data_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["intake", str(tiny_dataset(tmp_path / "s")), str(tmp_path / "pool")]) == 0
    out = capsys.readouterr()
    assert out.out.splitlines()[0].split() == ["kept", "24"]
    assert out.out.splitlines()[-1].split() == ["given", "24"]
    assert "Source: dataset folder" in out.err


def test_n6__users_error_has_no_traceback_and_a_fix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "nowhere"), "--json"]) == 3
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    assert strict(out.out)["fix"]


def test_a14__nothing_usable_is_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs.csv").write_text("image,caption\na.png,one\nb.png,two\n")
    assert main(["intake", str(tmp_path), str(tmp_path / "pool"), "--quiet"]) == 3
    assert "All 2 of 2 inputs failed (2 missing)" in capsys.readouterr().err


def test_k1__other_address_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "--address", "0.0.0.0"]) == 2  # noqa: S104 -- the very thing that is refused
    assert "--allow-network" in capsys.readouterr().err


def test_app__a_taken_port_is_told_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["app", "--port", str(taken.getsockname()[1])]) == 2
    assert "is taken" in capsys.readouterr().err
    assert main(["app", "--port", "99999"]) == 2


def test_n1__an_unknown_kind_of_source_is_2_and_names_the_kinds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["intake", str(tiny_dataset(tmp_path / "s", count=3)), str(tmp_path / "pool"), "--kind"]
    assert main([*arguments, "tabel"]) == 2
    assert "image folder" in capsys.readouterr().err
    assert main([*arguments, "dataset folder"]) == 0


@pytest.mark.parametrize("name", ["$(touch x)", "; rm -rf x", "--help", "a b"])
def test_k10__odd_pool_names_are_inert(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = tiny_dataset(tmp_path / "s", count=3)
    assert main(["intake", str(source), "--quiet", "--", str(tmp_path / name)]) == 0
    assert (tmp_path / name / "pool.json").is_file()
    assert not (tmp_path / "x").exists()


def test_n2__a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m chips_core --help | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_version__is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"CHIPS Lens {__version__}\n")


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_help__every_verb_has_one(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([command.name, "--help"])  # type: ignore[attr-defined]
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_n5__bare_environment(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TMPDIR": str(tmp_path / "gone")}
    done = subprocess.run(
        [sys.executable, "-m", "chips_core", "check", str(tmp_path)], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 3
    assert b"Fix:" in done.stderr


def test_steps__every_module_is_there() -> None:
    from chips_core.jobs.steps import step

    for name in STEPS:
        module = step(name)
        assert callable(module.run)
        assert module.Settings is not None


def test_compare__selections_reviewers_and_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from chips_core.store import Review

    source, pool, model = (
        tiny_dataset(tmp_path / "s", count=36),
        str(tmp_path / "pool"),
        str(tiny_model(tmp_path / "m")),
    )
    assert main(["intake", str(source), pool, "--quiet"]) == 0
    assert main(["encode", pool, "--model", model, "--precision", "fp32", "--quiet"]) == 0
    assert main(["score", pool, "--method", "clipscore,negcliploss", "--mode", "paper", "--name", "r", "--quiet"]) == 0
    for name, method in (("one", "clipscore"), ("other", "random")):
        assert main(["select", pool, "--method", method, "--budget", "5", "--out", name, "--quiet"]) == 0
    with Review.open(Path(pool)) as review:
        for who in ("ann", "ben"):
            review.add_verdict(pair_id="p0000", verdict="correct", reviewer=who)
    capsys.readouterr()
    assert main(["compare", pool, "--selections", "one", "other", "--top", "3", "--json", "--quiet"]) == 0
    found = strict(capsys.readouterr().out)
    assert found["differ"] == 10 - 2 * int(found["facts"]["In both"])  # type: ignore[index]
    assert len(found["pairs"]) == 3  # type: ignore[arg-type]
    assert main(["compare", pool, "--reviewers", "ann", "ben", "--quiet"]) == 0
    assert "100.0%" in capsys.readouterr().out
    assert main(["compare", pool, "--methods", "r", "--json", "--quiet"]) == 0
    assert strict(capsys.readouterr().out)["methods"] == ["CLIPScore", "negCLIPLoss"]
    assert main(["compare", pool, "--methods", "--json", "--quiet"]) == 0
    assert strict(capsys.readouterr().out)["run"] == "r"
    assert main(["compare", pool, "--runs", "r", "nowhere", "--quiet"]) == 3
    assert main(["compare", pool, "--quiet"]) == 2
    assert main(["compare", pool, "--selections", "one", "missing", "--quiet"]) == 3


def test_pretrain__tells_changes_as_the_pages_do() -> None:
    task = {
        "pool": "mine",
        "split": "test",
        "source": "",
        "trained_on": False,
        "recall_before": 0.5,
        "recall_after": 0.625,
    }
    judged = task | {"before": 0.8, "after": 0.817, "change": {"mean": 0.017, "low": -0.011, "high": 0.046}}
    line = " ".join(pretrain.line_of(judged).split())
    assert line == "mine test (retained) 80.0% 81.7% +1.7 (−1.1 to +4.6) 50.0% → 62.5%"
    assert "no data" in pretrain.line_of(task | {"before": None})

"""The README stays true: its commands run, every verb and option in it exists, every file it names is there."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from tiny import tiny_dataset

from chips_core.bench import engine
from chips_core.cli import main, parser
from chips_core.commands.listing import commands

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def spoken() -> list[str]:
    """Returns every `chips …` in code of the README, without comments."""
    code = re.findall(r"`(chips [^`\n]+)`", README) + re.findall(r"^(chips [^\n#]+)", README, re.M)
    return [line.strip() for line in code]


@pytest.mark.parametrize("line", spoken())
def test_n3__commands_of_the_readme_exist(line: str) -> None:
    words = line.split()
    verbs = {command.name: command for command in commands()}
    assert words[1] in verbs
    single = parser()._subparsers._group_actions[0].choices[words[1]]  # type: ignore[union-attr, index]
    known = {option for action in single._actions for option in action.option_strings}
    assert {word for word in words if word.startswith("--")} <= known


def test_n3__commands_of_the_readme_and_of_help_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Runs them as a newcomer types them, on a small data set: the five of the README, then every help's example.

    Left out are `chips demo` and `chips pretrain`, which take minutes and have tests of their own.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("chips_core.jobs.trace_pool.REMOVALS", 2)
    monkeypatch.setattr(engine, "run", lambda **_: {"pairs": 1})
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _path, command: started.append(command) or sys.exit(0))
    monkeypatch.setattr(os, "chdir", lambda _folder: None)
    tiny_dataset(tmp_path / "my_data", count=60)
    own = re.findall(r"^(chips [^\n#]+)", README, re.M)
    order = ("score", "map", "evaluate", "trace", "select", "compare", "export", "pretrain", "check", "bench", "app")
    examples = {command.name: command.example for command in commands()}
    assert set(examples) == {"demo", "intake", "encode", *order}
    assert [line.split()[1] for line in own[:4]] == ["intake", "encode", "score", "app"]
    for line in [*own, *(examples[verb] for verb in order)]:
        words = shlex.split(line.replace("p0042", "p0033"))[1:]  # an image of this data set's test split
        if words[0] == "compare":
            assert main(["select", "pools/mine", "--method", "random", "--out", "random"]) == 0
        if words[0] == "app":
            with pytest.raises(SystemExit):
                main(words)
        else:
            assert main(words) == 0, line + capfd.readouterr().err
    assert len(started) == 2
    assert (tmp_path / "out" / "best" / "shards" / "000000.tar").is_file()


def test_readme__every_verb_is_told() -> None:
    told = {line.split()[1] for line in spoken()}
    assert {command.name for command in commands()} <= told


def test_readme__make_targets_and_files_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for name in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / name).is_file(), name

"""The README stays true: every verb and option in it exists, every verb is in it, every file it names is there."""

import re
from pathlib import Path

import pytest

from chips_core.cli import parser
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


def test_readme__every_verb_is_told() -> None:
    told = {line.split()[1] for line in spoken()}
    assert {command.name for command in commands()} <= told


def test_readme__make_targets_and_files_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for name in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / name).is_file(), name

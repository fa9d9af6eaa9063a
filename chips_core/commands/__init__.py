"""The verbs of the command line: each turns its options into a step's settings, runs it, and says what came of it."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chips_core.progress import Progress


@dataclass(frozen=True)
class Answer:
    """What a command gives back: plain data for `--json`, the same in words for a person."""

    data: Mapping[str, Any]
    words: str
    exit_code: int = 0


@dataclass(frozen=True)
class Command:
    """One verb of the command line."""

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Progress], Answer]
    example: str = ""

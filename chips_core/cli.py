"""The command line: `chips VERB …`, also `python -m chips_core`.

Data goes to stdout, words about progress to stderr; `--json` prints one strict JSON object and nothing else.
Exit codes: 0 done, 1 our bug, 2 usage, 3 input, 4 busy, 5 damaged, 130/143 stopped.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import NoReturn

from chips_core import __version__
from chips_core.commands import Answer, Command
from chips_core.commands.listing import commands
from chips_core.errors import ChipsError, UsageError
from chips_core.progress import Progress, Silent, Stopped, Terminal

DESCRIPTION = "Audit, trace and curate medical image-text data for CLIP."
EPILOGUE = "chips demo builds a pool to try everything on; chips app opens it in the browser."


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes read like all our errors: one sentence and what to do."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}.", fix=f"see '{self.prog} --help'.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    if not debug:
        sys.excepthook = _say_our_bug
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        return _run(arguments)
    except ChipsError as error:
        if debug:
            raise
        return _say_error(error, as_json="--json" in arguments)
    except Stopped as stopped:
        _say("Stopped. Finished work is kept; run the same command again to continue.")
        return stopped.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `| head` is no reason to complain
        return 0


def parser() -> argparse.ArgumentParser:
    """Returns the whole parser, one sub-command a verb."""
    top = _Parser(prog="chips", description=DESCRIPTION, epilog=EPILOGUE)
    top.add_argument("--version", action="version", version=f"CHIPS Lens {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    for command in commands():
        verb = verbs.add_parser(
            command.name,
            help=command.summary,
            description=command.summary,
            epilog=f"Example: {command.example}" if command.example else None,
        )
        command.add_arguments(verb)
        verb.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
        verb.add_argument("--quiet", action="store_true", help="no progress on stderr")
        verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
        verb.set_defaults(command=command)
    return top


def _run(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    command: Command = options.command
    progress: Progress = Silent() if options.quiet else Terminal()
    answer = command.run(options, progress)
    _print_answer(answer, as_json=options.json)
    return answer.exit_code


def _print_answer(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer.data, allow_nan=False, ensure_ascii=False))
    elif answer.words:
        print(answer.words)
    sys.stdout.flush()


def _say_error(error: ChipsError, *, as_json: bool) -> int:
    _say(f"{type(error).__name__}: {error}")
    if as_json:
        data = {"error": type(error).__name__, "what": error.what, "fix": error.fix, "exit_code": error.exit_code}
        print(json.dumps(data, ensure_ascii=False))
    return error.exit_code


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped(128 + number)


def _say_our_bug(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Names the kind of an unexpected error and its place in the code, never its text: that may quote the data."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "unknown place"
    _say(f"This is a bug in CHIPS Lens: {kind.__name__} at {place}. Fix: run the command with --debug and report it.")

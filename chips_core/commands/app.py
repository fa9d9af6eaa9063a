"""`chips app`: opens the browser application on this machine only."""

import argparse
import errno
import os
import socket
import sys
from pathlib import Path

from chips_core.commands import Answer, Command
from chips_core.errors import InputError, UsageError
from chips_core.progress import Progress

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SCRIPT = Path(__file__).resolve().parents[2] / "app.py"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", nargs="?", default="pools/demo", help="the pool to open (default: pools/demo)")
    parser.add_argument("--port", type=int, default=8501, help="port (default: 8501)")
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--allow-network", action="store_true", help="allow an address that other machines can reach")


def _run(options: argparse.Namespace, progress: Progress) -> Answer:
    if options.address not in LOOPBACK and not options.allow_network:
        raise UsageError(
            f"Listening on {options.address} would show patient data to the network, without a login.",
            fix="leave --address out; or put a proxy with login and TLS before the app and add --allow-network.",
        )
    if not SCRIPT.is_file():
        raise InputError("app.py is not beside the package.", fix="run from a clone of the project: make app.")
    _refuse_taken(options.address, options.port)
    progress.note(f"CHIPS Lens opens at http://{options.address}:{options.port} (Ctrl-C ends it).")
    os.environ["CHIPS_POOL"] = str(Path(options.pool).absolute())
    os.chdir(SCRIPT.parent)  # Streamlit reads .streamlit/config.toml from the working folder
    command = [sys.executable, "-m", "streamlit", "run", str(SCRIPT), "--server.address", options.address]
    sys.stdout.flush()
    os.execv(sys.executable, [*command, "--server.port", str(options.port)])  # noqa: S606 -- an argument list, no shell


def _refuse_taken(address: str, port: int) -> None:
    """Raises UsageError when another program, or an app that was left open, listens at the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except (OSError, OverflowError) as error:
            reason = "is taken" if isinstance(error, OSError) and error.errno == errno.EADDRINUSE else "cannot be used"
            raise UsageError(
                f"Port {port} {reason} at {address}.",
                fix=f"choose another with --port; or the app is open already: http://{address}:{port}.",
            ) from error


APP = Command("app", "Open the app in the browser, on this machine only.", _arguments, _run, "chips app pools/demo")

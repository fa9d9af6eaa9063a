"""What browser tests share: the app on a free port of this machine, and a Chromium that tells what it asked for."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import answers

ROOT = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
FLAGS += ["--disable-component-update"]


@pytest.fixture
def serve():
    """Returns a function that starts the app on a pool and returns its address; all are stopped at the end."""
    running = []

    def start(pool: Path) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = os.environ | {"CHIPS_POOL": str(pool), "CHIPS_ROOTS": str(pool.parent), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), f"--server.port={port}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running.append(subprocess.Popen(command, cwd=ROOT, env=environment, **quiet))
        address = f"http://127.0.0.1:{port}"
        answers(address)
        return address

    yield start
    for server in running:
        server.terminate()
        server.wait(timeout=60)  # a busy machine takes its time


@pytest.fixture
def chromium():
    """Yields a Chromium; its absence is a skip, or a failure where CHIPS_REQUIRE_BROWSER is set."""
    playwright = pytest.importorskip("playwright.sync_api")
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        if os.environ.get("CHIPS_REQUIRE_BROWSER"):
            pytest.fail("CHIPS_REQUIRE_BROWSER is set and no Chromium is installed")
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=binary, args=FLAGS)
        yield browser
        browser.close()

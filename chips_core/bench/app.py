"""What a person waits for in a real browser: the app itself, on a free port of this machine, driven headless.

Times run from the act to what is seen of it: from asking for the address to the pictures of the Overview, to the drawn
map; from letting go of the lasso to the count; from the key of a verdict to the next pair with its image. The first
look at a pool counts (nothing of it is in memory then). Without a graphics card the browser draws in software.
"""

import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chips_core.bench.app_pool import make_pool
from chips_core.errors import UsageError
from chips_core.progress import Progress, Silent

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")
SMALL, MIDDLE, LARGE = 3_000, 100_000, 1_000_000
LASSOS, VERDICTS, QUICK_VERDICTS = 3, 8, 3
PATIENCE = 120_000  # milliseconds until the browser gives up
CLICKS, QUICK_CLICKS = 5, 2
NO_TRACE = "the pool of the first view holds no wrong predictions, or no measured removals: name a demo pool"
SHOWN = """(before) => {
  const reviewer = window.chipsReview?.reviewer;
  return reviewer?.data?.pair && reviewer.data.pair.id !== before && reviewer.image.complete;
}"""
READY = "() => Boolean(window.chipsReview?.reviewer?.root.dataset.ready)"


def run(*, quick: bool = False, pool: Path | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Returns the benchmark's numbers in seconds and bytes; None for what was not measured.

    Args:
        quick: 100,000 pairs at most, fewer turns.
        pool: for the first view, such as the demo; a made-up one of 3,000 pairs without it.
        progress: told of each stage.
    """
    progress = progress or Silent()
    progress.start("app", total=5 if quick else 7, unit="stages")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chips-bench-")))
        browser = stack.enter_context(_browser())
        small = make_pool(folder / "small", pairs=SMALL)
        progress.advance()
        first = pool.absolute() if pool is not None else small
        server = stack.enter_context(_served(first, roots=(folder, first.parent)))
        found: dict[str, Any] = {"first_view_s": _first_view(browser, server, first)}
        progress.advance()
        found |= _mapped(browser, server, make_pool(folder / "middle", pairs=MIDDLE), name="100k")
        progress.advance()
        found |= {"map_1m_s": None, "lasso_1m_s": None}
        if not quick:
            large = make_pool(folder / "large", pairs=LARGE)
            progress.advance()
            found |= _mapped(browser, server, large, name="1m")
            progress.advance()
        found |= _verdicts(browser, server, small, turns=QUICK_VERDICTS if quick else VERDICTS)
        progress.advance()
        clicks = _traced(browser, server, first, turns=QUICK_CLICKS if quick else CLICKS) if pool is not None else []
        progress.advance()
    found["trace_click_s"] = statistics.median(clicks) if clicks else None
    return found | ({} if clicks else {"trace_click_reason": NO_TRACE})


@contextmanager
def _browser() -> Iterator["Browser"]:
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise UsageError("bench app needs playwright.", fix="pip install -r requirements-dev.txt.") from error
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as play:
        try:
            browser = play.chromium.launch(executable_path=binary, args=list(FLAGS))
        except Error as error:
            raise UsageError("bench app found no Chromium.", fix="install it: playwright install chromium.") from error
        yield browser
        browser.close()


@contextmanager
def _served(pool: Path, *, roots: tuple[Path, ...]) -> Iterator[str]:
    """Yields the address of the app, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"CHIPS_POOL": str(pool), "CHIPS_ROOTS": os.pathsep.join(map(str, roots))}
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), f"--server.port={port}"]
    server = subprocess.Popen(  # noqa: S603 -- an argument list of our own words, no shell
        [*command, "--server.address=127.0.0.1"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, server)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)


def _wait_for(address: str, server: "subprocess.Popen[bytes]", *, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):  # noqa: S310 -- our own address
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise UsageError("The app did not start.", fix="see what `chips app` says.")


def _first_view(browser: "Browser", server: str, pool: Path) -> float:
    page = _page(browser)
    began = time.monotonic()
    page.goto(f"{server}/?pool={pool.name}")
    page.locator(".card img").first.wait_for(timeout=PATIENCE)
    seconds = time.monotonic() - began
    page.close()
    return seconds


def _mapped(browser: "Browser", server: str, pool: Path, *, name: str) -> dict[str, float]:
    """Returns the seconds until the map is drawn, for the first look and the second, and from a lasso to its count."""
    first, _ = _map_page(browser, server, pool)
    again, page = _map_page(browser, server, pool)
    page.locator(".card img").first.wait_for(timeout=PATIENCE)
    lassos = [_lasso(page) for _ in range(LASSOS)]
    page.close()
    return {f"map_{name}_s": first, f"map_{name}_again_s": again, f"lasso_{name}_s": statistics.median(lassos)}


def _map_page(browser: "Browser", server: str, pool: Path) -> tuple[float, "Page"]:
    page = _page(browser)
    began = time.monotonic()
    page.goto(f"{server}/map?pool={pool.name}")
    page.locator(".stage[data-drawn]:not([data-drawn=''])").wait_for(timeout=PATIENCE)
    return time.monotonic() - began, page


def _lasso(page: "Page") -> float:
    """Draws round most of the map; returns the seconds from letting go to the count, then clears the selection."""
    box = page.locator(".overlay").bounding_box()
    assert box is not None  # noqa: S101 -- the map was waited for
    page.locator('.tools [data-tool="lasso"]').click()
    x, y, radius = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, 0.3 * box["height"]
    page.mouse.move(x + radius, y)
    page.mouse.down()
    for step in range(1, 25):
        turn = 2 * math.pi * step / 24
        page.mouse.move(x + radius * math.cos(turn), y + radius * math.sin(turn))
    began = time.monotonic()
    page.mouse.up()
    page.locator(".status b", has_text="selected").wait_for(timeout=PATIENCE)
    seconds = time.monotonic() - began
    page.wait_for_timeout(3000)  # the gallery follows
    page.locator(".status button").click()
    page.locator(".status b", has_text="pairs").wait_for(timeout=PATIENCE)
    page.wait_for_timeout(3000)
    return seconds


def _verdicts(browser: "Browser", server: str, pool: Path, *, turns: int) -> dict[str, Any]:
    """Returns the median seconds from a verdict's key to the next pair, and the bytes both ways, on the socket."""
    page = _page(browser)
    moved: list[int] = []
    page.on("websocket", lambda socket: _count(socket, moved))
    page.goto(f"{server}/misaligned?pool={pool.name}")
    seconds, sizes = [], []
    for _ in range(turns):
        page.wait_for_function(READY, timeout=PATIENCE)
        before = page.evaluate("() => window.chipsReview.reviewer.data.pair.id")
        page.wait_for_timeout(400)
        moved.clear()
        began = time.monotonic()
        page.keyboard.press("k")
        page.wait_for_function(SHOWN, arg=before, polling=10, timeout=PATIENCE)
        seconds.append(time.monotonic() - began)
        page.wait_for_timeout(800)
        sizes.append(sum(moved))
    page.close()
    return {"verdict_s": statistics.median(seconds), "verdict_s_max": max(seconds), "verdict_bytes": max(sizes)}


def _traced(browser: "Browser", server: str, pool: Path, *, turns: int) -> list[float]:
    """Returns the seconds from a click on a wrong prediction to its harmful pairs, another image each time."""
    page, seconds = _page(browser), list[float]()
    page.goto(f"{server}/mispredictions?pool={pool.name}")
    errors, blamed = page.get_by_text("All errors, the surest first"), page.get_by_text("Pushed towards the error")
    errors.or_(page.get_by_role("alert")).first.wait_for(timeout=PATIENCE)
    for turn in range(turns if errors.count() else 0):
        page.locator(".card").nth(turn).wait_for(timeout=PATIENCE)
        page.wait_for_timeout(1500)
        began = time.monotonic()
        page.locator(".card").nth(turn).click()
        blamed.first.wait_for(timeout=PATIENCE)
        page.locator(".card img").first.wait_for(timeout=PATIENCE)
        seconds.append(time.monotonic() - began)
        page.get_by_role("button", name="All errors").click()
        errors.wait_for(timeout=PATIENCE)
    page.close()
    return seconds


def _count(websocket: Any, moved: list[int]) -> None:
    for event in ("framereceived", "framesent"):
        websocket.on(event, lambda payload: moved.append(len(payload)))


def _page(browser: "Browser") -> "Page":
    return browser.new_page(viewport={"width": 1280, "height": 900})

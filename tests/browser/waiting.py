"""How the browser tests wait: for a server to answer, and for a place on the page to stand still."""

import time
import urllib.request


def answers(address, seconds=60):
    """Waits until the app at an address answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):  # noqa: S310
                return
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.2)


def still(place, seconds=30):
    """Returns where a place is, once it has been there for a while: what is drawn above it may push it down."""
    end = time.monotonic() + seconds
    before = None
    while time.monotonic() < end:
        box = place.bounding_box()
        if box is not None and box == before:
            return box
        before = box
        place.page.wait_for_timeout(400)
    raise TimeoutError("the place does not stand still")

"""The one door to open_clip: imported late, with torchvision made importable first, and off the network."""

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chips_core.clip.torchvision_ops import define_missing_ops

_lock = threading.RLock()


def open_clip_module() -> Any:
    """Returns the imported `open_clip`; nobody else imports it."""
    with _lock:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        define_missing_ops()
        return importlib.import_module("open_clip")


@contextmanager
def network(*, allowed: bool) -> Iterator[None]:
    """Runs its block with the Hugging Face libraries on or off the network, whatever the environment says.

    The libraries read `HF_HUB_OFFLINE` once, when they are imported; this sets what they made of it, and puts it back.
    """
    open_clip_module()
    constants: Any = importlib.import_module("huggingface_hub.constants")
    with _lock:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = not allowed
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before

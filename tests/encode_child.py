"""What the kill test runs in a child: imported once by the fork server, so that a child is at work at once."""

from pathlib import Path

import torch

from chips_core.clip import open_clip_module
from chips_core.jobs import encode
from chips_core.progress import Silent
from chips_core.store import writer

open_clip_module()


def encode_in_child(pool: str, model: str) -> None:
    """Encodes with a checkpoint after every block, so that a kill always has something to damage."""
    torch.set_num_threads(1)
    writer.CHECKPOINT_SECONDS = 0.0
    settings = encode.Settings(pool, model, device="cpu", precision="fp32", batch=4, workers=1)
    encode.run(settings, progress=Silent())


def done_rows(pool: Path) -> int:
    """Returns how many rows the unfinished features mark as stored."""
    import numpy as np

    for path in pool.glob("work/*/status.npy"):
        return int((np.load(path) != 0).sum())
    return 0

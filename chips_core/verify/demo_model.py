"""The model that ships with the demo: a small CLIP trained on phantoms of another seed than the demo's.

So the demo's pool is new to it, as a hospital's pool is new to a published model; and its captions were as partly
wrong as those of real life: the phantoms of its seed hold their planted errors too.
"""

import io
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from chips_core import atomic
from chips_core.clip.small import save_small, small_config, small_preprocess
from chips_core.phantoms import PhantomPair, Planted, encoded, plan
from chips_core.progress import Progress, Silent
from chips_core.verify.small import Recipe, train_small

if TYPE_CHECKING:
    from torch import Tensor

SEED = 1  # of the phantoms it is trained on; the demo's pool is drawn with another
PAIRS = 4000
IMAGE_SIZE = 64
CONFIG = small_config("resnet", IMAGE_SIZE, context_length=32)
# Sides are part of the captions, so nothing is mirrored; findings are small, so little is cut off. Little augmentation
# and a high rate, because such a small model is far from knowing its pairs by heart.
RECIPE = Recipe(
    epochs=30, batch_size=96, learning_rate=2e-3, mirror=False, turn=0.07, zoom=(0.9, 1.05), move=0.04, light=0.12
)
DESCRIPTION = "open_clip_config.json"
BATCH = 50


def retrain(folder: Path, *, pairs: int = PAIRS, recipe: Recipe = RECIPE, progress: Progress | None = None) -> Path:
    """Trains the demo model anew, writes it into `folder` and returns the path of its description.

    Minutes on two cores. The same seed, machine and thread count give the same weights; another machine gives a
    model that is as good.

    Args:
        folder: where to; made when it is not there.
        pairs: how many phantoms to train on.
        recipe: how.
        progress: told of every image drawn and every batch.
    """
    told = progress or Silent()
    chosen = [p for p in plan(seed=SEED, train=pairs, val=0, test=0) if p.planted != Planted.UNREADABLE]
    images = drawn(chosen, progress=told)
    captions = [pair.caption for pair in chosen]
    trained = train_small(images, captions, config=CONFIG, seed=SEED, recipe=recipe, progress=told)
    atomic.make_folder(folder)
    save_small(trained.model, CONFIG, to=folder / DESCRIPTION)
    return folder / DESCRIPTION


def drawn(pairs: list[PhantomPair], *, progress: Progress) -> "Tensor":
    """Returns the images as the model sees them before its normalisation, (N, 3, H, W) uint8."""
    import torch

    preprocess = small_preprocess(CONFIG)
    settings = CONFIG["preprocess_cfg"]
    mean, std = (torch.tensor(settings[key]).view(3, 1, 1) for key in ("mean", "std"))
    progress.start("draw", total=len(pairs), unit="images")
    images = []
    for data in _files(pairs):
        with Image.open(io.BytesIO(data)) as image:
            pixels = preprocess(image) * std + mean
        images.append((pixels * 255).round().clamp(0, 255).to(torch.uint8))
        progress.advance()
    return torch.stack(images)


def _files(pairs: list[PhantomPair]) -> Iterator[bytes]:
    """Yields the image files in order, drawn by as many processes as there are cores."""
    workers = len(os.sched_getaffinity(0))
    if workers < 2 or len(pairs) < 2 * BATCH:
        yield from map(encoded, pairs)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as crew:
        try:
            yield from crew.map(encoded, pairs, chunksize=BATCH)
        finally:
            crew.shutdown(cancel_futures=True)

"""Phantoms on disk: a data set folder with `pairs.csv` and its images, the same bytes on every run."""

import csv
import io
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chips_core import atomic
from chips_core.phantoms import abdomen, brain, chest, fundus, histology, skin, ultrasound
from chips_core.phantoms.canvas import finished
from chips_core.phantoms.pair import PhantomPair
from chips_core.phantoms.planning import plan
from chips_core.phantoms.planting import Planted
from chips_core.progress import Progress, Silent

COLUMNS = (
    "pair_id", "image", "caption", "label", "class_prompt", "split",
    "modality", "body_part", "group", "source", "caption_source",
)  # fmt: skip
PAINTERS = {
    "chest-radiograph": chest.draw,
    "brain-mri": brain.draw,
    "fundus-photograph": fundus.draw,
    "dermoscopy": skin.draw,
    "histology": histology.draw,
    "breast-ultrasound": ultrasound.draw,
    "abdominal-ct": abdomen.draw,
}
QUALITY = 90
BATCH = 25  # images a worker draws before it reports
WRITERS = 4  # threads that wait for the disk while the next images are drawn
ALONE = 60  # below this many images a second process costs more than it brings


def draw(pair: PhantomPair) -> NDArray[np.uint8]:
    """Returns the image of a pair, `(H, W, 3)`."""
    picture = finished(PAINTERS[pair.scene.modality](pair.scene))
    return _saved_anew(picture, pair) if pair.scene.copy else picture


def dataset_rows(pairs: Sequence[PhantomPair]) -> list[dict[str, str]]:
    """Returns the rows of `pairs.csv`; the planted kind is not among the columns."""
    return [
        {column: "phantom grammar" if column == "caption_source" else getattr(pair, column) for column in COLUMNS}
        for pair in pairs
    ]


def write_dataset(
    folder: Path,
    *,
    seed: int = 0,
    train: int = 2400,
    val: int = 300,
    test: int = 300,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[PhantomPair]:
    """Writes `pairs.csv` and `images/` into `folder` and returns the pairs; `pairs.csv` comes last, as the commit.

    Args:
        folder: where to; made when it is not there.
        seed: everything follows from it.
        train: pairs to train on.
        val: pairs to choose settings by.
        test: pairs to measure with.
        workers: processes; as many as there are cores when not given. The bytes do not depend on it.
        progress: told of every image.
    """
    pairs, told = plan(seed=seed, train=train, val=val, test=test), progress or Silent()
    atomic.make_folder(folder / "images")
    told.start("draw", total=len(pairs), unit="images")
    for done in _written(folder, pairs, workers=workers or len(os.sched_getaffinity(0))):
        told.advance(done)
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(dataset_rows(pairs))
    atomic.write_bytes(folder / "pairs.csv", text.getvalue().encode())
    return pairs


def encoded(pair: PhantomPair) -> bytes:
    """Returns the bytes of a pair's image file; damaged ones where that is the planted error."""
    picture = Image.fromarray(draw(pair))
    grey = pair.modality not in ("fundus-photograph", "dermoscopy", "histology")
    file = io.BytesIO()
    (picture.convert("L") if grey else picture).save(file, "JPEG", quality=QUALITY)
    data = file.getvalue()
    if pair.planted != Planted.UNREADABLE:
        return data
    rng = pair.scene.echo()
    whole_loss = (b"", b"<html><body>404 Not Found</body></html>\n", bytes(1024))
    return whole_loss[int(rng.integers(3))] if rng.random() < 0.4 else data[: int(len(data) * rng.uniform(0.1, 0.8))]


def _written(folder: Path, pairs: list[PhantomPair], *, workers: int) -> Iterator[int]:
    """Writes the images and yields how many more are there."""
    batches = [pairs[k : k + BATCH] for k in range(0, len(pairs), BATCH)]
    if workers < 2 or len(pairs) < ALONE:
        for batch in batches:
            yield _write_batch(folder, batch)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as crew:
        jobs = [crew.submit(_write_batch, folder, batch) for batch in batches]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            crew.shutdown(cancel_futures=True)


def _write_batch(folder: Path, batch: list[PhantomPair]) -> int:
    with ThreadPoolExecutor(WRITERS) as writers:
        jobs = [writers.submit(atomic.write_bytes, folder / pair.image, encoded(pair)) for pair in batch]
    for job in jobs:
        job.result()
    return len(batch)


def _saved_anew(picture: NDArray[np.uint8], pair: PhantomPair) -> NDArray[np.uint8]:
    """Returns the picture as somebody else's archive holds it: trimmed, scaled, brighter or darker, compressed."""
    rng = pair.scene.echo()
    image = Image.fromarray(picture)
    trim = rng.uniform(0, 3.5, 4)
    box = (trim[0], trim[1], image.width - trim[2], image.height - trim[3])
    scaled = image.resize(image.size, Image.Resampling.BICUBIC, box=box)
    levels = 255 * (np.arange(256) / 255) ** rng.uniform(0.88, 1.14)
    toned = scaled.point([round(v) for v in levels] * 3)
    file = io.BytesIO()
    toned.save(file, "JPEG", quality=int(rng.integers(55, 80)))
    return np.asarray(Image.open(file).convert("RGB"))

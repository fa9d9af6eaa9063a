"""The pretrain step: a pool's own encoder trained on a selection, and what that gained and cost, before and after.

A stopped training goes on where it was when the same command, or the job's resume, is given again. The trained model is
a folder that `chips encode --model FOLDER` and open_clip's `local-dir:` take.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from chips_core import atomic, fingerprint
from chips_core.clip import Encoder, require_same_encoder
from chips_core.clip.loading import LoadedModel, load_model
from chips_core.clip.precision import choose_device, choose_precision
from chips_core.clip.weights import fit_weights
from chips_core.data import ImageOpener
from chips_core.errors import InputError, UsageError
from chips_core.jobs import before_after
from chips_core.jobs.before_after import COLUMNS, Task, TaskLine, compared, pictures, refuse_overlap, task_of
from chips_core.jobs.models import model_of_record
from chips_core.progress import Progress
from chips_core.store import Features, Pool, Review
from chips_core.verify.checkpoint import read_checkpoint
from chips_core.verify.contrastive import Chunk
from chips_core.verify.pretrain import Lesson, PretrainSettings, Trained, pretrain
from chips_core.verify.trainee import trainee_of

REPORT = "report.json"


@dataclass(frozen=True)
class Settings:
    """What to train on, where to put it, how to train (see `PretrainSettings`), and what to judge it by.

    Attributes:
        pool: encoded by the model that is to be trained.
        selection: the name of a selection.
        to: the folder of the training, outside the pool.
        evaluate: the split that the target is judged on.
        retained: other pools, encoded by the same model, whose `evaluate` split says what was forgotten.
        images: the folder of the images, where they were moved since intake.
    """

    pool: str
    selection: str
    to: str
    part: Literal["heads", "last", "full"] = "heads"
    blocks: int = 1
    epochs: int = 5
    batch_size: int = 256
    chunk: int = 64
    rate: float = 1e-4
    weight_decay: float = 0.1
    warmup: float = 0.1
    save_every: int = 50
    seed: int = 0
    evaluate: str = "test"
    retained: tuple[str, ...] | list[str] = ()
    features: str | None = None
    images: str | None = None
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Trains, evaluates before and after, writes the report beside the checkpoint, and returns it."""
    pool = Pool.open(Path(settings.pool))
    folder = _checked_folder(Path(settings.to), pool=pool)
    stored = pool.features(settings.features)
    rows, training = _selected(pool, stored, settings.selection)
    tasks = [task_of(pool, split=settings.evaluate)]
    for path in settings.retained:
        other = Pool.open(Path(path))
        tasks.append(task_of(other, split=settings.evaluate, encoder=str(stored.record.get("encoder_fingerprint"))))
    refuse_overlap(training, tasks)
    loaded = _model(stored, pool)
    how = PretrainSettings(**{f.name: getattr(settings, f.name) for f in fields(PretrainSettings) if f.name in FORM})
    trained = _train(loaded, stored, rows, training, settings=settings, how=how, pool=pool, progress=progress)
    lines = _judged(tasks, trained, settings=settings, training=training, stored=stored, progress=progress)
    report = {
        "pool": pool.id,
        "selection": settings.selection,
        "pairs": len(rows),
        "model": str(trained.folder),
        "steps": trained.steps,
        "losses": list(trained.losses),
        "settings": asdict(how),
        "encoder_before": str(stored.record.get("encoder_fingerprint")),
        "torch": torch.__version__,
        "tasks": [asdict(line) for line in lines],
    }
    atomic.write_json(folder / REPORT, {**report, "model": trained.folder.name})
    return report


FORM = frozenset(f.name for f in fields(Settings)) & frozenset(f.name for f in fields(PretrainSettings))


def _selected(pool: Pool, stored: Features, name: str) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Returns the encoded rows of a selection in the order of their ids, and their columns."""
    with Review.open(pool.path) as review:
        chosen = set(review.selection_pairs(name))
    pairs = pool.kept(COLUMNS)
    rows = np.flatnonzero(pairs["pair_id"].isin(chosen).to_numpy() & stored.done)
    rows = rows[np.argsort(pairs["pair_id"].to_numpy(object)[rows].astype(str), kind="stable")]
    if len(rows) < 2:
        raise InputError(f"{len(rows)} pairs of '{name[:60]}' are encoded.", fix="choose a selection of two or more.")
    return rows, pairs.iloc[rows].reset_index(drop=True)


def _model(stored: Features, pool: Pool) -> LoadedModel:
    """Returns the model that encoded the pool; another one of the same name is refused."""
    loaded = load_model(model_of_record(stored.record, pool=pool.path))
    require_same_encoder(
        loaded.encoder(device="cpu", precision="fp32"),
        name=str(stored.record.get("encoder")),
        fingerprint=str(stored.record.get("encoder_fingerprint")),
        where=f"pool '{pool.path.name}'",
    )
    return loaded


def _train(
    loaded: LoadedModel,
    stored: Features,
    rows: NDArray[np.int64],
    training: pd.DataFrame,
    *,
    settings: Settings,
    how: PretrainSettings,
    pool: Pool,
    progress: Progress,
) -> Trained:
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device=device)
    encoder = loaded.encoder(device="cpu", precision="fp32")
    identity = fingerprint.of([encoder.fingerprint, stored.name, training["pair_id"].tolist(), precision])
    description = loaded.description()
    load = _cached(stored, rows) if how.part == "heads" else _opened(pool, training, encoder, images=settings.images)
    return pretrain(
        trainee_of(loaded.model, part=how.part, blocks=how.blocks, device=device, precision=precision),
        Lesson([str(pair_id) for pair_id in training["pair_id"]], load, identity),
        settings=how,
        folder=Path(settings.to),
        description=description,
        progress=progress,
    )


def _cached(stored: Features, rows: NDArray[np.int64]) -> Any:
    image, text = (torch.from_numpy(np.asarray(part[rows], np.float32)) for part in (stored.image, stored.text))

    def load(chosen: torch.Tensor) -> Chunk:
        return image[chosen], text[chosen]

    return load


def _opened(pool: Pool, training: pd.DataFrame, encoder: Encoder, *, images: str | None) -> Any:
    opener = ImageOpener(Path(images) if images else pool.source_root)
    tokens = encoder.tokenize(training["caption"].astype(str).tolist()).ids

    def load(chosen: torch.Tensor) -> Chunk:
        return pictures(training.iloc[chosen.tolist()], opener=opener, encoder=encoder), tokens[chosen]

    return load


def _judged(
    tasks: Sequence[Task],
    trained: Trained,
    *,
    settings: Settings,
    training: pd.DataFrame,
    stored: Features,
    progress: Progress,
) -> list[TaskLine]:
    """Returns what became of every task."""
    after = _model(stored, tasks[0].pool)
    fit_weights(after.model, read_checkpoint(trained.folder).weights, name=trained.folder.name)
    encoder = after.encoder(device=settings.device, precision=str(stored.record.get("precision", "auto")))
    sources = set(training["source"].astype(str))
    lines = []
    for task in tasks:
        changed = settings.part != "heads"
        view = before_after.view_after(task, encoder, towers_changed=changed, progress=progress)
        lines += compared(task, before_after.view_before(task), view, trained_sources=sources)
    return lines


def _checked_folder(to: Path, *, pool: Pool) -> Path:
    """Returns the folder of the training; none inside the pool or its source, and none that holds other things."""
    real = Path(os.path.realpath(to))
    for what, folder in (("pool", pool.path), ("source of the pool", pool.source_root)):
        inside = Path(os.path.realpath(folder))
        if real == inside or real.is_relative_to(inside) or inside.is_relative_to(real):
            raise UsageError(f"The folder lies in the {what}, or holds it.", fix="name a new folder elsewhere.")
    known = (REPORT, "step-", ".partial-", atomic.TEMPORARY)
    if real.exists() and not (real.is_dir() and all(path.name.startswith(known) for path in real.iterdir())):
        raise UsageError("There is something else in that folder.", fix="name a new folder.")
    return real

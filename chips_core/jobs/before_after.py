"""Before and after a training: what the model gained on its target, and what it forgot elsewhere.

Each task is a split of a pool, taken whole and source by source. The same images are judged by both models, and the
interval of the difference resamples whole patients: two equal models differ by 0, with an interval that holds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from chips_core.clip import Encoder
from chips_core.data import ImageOpener
from chips_core.errors import EncoderMismatch, InputError, UnreadableInput
from chips_core.influence.endpoint import Heads, embed
from chips_core.jobs.prompts import KIND as PROMPTS
from chips_core.jobs.scoring_set import class_prompts, heads_of
from chips_core.progress import Progress
from chips_core.store import Features, Pool
from chips_core.verify.bootstrap import Interval, interval
from chips_core.verify.proxy import Exam
from chips_core.verify.retrieval import ranks

COLUMNS = ["pair_id", "image", "caption", "label", "split", "source", "group", "image_sha256"]
AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Task:
    """The encoded pairs of a split: what both models are judged on.

    Attributes:
        pool: where they are from.
        stored: the features that the model before made of them.
        rows: (T,) features rows.
        pairs: (T,) their columns.
        split: its name.
        own: whether it is a split of the very pool that was trained on.
    """

    pool: Pool
    stored: Features
    rows: NDArray[np.int64]
    pairs: pd.DataFrame
    split: str
    own: bool


@dataclass(frozen=True)
class TaskLine:
    """What became of one task, or of one source of it (`source` is "" for the whole).

    Attributes:
        pool: the pool's name.
        split: the split's name.
        source: of the images.
        trained_on: whether the selection held pairs of this source; where not, the line says what was forgotten.
        images: with a class.
        before: zero-shot accuracy; None without images that have a class.
        after: likewise.
        change: of the accuracy, paired by image.
        pairs: of the retrieval.
        recall_before: how often the own caption is the best one for an image.
        recall_after: likewise.
        recall_change: paired by image.
    """

    pool: str
    split: str
    source: str
    trained_on: bool
    images: int
    before: float | None
    after: float | None
    change: Interval | None
    pairs: int
    recall_before: float
    recall_after: float
    recall_change: Interval | None


@dataclass(frozen=True, eq=False)
class View:
    """A task as one model sees it: features of images, captions and class prompts, and the heads."""

    image: Tensor
    text: Tensor
    prompts: Tensor | None
    heads: Heads


def task_of(pool: Pool, *, split: str, encoder: str | None = None) -> Task:
    """Returns a task; `encoder` is the fingerprint of the model before, where the pool is not the trained one."""
    stored = next((f for f in _feature_sets(pool) if encoder in (None, f.record.get("encoder_fingerprint"))), None)
    if stored is None:
        raise EncoderMismatch(
            f"Pool '{pool.path.name}' has no features of the model that is trained.",
            fix="run chips encode on it with that model first.",
        )
    pairs = pool.kept(COLUMNS)
    rows = np.flatnonzero((pairs["split"] == split).to_numpy() & stored.done)
    if not len(rows):
        raise InputError(
            f"Pool '{pool.path.name}' has no encoded pair in the split '{split}'.", fix="name another one."
        )
    return Task(pool, stored, rows, pairs.iloc[rows].reset_index(drop=True), split, own=encoder is None)


def refuse_overlap(training: pd.DataFrame, tasks: Sequence[Task]) -> None:
    """Raises where a pair, a patient or an image of the training is also in a task; patients only within a pool."""
    for task in tasks:
        for column, what in (("pair_id", "pairs"), ("group", "patients"), ("image_sha256", "images")):
            if column != "image_sha256" and not task.own:
                continue
            shared = (set(training[column]) & set(task.pairs[column])) - {""}
            if shared:
                raise InputError(
                    f"{len(shared):,} {what} of the training are also in the evaluation on '{task.split}' of pool "
                    f"'{task.pool.path.name}'.",
                    fix="train on a selection that `chips select` made: it keeps these out.",
                )


def view_before(task: Task) -> View:
    """Returns the task as the model saw it that encoded the pool; nothing is computed."""
    _, prompts = class_prompts(task.pool, task.stored.name)
    image, text = (torch.from_numpy(np.asarray(part[task.rows])) for part in (task.stored.image, task.stored.text))
    return View(image, text, prompts, heads_of(task.stored))


def view_after(task: Task, encoder: Encoder, *, towers_changed: bool, progress: Progress) -> View:
    """Returns the task as a trained model sees it; where only its heads were trained the features stay.

    Args:
        task: the task.
        encoder: of the trained model.
        towers_changed: whether images and captions must be encoded again.
        progress: told of every batch.
    """
    trained = encoder.heads
    heads = Heads(trained.image, trained.text, torch.tensor(trained.logit_scale))
    before = view_before(task)
    if not towers_changed:
        return View(before.image, before.text, before.prompts, heads)
    progress.start(f"encode {task.split} again", total=len(task.rows))
    opener, image, text = ImageOpener(task.pool.source_root), [], []
    for start in range(0, len(task.rows), AT_ONCE):
        some = task.pairs.iloc[start : start + AT_ONCE]
        image.append(encoder.image_features(pictures(some, opener=opener, encoder=encoder)))
        text.append(encoder.text_features(encoder.tokenize(some["caption"].astype(str).tolist()).ids))
        progress.advance(len(some))
    opener.close()
    prompts = None
    if before.prompts is not None:
        texts = task.pool.table(PROMPTS, task.stored.name, ["prompt"])["prompt"].astype(str).tolist()
        prompts = encoder.text_features(encoder.tokenize(texts).ids)
    return View(torch.cat(image), torch.cat(text), prompts, heads)


def pictures(pairs: pd.DataFrame, *, opener: ImageOpener, encoder: Encoder) -> Tensor:
    """Returns the pictures of some pairs as the model wants them; one that changed or is gone is told by its id."""
    found = []
    for pair_id, locator, sha256 in zip(pairs["pair_id"], pairs["image"], pairs["image_sha256"], strict=True):
        try:
            read = opener.read(str(locator))
        except UnreadableInput as error:
            raise InputError(f"The image of pair {pair_id} cannot be read any more.", fix="put it back.") from error
        if sha256 and read.sha256 != sha256:
            raise InputError(f"The image of pair {pair_id} is not the one of the intake.", fix="put that one back.")
        found.append(encoder.preprocess(read.image))
    return torch.stack(found)


def compared(task: Task, before: View, after: View, *, trained_sources: set[str]) -> list[TaskLine]:
    """Returns one line for the whole task, then one for each of its sources where there are several."""
    sources = task.pairs["source"].astype(str).to_numpy(dtype=object)
    names = sorted(set(sources) - {""})
    right, hits = _right(task, before, after), [_hits(task, view) for view in (before, after)]
    lines = [_line(task, np.ones(len(sources), np.bool_), "", right, hits, trained=task.own)]
    if len(names) > 1:
        for name in names:
            trained = task.own and name in trained_sources
            lines.append(_line(task, np.asarray(sources == name), name, right, hits, trained=trained))
    return lines


def _right(task: Task, before: View, after: View) -> list[NDArray[np.float64]] | None:
    """Returns for both models which images are recognised, NaN where there is no class; None without prompts."""
    classes, _ = class_prompts(task.pool, task.stored.name)
    labels = np.asarray(pd.Categorical(task.pairs["label"].to_numpy(object), categories=list(classes)).codes, np.int64)
    found = []
    for view in (before, after):
        if view.prompts is None or not (labels >= 0).any():
            return None
        empty = [""] * len(labels)
        exam = Exam(view.image, labels, view.prompts, torch.arange(len(classes)), classes, empty, empty)
        values = np.full(len(labels), np.nan)
        values[labels >= 0] = exam.right(view.heads)
        found.append(values)
    return found


def _hits(task: Task, view: View) -> NDArray[np.float64]:
    codes = torch.from_numpy(pd.factorize(task.pairs["caption"].astype(str))[0].astype(np.int64))
    image, text = embed(view.image, view.heads.image)[0], embed(view.text, view.heads.text)[0]
    return np.asarray((ranks(image, text, codes=codes) == 0).numpy(), dtype=np.float64)


def _line(
    task: Task,
    members: NDArray[np.bool_],
    source: str,
    right: list[NDArray[np.float64]] | None,
    hits: list[NDArray[np.float64]],
    *,
    trained: bool,
) -> TaskLine:
    groups = task.pairs["group"].astype(str).to_numpy(dtype=object)
    known = members & np.isfinite(right[0]) if right else np.zeros(len(members), np.bool_)
    before, after = (float(r[known].mean()) if known.any() else None for r in right or [hits[0], hits[0]])
    return TaskLine(
        pool=Path(task.pool.path).name,
        split=task.split,
        source=source,
        trained_on=trained,
        images=int(known.sum()),
        before=before,
        after=after,
        change=interval((right[1] - right[0])[known], groups[known].tolist()) if right and known.any() else None,
        pairs=int(members.sum()),
        recall_before=float(hits[0][members].mean()),
        recall_after=float(hits[1][members].mean()),
        recall_change=interval((hits[1] - hits[0])[members], groups[members].tolist()),
    )


def _feature_sets(pool: Pool) -> list[Features]:
    return [pool.features(artifact.name, verify=False) for artifact in reversed(pool.feature_sets())]

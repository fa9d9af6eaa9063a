"""Continued training of a CLIP on a selection: symmetric InfoNCE, AdamW, warm-up and cosine, exactly resumable.

Everything random is a function of (seed, epoch), the schedule of the step, and the optimiser's state is in the
checkpoint; so a training that was stopped and resumed is the one that was not. A loss or a gradient that is not finite
ends it with the last good checkpoint kept, and says at which step, rate and pairs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chips_core import fingerprint
from chips_core.errors import InputError, UsageError
from chips_core.influence.blocks import seeded
from chips_core.progress import Progress, Stopped
from chips_core.verify.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from chips_core.verify.contrastive import Chunk, backward
from chips_core.verify.trainee import Part, Trainee

STREAM = 9_301  # of the seed, for the order of the pairs
MOST_SCALE = math.log(100.0)  # as CLIP and open_clip
TOLD = 12  # pair ids in a message
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class PretrainSettings:
    """How to train.

    Attributes:
        part: what is trained (`trainee.Part`).
        blocks: last blocks of each tower, for part `last`.
        epochs: passes over the selection.
        batch_size: pairs a step, all of them each other's negatives.
        chunk: pairs that go through the towers with a graph at once; changes memory, not the result.
        rate: AdamW's at its highest.
        weight_decay: AdamW's, on matrices and kernels alone.
        warmup: share of the steps in which the rate rises.
        clip_norm: the longest gradient.
        save_every: steps between two checkpoints.
        seed: of the order of the pairs.
    """

    part: Part = "heads"
    blocks: int = 1
    epochs: int = 5
    batch_size: int = 256
    chunk: int = 64
    rate: float = 1e-4
    weight_decay: float = 0.1
    warmup: float = 0.1
    clip_norm: float = 1.0
    save_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        whole = min(self.epochs, self.chunk, self.save_every, self.batch_size - 1, self.blocks) >= 1
        if not whole or self.rate <= 0 or self.clip_norm <= 0 or self.weight_decay < 0 or not 0 <= self.warmup < 1:
            raise UsageError(
                "Settings of the training out of range.",
                fix="epochs, chunk, blocks, save_every ≥ 1, batches of 2 or more, a rate above 0, 0 ≤ warmup < 1.",
            )

    def identity(self) -> dict[str, Any]:
        """Returns what decides the result: all but how it is cut into chunks and when it is saved."""
        return {key: value for key, value in asdict(self).items() if key not in ("chunk", "save_every")}


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learnt from.

    Attributes:
        pair_ids: (n,) in a fixed order.
        load: rows -> their images and texts, as the trainee takes them.
        identity: fingerprint of model, pairs and everything else that decides the result.
    """

    pair_ids: Sequence[str]
    load: Callable[[Tensor], Chunk]
    identity: str


@dataclass(frozen=True)
class Trained:
    """How a training went: its steps, the mean loss of each epoch, and the folder of its last checkpoint."""

    steps: int
    losses: tuple[float, ...]
    folder: Path


class TrainingBroke(InputError):
    """The loss or its gradient is not finite."""


def pretrain(
    trainee: Trainee,
    lesson: Lesson,
    *,
    settings: PretrainSettings,
    folder: Path,
    description: Mapping[str, Any],
    progress: Progress,
) -> Trained:
    """Trains to the end, from the last checkpoint where there is one, and returns how it went.

    Args:
        trainee: the model in training.
        lesson: what it learns from.
        settings: see `PretrainSettings`.
        folder: of this training and no other.
        description: of the model, for the checkpoints.
        progress: told of every step; may stop it, which saves what was done.
    """
    course = _Course(trainee, lesson, settings=settings)
    mark = fingerprint.of([lesson.identity, settings.identity()])
    course.take_up(newest_checkpoint(folder), mark=mark)
    progress.start("train", total=course.steps, unit="steps")
    progress.advance(course.step)
    saved = course.step
    try:
        while course.step < course.steps:
            course.one_step()
            progress.advance()
            if course.step % settings.save_every == 0 or course.step == course.steps:
                save_checkpoint(course.checkpoint(mark), folder, description=description)
                saved = course.step
    except Stopped:
        if course.step > saved:
            save_checkpoint(course.checkpoint(mark), folder, description=description)
        raise
    path = save_checkpoint(course.checkpoint(mark), folder, description=description)
    return Trained(course.steps, course.epoch_losses(), path)


class _Course:
    """A training on its way: model, optimiser, step, losses."""

    def __init__(self, trainee: Trainee, lesson: Lesson, *, settings: PretrainSettings) -> None:
        count = len(lesson.pair_ids)
        if count < 2:
            raise InputError(f"{count} pairs cannot train a CLIP.", fix="choose a selection of two pairs or more.")
        self._trainee, self._lesson, self._settings = trainee, lesson, settings
        self._batches = max(1, round(count / settings.batch_size))
        self.steps = settings.epochs * self._batches
        self.step, self.losses = 0, list[float]()
        self._parameters = list(trainee.parameters())
        self._adam = _adamw(self._parameters, settings)

    def take_up(self, found: Checkpoint | None, *, mark: str) -> None:
        """Goes on from a checkpoint of this very training; another one's is refused."""
        if found is None:
            return
        if found.record.get("mark") != mark:
            raise InputError(
                "The folder holds a training of another selection, model or settings.",
                fix="name another folder, or remove that one.",
            )
        self._trainee.restore(found.weights)
        names = [(n, moment) for n in range(len(self._parameters)) for moment in MOMENTS]
        for n, moment in names:
            state = self._adam.state[self._parameters[n]]
            state[moment] = found.optimiser[f"{moment}.{n}"].to(self._parameters[n].device)
            state["step"] = torch.tensor(float(found.step))
        self.step, self.losses = found.step, [float(value) for value in found.record["losses"]]

    def one_step(self) -> None:
        """Learns from one batch."""
        rows = self._rows()
        rate = self._set_rate()
        self._adam.zero_grad(set_to_none=True)
        value = backward(self._trainee, self._lesson.load, rows, chunk=self._settings.chunk)
        length = float(torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.clip_norm))
        if not math.isfinite(value) or not math.isfinite(length):
            raise self._broke(rows, rate)
        self._adam.step()
        with torch.no_grad():
            self._trainee.log_scale.clamp_(max=MOST_SCALE)
        self.losses.append(value)
        self.step += 1

    def checkpoint(self, mark: str) -> Checkpoint:
        """Returns the training as it is now."""
        moments = {
            f"{moment}.{n}": self._adam.state[parameter][moment]
            for n, parameter in enumerate(self._parameters)
            for moment in MOMENTS
        }
        record = {"mark": mark, "settings": asdict(self._settings), "losses": self.losses}
        return Checkpoint(self.step, self._trainee.state(), moments, record)

    def epoch_losses(self) -> tuple[float, ...]:
        """Returns the mean loss of each epoch."""
        size = self._batches
        return tuple(sum(self.losses[i : i + size]) / size for i in range(0, len(self.losses), size))

    def _rows(self) -> Tensor:
        """Returns the batch of this step: each epoch goes over the pairs in an order of its own."""
        epoch, place = divmod(self.step, self._batches)
        order = torch.randperm(len(self._lesson.pair_ids), generator=seeded(self._settings.seed, STREAM + epoch))
        return torch.tensor_split(order, self._batches)[place]

    def _set_rate(self) -> float:
        warm = max(1, round(self._settings.warmup * self.steps))
        left = max(1, self.steps - warm)
        share = (
            (self.step + 1) / warm if self.step < warm else 0.5 * (1 + math.cos(math.pi * (self.step - warm) / left))
        )
        for group in self._adam.param_groups:
            group["lr"] = self._settings.rate * share
        return self._settings.rate * share

    def _broke(self, rows: Tensor, rate: float) -> TrainingBroke:
        ids = [self._lesson.pair_ids[row] for row in rows[:TOLD].tolist()]
        more = f" and {len(rows) - TOLD:,} more" if len(rows) > TOLD else ""
        return TrainingBroke(
            f"The loss or its gradient is not finite at step {self.step + 1} of {self.steps}, rate {rate:.3g}, "
            f"on the pairs {', '.join(ids)}{more}.",
            fix="look at these pairs, or lower the rate in a new folder; the last good checkpoint was kept.",
        )


def _adamw(parameters: Sequence[torch.nn.Parameter], settings: PretrainSettings) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.98), eps=1e-6)

"""Training of a small CLIP from scratch, in minutes on two cores: the model of the demo and of every benchmark.

What makes it fast and steady on a few thousand pairs: images are decoded once, to bytes in memory; each batch encodes
every different caption once; captions that are word for word equal are one class in the loss and not each other's
negatives; pictures are turned, moved and lit a little differently each time they are seen.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chips_core import atomic, fingerprint
from chips_core.clip import small as clip_small
from chips_core.errors import InputError
from chips_core.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor

MODEL_NAME = "small.json"
LOG_NAME = "training.json"


@dataclass(frozen=True)
class Recipe:
    """How a small model is trained.

    Attributes:
        epochs: passes over the pairs.
        batch_size: pairs a step; the negatives of a pair.
        learning_rate: AdamW's at its highest, after the warm-up; a cosine brings it to 0.
        weight_decay: AdamW's, on matrices and kernels alone.
        warmup_steps: steps in which the rate rises.
        clip_norm: the longest gradient.
        largest_scale: the limit of exp(logit_scale).
        mirror: whether half of the pictures are mirrored; wrong where captions say left and right.
        turn: largest turn of a picture, in radians.
        zoom: smallest and largest share of a picture that is seen.
        move: largest shift, in half widths.
        light: largest change of brightness (in standard deviations) and of contrast (as a share).
    """

    epochs: int = 40
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    warmup_steps: int = 100
    clip_norm: float = 1.0
    largest_scale: float = 100.0
    mirror: bool = True
    turn: float = 0.17
    zoom: tuple[float, float] = (0.8, 1.08)
    move: float = 0.1
    light: float = 0.2


@dataclass(frozen=True)
class TrainedSmall:
    """A trained model and how it came about.

    Attributes:
        model: an `open_clip.CLIP` in evaluation mode.
        config: its description, as `chips_core.clip.small.small_config` makes it.
        recipe: the recipe it was trained by.
        losses: mean loss of each epoch.
        precision: the arithmetic of the towers while training, fp32 or bf16.
    """

    model: Any
    config: dict[str, Any]
    recipe: Recipe
    losses: tuple[float, ...]
    precision: str


def train_small(
    images: "Tensor",
    captions: Sequence[str],
    *,
    config: Mapping[str, Any],
    seed: int,
    epochs: int | None = None,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
) -> TrainedSmall:
    """Returns a small CLIP trained from scratch on pairs, the same one for the same seed, machine and thread count.

    Args:
        images: (N, 3, H, W) uint8, at the size that `config` names.
        captions: one for each image.
        config: the description of the model (`small_config`).
        seed: of the first weights, the order and the augmentation.
        epochs: passes over the pairs; the recipe's where None.
        recipe: the rest of how to train.
        progress: told of every batch.
    """
    _check(images, captions)
    settings = _with_epochs(recipe or Recipe(), epochs)
    trainer = _Trainer(images, captions, config=config, seed=seed, recipe=settings)
    report = progress or Silent()
    report.start("train", total=settings.epochs * trainer.steps_per_epoch * trainer.batch_size)
    losses = tuple(trainer.epoch(report) for _ in range(settings.epochs))
    return TrainedSmall(trainer.model.eval(), dict(config), settings, losses, trainer.precision)


def save_small(trained: TrainedSmall, folder: Path) -> Path:
    """Writes description, weights and training log into `folder`; returns the path that `load_encoder` takes."""
    atomic.make_folder(folder)
    path = folder / MODEL_NAME
    clip_small.save_small(trained.model, trained.config, to=path)
    log = {"recipe": asdict(trained.recipe), "precision": trained.precision, "losses": list(trained.losses)}
    atomic.write_json(folder / LOG_NAME, log)
    return path


def recipe_fingerprint(config: Mapping[str, Any], *, recipe: Recipe, data: str, seed: int) -> str:
    """Returns the name of what training would give: description, recipe, fingerprint of the data, seed."""
    plain = json.loads(json.dumps(asdict(recipe)))
    return fingerprint.of({"config": dict(config), "recipe": plain, "data": data, "seed": seed})


def same_caption_loss(logits: "Tensor", caption: "Tensor") -> "Tensor":
    """Returns the symmetric InfoNCE of every pair, (B,), with equal captions as one class [decided].

    l_n = -1/2 sum_j Y_nj (log P_nj + log Q_jn), where Y_n is uniform over the pairs with the caption of n. With all
    captions different it is the usual loss; a caption that stands in the batch twice is no negative of itself.

    Args:
        logits: (B, B), row = image.
        caption: (B,) integers, equal where the captions are equal.
    """
    same = (caption[:, None] == caption[None]).to(logits.dtype)
    share = same / same.sum(1, keepdim=True)
    rows = (share * logits.log_softmax(1)).sum(1)
    columns = (share * logits.log_softmax(0)).sum(0)
    return -0.5 * (rows + columns)


def _check(images: "Tensor", captions: Sequence[str]) -> None:
    import torch

    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"Images are {tuple(images.shape)} {images.dtype}.", fix="give (N, 3, H, W) uint8.")
    if len(images) != len(captions):
        raise InputError(f"{len(images)} images, {len(captions)} captions.", fix="give one caption for each image.")
    if len(images) < 2:
        raise InputError("A CLIP cannot be trained on fewer than two pairs.", fix="give more pairs.")


def _with_epochs(recipe: Recipe, epochs: int | None) -> Recipe:
    return recipe if epochs is None else Recipe(**{**asdict(recipe), "epochs": epochs})


class _Trainer:
    """The model with all that changes while it is trained."""

    def __init__(
        self, images: "Tensor", captions: Sequence[str], *, config: Mapping[str, Any], seed: int, recipe: Recipe
    ) -> None:
        import torch

        self.recipe = recipe
        self.images = images
        self.batch_size = min(recipe.batch_size, len(images))
        self.steps_per_epoch = len(images) // self.batch_size
        self.precision = "bf16" if _has_fast_bfloat16() else "fp32"
        self.model = clip_small.build_small(config, seed=seed).to(memory_format=torch.channels_last)
        different = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}
        self._caption = torch.tensor([different[caption] for caption in captions])
        self._tokens = clip_small.small_tokenizer(config)(list(different)).ids
        settings = config["preprocess_cfg"]
        self._mean = torch.tensor(settings["mean"]).view(1, 3, 1, 1)
        self._std = torch.tensor(settings["std"]).view(1, 3, 1, 1)
        self._draw = torch.Generator().manual_seed(seed)
        self._optimiser = self._adamw()
        self._step = 0

    def epoch(self, progress: Progress) -> float:
        """Trains one pass and returns its mean loss."""
        import torch

        self.model.train()
        order = torch.randperm(len(self.images), generator=self._draw)
        total = 0.0
        for step in range(self.steps_per_epoch):
            total += self._train_on(order[step * self.batch_size : (step + 1) * self.batch_size])
            progress.advance(self.batch_size)
        mean = total / self.steps_per_epoch
        if not math.isfinite(mean):
            raise InputError("The training loss is not finite.", fix="lower the learning rate, or check the images.")
        return mean

    def _train_on(self, rows: "Tensor") -> float:
        import torch

        self._set_rate()
        loss = self._loss(rows)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self._optimiser.step()
        self._step += 1
        return float(loss.detach())

    def _loss(self, rows: "Tensor") -> "Tensor":
        import torch
        from torch.nn.functional import normalize

        pictures = self._augment((self.images[rows].float() / 255 - self._mean) / self._std)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        different, caption = torch.unique(self._caption[rows], return_inverse=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            a = self.model.encode_image(pictures)
            b = self.model.encode_text(self._tokens[different])
        a, b = normalize(a.float(), dim=1), normalize(b.float(), dim=1)[caption]
        scale = self.model.logit_scale.exp().clamp(max=self.recipe.largest_scale)
        return same_caption_loss(scale * a @ b.T, caption).mean()

    def _augment(self, pictures: "Tensor") -> "Tensor":
        import torch
        from torch.nn.functional import affine_grid, grid_sample

        recipe, count = self.recipe, len(pictures)
        turn = self._uniform(count, -recipe.turn, recipe.turn)
        zoom = self._uniform(count, *recipe.zoom)
        side = torch.where(self._uniform(count, 0, 1) < (0.5 if recipe.mirror else 0.0), -1.0, 1.0)
        across, down = self._uniform(count, -recipe.move, recipe.move), self._uniform(count, -recipe.move, recipe.move)
        cosine, sine = torch.cos(turn) * zoom, torch.sin(turn) * zoom
        rows = [torch.stack([cosine * side, -sine, across], 1), torch.stack([sine * side, cosine, down], 1)]
        grid = affine_grid(torch.stack(rows, 1), list(pictures.shape), align_corners=False)
        seen = grid_sample(pictures, grid, align_corners=False, padding_mode="border")
        brighter = self._uniform(count, -recipe.light, recipe.light).view(-1, 1, 1, 1)
        contrast = self._uniform(count, 1 - recipe.light, 1 + recipe.light).view(-1, 1, 1, 1)
        return seen * contrast + brighter

    def _uniform(self, count: int, low: float, high: float) -> "Tensor":
        import torch

        return low + (high - low) * torch.rand(count, generator=self._draw)

    def _set_rate(self) -> None:
        steps = self.recipe.epochs * self.steps_per_epoch
        warm = min(1.0, (self._step + 1) / min(self.recipe.warmup_steps, max(1, steps // 4)))
        rate = self.recipe.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * self._step / steps))
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def _adamw(self) -> Any:
        import torch

        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.recipe.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.recipe.learning_rate, betas=(0.9, 0.98))


def _has_fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices itself; elsewhere bfloat16 would be slower."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported())

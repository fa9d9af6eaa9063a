"""What of a CLIP is trained: its endpoint on cached features, its last blocks too, or all of it.

The towers stay in evaluation mode: dropout is off, and the statistics of batch norms are held as they came. Continued
training on a few thousand pairs has too little to learn them from, and so a batch cut into chunks gives the very same
gradient as a whole one [decided].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from chips_core.clip.endpoint import take_endpoint
from chips_core.clip.precision import Precision, arithmetic
from chips_core.errors import InputError, UsageError

Part = Literal["heads", "last", "full"]


class Trainee(Protocol):
    """A model in training: two towers up to unit embeddings, a scale, and what an open_clip checkpoint of it holds."""

    @property
    def log_scale(self) -> nn.Parameter:
        """The logarithm of the scale."""

    def image(self, batch: Tensor) -> Tensor:
        """Returns unit embeddings, (B, D) float32."""

    def text(self, batch: Tensor) -> Tensor:
        """Returns unit embeddings, (B, D) float32."""

    def parameters(self) -> Sequence[nn.Parameter]:
        """Returns what is trained, always in the same order."""

    def state(self) -> dict[str, Tensor]:
        """Returns the whole model's tensors by open_clip's names, as they are now."""

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Takes up the tensors that `state` gave."""


class HeadsTrainee:
    """The two last linear layers and the scale; image and text batches are cached features, no image is opened."""

    def __init__(self, model: Any) -> None:
        self._whole: dict[str, Tensor] = dict(model.state_dict(keep_vars=True))
        self._layers = take_endpoint(model)
        self._scale: nn.Parameter = model.logit_scale
        self._heads = [nn.Parameter(layer.as_head().clone()) for layer in (self._layers.image, self._layers.text)]

    @property
    def log_scale(self) -> nn.Parameter:
        """The model's own."""
        return self._scale

    def image(self, batch: Tensor) -> Tensor:
        """Returns unit embeddings of image features, (B, dv) -> (B, D)."""
        return normalize(batch.float() @ self._heads[0].T, dim=1)

    def text(self, batch: Tensor) -> Tensor:
        """Returns unit embeddings of text features, (B, dt) -> (B, D)."""
        return normalize(batch.float() @ self._heads[1].T, dim=1)

    def parameters(self) -> Sequence[nn.Parameter]:
        """Returns both heads and the scale."""
        return [*self._heads, self._scale]

    def state(self) -> dict[str, Tensor]:
        """Returns the model's tensors; the layers share memory with them, so the heads are copied in."""
        with torch.no_grad():
            for layer, head in zip((self._layers.image, self._layers.text), self._heads, strict=True):
                width = layer.weight.shape[1]
                layer.weight.copy_(head[:, :width])
                if layer.bias is not None:
                    layer.bias.copy_(head[:, width])
        return {name: value.detach() for name, value in self._whole.items()}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Takes up the tensors that `state` gave."""
        _copy(weights, into=self._whole)
        with torch.no_grad():
            for layer, head in zip((self._layers.image, self._layers.text), self._heads, strict=True):
                head.copy_(layer.as_head())


@dataclass
class TowersTrainee:
    """The whole model with some of its parameters unlocked; image batches are pictures, text batches token ids."""

    model: Any
    device: torch.device
    precision: Precision

    @property
    def log_scale(self) -> nn.Parameter:
        """The model's own."""
        found: nn.Parameter = self.model.logit_scale
        return found

    def image(self, batch: Tensor) -> Tensor:
        """Returns unit embeddings of pictures, (B, 3, H, W) -> (B, D)."""
        with arithmetic(self.precision, device=self.device):
            found = self.model.encode_image(batch.to(self.device))
        return normalize(found.float(), dim=1)

    def text(self, batch: Tensor) -> Tensor:
        """Returns unit embeddings of captions, (B, L) -> (B, D)."""
        with arithmetic(self.precision, device=self.device):
            found = self.model.encode_text(batch.to(self.device))
        return normalize(found.float(), dim=1)

    def parameters(self) -> Sequence[nn.Parameter]:
        """Returns the unlocked parameters."""
        return [value for value in self.model.parameters() if value.requires_grad]

    def state(self) -> dict[str, Tensor]:
        """Returns the model's tensors."""
        return {name: value.detach() for name, value in self.model.state_dict().items()}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Takes up the tensors that `state` gave."""
        _copy(weights, into=self.model.state_dict(keep_vars=True))


def trainee_of(model: Any, *, part: Part, blocks: int, device: torch.device, precision: Precision) -> Trainee:
    """Returns a model made ready for training; it becomes the trainee's own.

    Args:
        model: of open_clip.
        part: `heads` trains the endpoint on cached features, `last` also the last blocks of both towers, `full` all.
        blocks: of each tower, for `last`.
        device: where to compute.
        precision: of the towers; the weights themselves stay float32.
    """
    model = model.float().eval()
    if part == "heads":
        return HeadsTrainee(model)
    model.requires_grad_(part == "full")
    if part == "last":
        _unlock_last(model, blocks)
    model.logit_scale.requires_grad_(True)
    return TowersTrainee(model.to(device), device, precision)


def _copy(weights: Mapping[str, Tensor], *, into: Mapping[str, Tensor]) -> None:
    if set(weights) != set(into):
        raise InputError("The checkpoint is of another model.", fix="begin a training of this model in a new folder.")
    with torch.no_grad():
        for name, value in into.items():
            value.copy_(weights[name])


def _unlock_last(model: Any, blocks: int) -> None:
    """Unlocks the last blocks and what follows them, as open_clip itself divides a model into groups."""
    from open_clip.modified_resnet import ModifiedResNet

    if blocks < 1:
        raise UsageError(f"{blocks} last blocks.", fix="train one or more, or the heads alone with --part heads.")
    if isinstance(model.visual, ModifiedResNet):  # open_clip cannot unlock a part of it
        stages = [model.visual.layer1, model.visual.layer2, model.visual.layer3, model.visual.layer4]
        for module in (*stages[-blocks:], model.visual.attnpool):
            module.requires_grad_(True)
    else:
        model.lock_image_tower(unlocked_groups=blocks + 1)
    model.lock_text_tower(unlocked_layers=blocks + 1)

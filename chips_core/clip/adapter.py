"""open_clip's models as encoders."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from chips_core import fingerprint
from chips_core.clip.architecture import Architecture, preprocessing_of, transform_of
from chips_core.clip.encoder import Heads, Tokenizer, Tokens
from chips_core.clip.endpoint import take_endpoint
from chips_core.clip.precision import Precision, arithmetic, lower_weights
from chips_core.clip.text_tower import text_tower
from chips_core.clip.weights import checked_logit_scale
from chips_core.errors import InputError


class OpenClipEncoder:
    """A frozen CLIP of open_clip: see `chips_core.clip.encoder.Encoder`.

    Args:
        model: the model; it becomes the encoder's own and loses its last layers.
        architecture: what it was built from.
        tokenizer: what its captions go through.
        name: how to name it to a person.
        device: where to compute.
        precision: with which arithmetic.
    """

    def __init__(
        self,
        model: Any,
        architecture: Architecture,
        *,
        tokenizer: Tokenizer,
        name: str,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self.name, self.device, self.precision = name, device, precision
        self.preprocessing = preprocessing_of(architecture)
        self.fingerprint = _fingerprint(model, architecture, tokenizer=tokenizer, preprocessing=self.preprocessing)
        logit_scale = checked_logit_scale(model, name=name)
        endpoint = take_endpoint(model)
        self._constant_image, self._constant_text = endpoint.image.bias is not None, endpoint.text.bias is not None
        self.heads = Heads(endpoint.image.as_head(), endpoint.text.as_head(), logit_scale)
        self._tokenizer, self._transform = tokenizer, transform_of(self.preprocessing)
        lower_weights(model, precision=precision)
        # the weights go on to require a gradient, which nothing here computes: without, torch's linear layers take the
        # slow way on turned inputs (see lower_weights)
        self._model = model.to(device).requires_grad_(True)
        self._text_tower = text_tower(self._model)

    @property
    def image_dim(self) -> int:
        """dv, the length of an image's features."""
        return self.heads.image.shape[1]

    @property
    def text_dim(self) -> int:
        """dt, the length of a caption's features."""
        return self.heads.text.shape[1]

    @property
    def embed_dim(self) -> int:
        """D, the length of an embedding."""
        return self.heads.image.shape[0]

    @property
    def context_length(self) -> int:
        """The number of tokens a caption may have."""
        return self._tokenizer.context_length

    def preprocess(self, image: Image.Image) -> Tensor:
        """Returns an image as the model wants it, (3, H, W) float32."""
        return self._transform(image)

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        """Returns captions as the model wants them, and how many tokens of each were cut."""
        return self._tokenizer(captions)

    def image_features(self, batch: Tensor) -> Tensor:
        """Returns the features of images, (B, 3, H, W) -> (B, dv) float32 on the CPU."""
        return self._features(self._model.visual, batch, constant=self._constant_image)

    def text_features(self, ids: Tensor) -> Tensor:
        """Returns the features of captions, (B, context_length) -> (B, dt) float32 on the CPU."""
        return self._features(self._text_tower, ids, constant=self._constant_text)

    def embed_images(self, batch: Tensor) -> Tensor:
        """Returns unit embeddings of images, (B, 3, H, W) -> (B, d) float32 on the CPU."""
        return _unit(self.image_features(batch) @ self.heads.image.T)

    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        """Returns unit embeddings of captions, (B, d) float32 on the CPU."""
        return _unit(self.text_features(self.tokenize(captions).ids) @ self.heads.text.T)

    def _features(self, tower: Callable[[Tensor], Any], batch: Tensor, *, constant: bool) -> Tensor:
        """Returns what a tower without its last layer makes of a batch, with a constant 1 where the head has a bias."""
        self._model.eval()  # whatever the caller did: dropout and batch statistics have no place here
        with torch.inference_mode(), arithmetic(self.precision, device=self.device):
            found = tower(batch.to(self.device, non_blocking=True))
            features = found[0] if isinstance(found, tuple) else found
            features = features.float().cpu()
        if features.ndim != 2:
            raise InputError(
                f"{self.name} gives {features.ndim - 1}-dimensional features.", fix="use a model that pools its tokens."
            )
        # made outside inference mode: a caller may fit a head on these by gradient descent
        return torch.cat([features, features.new_ones(len(features), 1)], dim=1) if constant else features.clone()


def encoder_of(  # what a training loop uses to look at its model as an encoder
    model: Any,
    architecture: Architecture,
    *,
    tokenizer: Tokenizer,
    name: str,
    device: torch.device,
    precision: Precision,
) -> OpenClipEncoder:
    """Returns the encoder of a copy of `model`, as it is now; the model itself stays as it is."""
    return OpenClipEncoder(
        copy.deepcopy(model).eval(), architecture, tokenizer=tokenizer, name=name, device=device, precision=precision
    )


def _fingerprint(
    model: Any, architecture: Architecture, *, tokenizer: Tokenizer, preprocessing: Mapping[str, Any]
) -> str:
    """Returns the fingerprint of everything that decides the features, but for the precision."""
    weights = {}
    for name, value in sorted(model.state_dict().items()):
        plain = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        weights[name] = [str(value.dtype), list(value.shape), fingerprint.of_bytes(memoryview(plain.numpy()))]
    towers = {key: value for key, value in architecture.model.items() if key != "output_dict"}
    return fingerprint.of([weights, towers, dict(preprocessing), tokenizer.identity])


def _unit(embeddings: Tensor) -> Tensor:
    return torch.nn.functional.normalize(embeddings, dim=-1)

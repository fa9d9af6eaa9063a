"""What every encoder offers: features before the last linear layers, and those layers.

Notation (methods.md, 1): features x of an image and y of a caption; embeddings a = W_v x and b = W_t y; the logit of a
pair is s â·b̂ with s = exp(logit_scale). Where a model's last layer has a bias, the features end in a constant 1 and
the head has one more column, so that the endpoint is exactly linear.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor


@dataclass(frozen=True)
class Heads:
    """The endpoint of a model: its two last linear layers and its temperature.

    Attributes:
        image: W_v, (d, dv) float32.
        text: W_t, (d, dt) float32.
        logit_scale: the parameter itself, a logarithm; the logits are multiplied by `scale`.
    """

    image: "Tensor"
    text: "Tensor"
    logit_scale: float

    @property
    def scale(self) -> float:
        """The s of methods.md, exp(logit_scale) = 1/temperature: what the cosines are multiplied by."""
        return math.exp(self.logit_scale)


@dataclass(frozen=True)
class Tokens:
    """Captions as numbers.

    Attributes:
        ids: (B, context_length) int64.
        lost: per caption, how many of its tokens did not fit and were cut; 0 where it was kept whole.
    """

    ids: "Tensor"
    lost: tuple[int, ...]


class Tokenizer(Protocol):
    """Turns captions into numbers, the same ones every time."""

    @property
    def context_length(self) -> int:
        """The number of tokens a caption may have, the marks of its start and end included."""

    @property
    def identity(self) -> dict[str, Any]:
        """Plain data that differs when the numbers would."""

    def __call__(self, captions: Sequence[str]) -> Tokens:
        """Returns the tokens of every caption."""


class Encoder(Protocol):
    """A frozen CLIP."""

    @property
    def name(self) -> str:
        """How to name it to a person: the model and where its weights are from."""

    @property
    def fingerprint(self) -> str:
        """Names the weights, the architecture, the preprocessing and the tokenizer together."""

    @property
    def image_dim(self) -> int:
        """dv, the length of an image's features, a constant 1 included."""

    @property
    def text_dim(self) -> int:
        """dt, the length of a caption's features, a constant 1 included."""

    @property
    def embed_dim(self) -> int:
        """d, the length of an embedding."""

    @property
    def context_length(self) -> int:
        """The number of tokens a caption may have."""

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The settings of `preprocess`, as plain data."""

    @property
    def precision(self) -> str:
        """The arithmetic of the towers: fp32, bf16 or fp16."""

    @property
    def device(self) -> "torch.device":
        """Where the towers are."""

    @property
    def heads(self) -> Heads:
        """The endpoint, on the CPU."""

    def preprocess(self, image: "Image.Image") -> "Tensor":
        """Returns an image as the model wants it, (3, H, W) float32; the caller opens and converts the file."""

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        """Returns captions as the model wants them, and how many tokens of each were cut."""

    def image_features(self, batch: "Tensor") -> "Tensor":
        """Returns the features of images, (B, 3, H, W) -> (B, dv) float32 on the CPU."""

    def text_features(self, ids: "Tensor") -> "Tensor":
        """Returns the features of captions, (B, context_length) -> (B, dt) float32 on the CPU."""

    def embed_images(self, batch: "Tensor") -> "Tensor":
        """Returns unit embeddings of images, (B, 3, H, W) -> (B, d) float32 on the CPU."""

    def embed_texts(self, captions: Sequence[str]) -> "Tensor":
        """Returns unit embeddings of captions, (B, d) float32 on the CPU."""

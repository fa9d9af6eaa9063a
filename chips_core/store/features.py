"""Features: what the frozen encoder saw of every kept pair, before its last linear layers.

`image` is (N, dv) and `text` (N, dt), float16, row i belonging to the i-th kept pair; `status` (N,) says which rows
count. Values are read from maps, so a million pairs open at once; the files are verified against their SHA-256 when
the pool hands them out.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from chips_core.errors import InputError, PoolDamaged

Array = npt.NDArray[Any]


class Status(IntEnum):
    """What became of a pair in the encoder; the numbers are those in status.npy."""

    UNDONE = 0  # never written: its row is not zeros, it is nothing
    DONE = 1
    MISSING = 2  # the image is gone
    BROKEN = 3  # the image cannot be read whole
    CHANGED = 4  # the image is not the one that intake saw


@dataclass(frozen=True)
class Heads:
    """The encoder's last linear layers, `image` (d, dv) and `text` (d, dt), and its logit scale.

    `logit_scale` is the encoder's parameter as its checkpoint holds it, a logarithm: s = exp(logit_scale).
    """

    image: npt.NDArray[np.float32]
    text: npt.NDArray[np.float32]
    logit_scale: float


@dataclass(frozen=True)
class Features:
    """The features of a pool by one encoder."""

    name: str
    fingerprint: str
    image: Array
    text: Array
    status: npt.NDArray[np.uint8]
    heads: Heads
    record: dict[str, Any]

    @property
    def done(self) -> npt.NDArray[np.bool_]:
        """Which rows hold features, (N,); the others are not to be used."""
        return np.asarray(self.status == Status.DONE)

    def counts(self) -> dict[str, int]:
        """Returns how many pairs have which status, those that occur."""
        return {s.name.lower(): int((self.status == s).sum()) for s in Status if (self.status == s).any()}


def packed_heads(heads: Heads) -> bytes:
    """Returns the heads as the bytes of a safetensors file."""
    tensors = {
        "image": np.ascontiguousarray(heads.image, dtype=np.float32),
        "text": np.ascontiguousarray(heads.text, dtype=np.float32),
        "logit_scale": np.asarray(heads.logit_scale, dtype=np.float32).reshape(()),
    }
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise InputError("The encoder's heads hold values that are not finite.", fix="take another checkpoint.")
    return bytes(save_tensors(tensors))


def unpacked_heads(data: bytes) -> Heads:
    """Returns the heads in the bytes of a safetensors file."""
    try:
        tensors = load_tensors(data)
        return Heads(tensors["image"], tensors["text"], float(tensors["logit_scale"]))
    except (SafetensorError, KeyError, ValueError) as error:
        raise PoolDamaged(
            "heads.safetensors is damaged.", fix="run: chips check POOL --repair, then encode again."
        ) from error


def check_shapes(features: Features, *, count: int) -> None:
    """Raises PoolDamaged when the parts of the features do not fit each other or the pool."""
    image, text, heads = features.image, features.text, features.heads
    fits = (
        image.ndim == text.ndim == 2
        and image.dtype == text.dtype == np.float16
        and features.status.dtype == np.uint8
        and len(image) == len(text) == len(features.status) == count
        and heads.image.ndim == heads.text.ndim == 2
        and heads.image.shape == (heads.text.shape[0], image.shape[1])
        and heads.text.shape[1] == text.shape[1]
    )
    if not fits:
        raise PoolDamaged(
            f"The features '{features.name}' do not have the shapes that this pool needs.",
            fix="run: chips check POOL --repair, then encode again.",
        )

"""Small CLIP models of our own: described in one JSON file, trained from scratch in minutes, shipped in a few MB.

A description from `small_config` is built by `build_small`, trained by whoever needs it on what `small_tokenizer` and
`small_preprocess` make of captions and pictures, written by `save_small`, and read again by `load_encoder`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chips_core import atomic
from chips_core.clip.architecture import architecture_of, build_model, own_tokenizer, preprocessing_of, transform_of
from chips_core.clip.hashed_words import KIND, HashedWords
from chips_core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_SUFFIX = ".safetensors"


def small_config(  # noqa: PLR0913
    kind: Literal["vit", "resnet"] = "resnet",
    image_size: int = 64,
    *,
    embed_dim: int = 128,
    vision_width: int | None = None,
    vision_layers: int | None = None,
    text_width: int = 128,
    text_layers: int = 2,
    vocab_size: int = 4096,
    context_length: int = 48,
) -> dict[str, Any]:
    """Returns the JSON description of a small CLIP: 1-3 M parameters for images, about 1 M for captions.

    Args:
        kind: `vit`, a vision transformer on 8 px patches, or `resnet`, open_clip's ModifiedResNet.
        image_size: pixels a side; a multiple of 8 for `vit`, of 32 for `resnet`.
        embed_dim: the length of an embedding.
        vision_width: channels; 192 for `vit`, 16 for `resnet` (the last of its stages has 32 times as many).
        vision_layers: blocks, of the whole `vit` (4) or of each of the four stages of the `resnet` (1).
        text_width: the width of the text transformer, a multiple of 32.
        text_layers: its blocks.
        vocab_size: the places of the hashed-word tokenizer.
        context_length: the tokens of a caption.
    """
    step = {"vit": 8, "resnet": 32}.get(kind)
    if step is None or image_size < step or image_size % step:
        raise UsageError(
            f"No small model of kind {kind!r} at {image_size} px.",
            fix="use 'vit' with a multiple of 8, or 'resnet' with a multiple of 32.",
        )
    vision: dict[str, Any] = {"layers": [vision_layers or 1] * 4, "width": vision_width or 16, "head_width": 64}
    if kind == "vit":
        vision = {"layers": vision_layers or 4, "width": vision_width or 192, "head_width": 32, "patch_size": 8}
    text = {"width": text_width, "heads": text_width // 32, "layers": text_layers}
    return {
        "model_cfg": {
            "embed_dim": embed_dim,
            "vision_cfg": {"image_size": image_size, **vision},
            "text_cfg": {"context_length": context_length, "vocab_size": vocab_size, **text},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "tokenizer": {"kind": KIND, "vocab_size": vocab_size, "context_length": context_length},
    }


def build_small(config: Mapping[str, Any], *, seed: int) -> Any:
    """Returns the described model (an `open_clip.CLIP`) with the random weights of `seed`, in evaluation mode."""
    return build_model(architecture_of(config, where="the description"), seed=seed)


def small_tokenizer(config: Mapping[str, Any]) -> HashedWords:
    """Returns the tokenizer of a description made by `small_config`."""
    tokenizer = own_tokenizer(architecture_of(config, where="the description"))
    if tokenizer is None:
        raise UsageError("This description has no tokenizer of our own.", fix="use one made by small_config.")
    return tokenizer


def small_preprocess(config: Mapping[str, Any]) -> Callable[[Any], "Tensor"]:
    """Returns the preprocessing of a described model: a PIL image -> (3, H, W) float32; no augmentation."""
    return transform_of(preprocessing_of(architecture_of(config, where="the description")))


def save_small(model: Any, config: Mapping[str, Any], *, to: Path) -> Path:
    """Writes a model as `to` (JSON) and the weights beside it, and returns the path of the weights.

    Matrices and kernels are kept in float16; vectors (biases, norms, the temperature, running statistics, whose
    variances may lie below what float16 can hold) in float32: they are a hundredth of the size.
    """
    import torch
    from safetensors.torch import save

    weights = to.with_suffix(WEIGHTS_SUFFIX)
    halves = {
        name: (value.to(torch.float16) if value.is_floating_point() and value.ndim > 1 else value)
        .detach()
        .cpu()
        .contiguous()
        for name, value in model.state_dict().items()
    }
    atomic.write_bytes(weights, save(halves))
    atomic.write_json(to, dict(config))
    return weights

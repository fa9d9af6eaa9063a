"""Reads a checkpoint without running anything in it, and puts it into a model whole or not at all.

Kinds of files: `.safetensors`; and torch's own `.pt`, `.pth`, `.bin`, read with `weights_only`, which knows tensors and
nothing else. open_clip's training wraps the tensors in `state_dict` and prefixes their names with `module.`.
"""

import json
import math
import struct
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch._weights_only_unpickler import UnpicklingError  # type: ignore[attr-defined]  # re-exported, not declared

from chips_core.clip.library import open_clip_module
from chips_core.errors import InputError

HEADER_LIMIT = 32 << 20  # bytes; the header of a ViT-bigG is under 300 kB, and reading one costs time before any check
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")
TORCH_BEGINS = (b"PK\x03\x04", b"\x80")  # a zip file, or the older form
TORCH_ERRORS = (
    UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    AssertionError,
    OverflowError,
    MemoryError,
    ImportError,
    struct.error,
    zipfile.BadZipFile,
    OSError,
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a checkpoint by name, prefixes removed, every number finite."""
    if not path.is_file():
        raise InputError(f"No weights at {path}.", fix="check the path.")
    found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for key in WRAPPERS:
        if isinstance(found.get(key), Mapping):
            found = dict(found[key])
            break
    strangers = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if not found or strangers:
        raise InputError(
            f"{path.name} is not a checkpoint of a model: "
            + (f"{_first(strangers)} are no tensors." if strangers else "it holds no tensors."),
            fix="give the file with the model's weights.",
        )
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    spoiled = [name for name, value in found.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if spoiled:
        raise InputError(
            f"{path.name} holds NaN or infinite numbers in {_first(spoiled)}.",
            fix="training broke before this checkpoint: take an earlier one.",
        )
    return found


def fit_weights(model: Any, weights: Mapping[str, Tensor], *, name: str) -> None:
    """Puts all weights into a model; where one is missing, too many or of another shape, changes nothing and raises."""
    fitted = _as_of_open_clip(model, dict(weights), name=name)
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in fitted]
    extra = [key for key in fitted if key not in wanted]
    shapes = [
        f"{key} {tuple(value.shape)} instead of {tuple(wanted[key].shape)}"
        for key, value in fitted.items()
        if key in wanted and value.shape != wanted[key].shape
    ]
    troubles = [
        f"{len(keys)} {what}: {_first(keys)}"
        for what, keys in (("missing", missing), ("not in the model", extra), ("of another shape", shapes))
        if keys
    ]
    if troubles:
        raise InputError(
            f"The weights {name} do not fit the model. " + "; ".join(troubles) + ".",
            fix="name the model that these weights were trained as, or give its JSON description.",
        )
    model.load_state_dict(fitted, strict=True)


def checked_logit_scale(model: Any, *, name: str) -> float:
    """Returns the model's logit_scale (a logarithm); not finite is refused, a scale above 100 is warned of."""
    value = float(model.logit_scale.detach().reshape(-1)[0])
    if not math.isfinite(value) or value > 20:
        raise InputError(f"The logit scale of {name} is exp({value}).", fix="take an earlier checkpoint.")
    if math.exp(value) > 100.01:
        warnings.warn(
            f"The logit scale of {name} is {math.exp(value):,.0f}; CLIP is trained with at most 100. "
            "An over-confident model makes influence follow the temperature.",
            stacklevel=2,
        )
    return value


def _read_safetensors(path: Path) -> dict[str, Any]:
    """Reads a safetensors file; its header is looked at before the library reads it."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        start = handle.read(8)
    length = int.from_bytes(start, "little") if len(start) == 8 else size
    if length > min(size - 8, HEADER_LIMIT):
        raise _damaged(path, f"its header of {length:,} bytes does not fit a file of {size:,}")
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        raise _damaged(path, str(error)) from error


def _read_torch(path: Path) -> dict[str, Any]:
    """Reads one of torch's own files; whatever is not a plain tensor, list, dict or number is refused."""
    with path.open("rb") as handle:
        if not handle.read(4).startswith(TORCH_BEGINS):
            raise InputError(f"{path.name} is not a checkpoint.", fix="give a .safetensors or a .pt file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except TORCH_ERRORS as error:
        if isinstance(error, UnpicklingError) or "TorchScript" in str(error):
            raise InputError(
                f"{path.name} holds more than weights, and reading that would run code of its author.",
                fix="ask for the weights as .safetensors.",
            ) from error
        raise _damaged(path, str(error)) from error
    if not isinstance(found, Mapping):
        raise InputError(f"{path.name} holds a {type(found).__name__}, not weights.", fix="give a state_dict.")
    return dict(found)


def _as_of_open_clip(model: Any, weights: dict[str, Tensor], *, name: str) -> dict[str, Tensor]:
    """Returns weights under the names of open_clip's present model, as `open_clip.load_checkpoint` does."""
    open_clip_module()
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    try:
        weights = convert_state_dict(model, weights)
        if "positional_embedding" in weights and not hasattr(model, "positional_embedding"):
            weights = convert_to_custom_text_state_dict(weights)
    except (KeyError, AttributeError, RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"The weights {name} are of a kind that open_clip knows, but not whole ({error}).",
            fix="take the whole checkpoint.",
        ) from error
    if "logit_scale" in weights and weights["logit_scale"].numel() == 1:
        weights["logit_scale"] = weights["logit_scale"].reshape(model.logit_scale.shape)
    positions = "text.transformer.embeddings.position_ids"  # transformers stopped saving these
    if positions in weights and positions not in model.state_dict():
        del weights[positions]
    return weights


def _damaged(path: Path, cause: str) -> InputError:
    cause = cause.strip().splitlines()[0].split(". ")[0][:200].rstrip(".") if cause.strip() else "it ends too early"
    return InputError(f"{path.name} is damaged: {cause}.", fix="fetch the file again.")


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return json.dumps(shown, ensure_ascii=True)[1:-1] + (f" and {len(names) - 5} more" if len(names) > 5 else "")

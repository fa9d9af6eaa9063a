"""The arithmetic of the towers: float32, or 16 bits where the machine computes with them."""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import nn

from chips_core.errors import UsageError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_FLAGS = ("avx512_bf16", "amx_bf16")  # without one of these bfloat16 is slower than float32


def choose_device(wish: str) -> torch.device:
    """Returns the device for a wish such as `auto`, `cpu`, `cuda`, `cuda:1` or `mps`."""
    if wish == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wish)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"The device {wish!r} is not there.", fix="use 'auto' or 'cpu'.") from error
    return device


def choose_precision(wish: str, *, device: torch.device) -> Precision:
    """Returns the precision for a wish: `auto` is bf16 where the device has instructions for it, else fp32."""
    if wish == "auto":
        return "bf16" if computes_bfloat16(device) else "fp32"
    for precision in ("fp32", "bf16", "fp16"):
        if wish == precision:
            return precision
    raise UsageError(f"Precision {wish!r} is not known.", fix="use auto, fp32, bf16 or fp16.")


def computes_bfloat16(
    device: torch.device, *, cpu_capabilities: Callable[[], Mapping[str, Any]] = torch.cpu.get_capabilities
) -> bool:
    """Returns whether a device has instructions for bfloat16, not merely an emulation."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        found = cpu_capabilities()
        return any(found.get(flag, False) for flag in CPU_FLAGS)
    return False


def lower_weights(model: nn.Module, *, precision: Precision) -> None:
    """Casts the matrices and kernels of a model to 16 bits, in place, and leaves norms, embeddings and scales alone.

    Autocast alone would cast them again for every batch; worse, a cast matrix no longer requires a gradient, and then
    torch 2.13 multiplies the turned inputs of attention as a stack, with a copy of the matrix for every image. Measured
    with ViT-B/32 on one core, images and captions a second: float32 8, autocast 5, cast beforehand 28.
    """
    dtype = DTYPES[precision]
    if dtype == torch.float32:
        return
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            names = ["weight", "bias"]
        elif hasattr(module, "in_proj_weight"):  # the attention of torch and of open_clip keep theirs as parameters
            names = ["in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias"]
        else:
            continue
        for name in names:
            weight = getattr(module, name, None)
            if isinstance(weight, nn.Parameter):
                weight.data = weight.data.to(dtype)


def arithmetic(precision: Precision, *, device: torch.device) -> AbstractContextManager[Any]:
    """Returns the context in which a tower computes with that precision."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])

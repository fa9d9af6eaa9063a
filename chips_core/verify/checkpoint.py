"""Checkpoints of a training: a folder that open_clip itself loads, with all that the training needs to go on.

    step-00000120/  open_clip_config.json   open_clip_model.safetensors      `local-dir:` of open_clip
                    optimiser.safetensors   state.json                       written last: it names the others' hashes

A checkpoint is written under another name and moved into place whole. The one before it goes only after the new one has
been read back from the disk. Nothing in it is a pickle.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from chips_core import atomic
from chips_core.clip.spec import DESCRIPTION
from chips_core.errors import DiskFault, PoolDamaged

WEIGHTS, OPTIMISER, STATE = "open_clip_model.safetensors", "optimiser.safetensors", "state.json"
PREFIX, PARTIAL = "step-", ".partial-"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training at one moment.

    Attributes:
        step: how many steps were taken.
        weights: the whole model by open_clip's names.
        optimiser: its tensors by name.
        record: the rest as plain data.
        folder: where it lies; None before it is saved.
    """

    step: int
    weights: Mapping[str, Tensor] = field(repr=False)
    optimiser: Mapping[str, Tensor] = field(repr=False)
    record: Mapping[str, Any]
    folder: Path | None = None


def save_checkpoint(found: Checkpoint, folder: Path, *, description: Mapping[str, Any]) -> Path:
    """Writes a checkpoint into `folder`, reads it back, removes the ones before it, and returns its own folder.

    Args:
        found: what to write.
        folder: of the training.
        description: of the model, as open_clip's `open_clip_config.json`.
    """
    atomic.make_folder(folder)
    last = folder / f"{PREFIX}{found.step:08d}"
    if not last.is_dir():
        work = folder / f"{PARTIAL}{last.name}"
        atomic.remove(work)
        atomic.make_folder(work)
        files = {WEIGHTS: save(_plain(found.weights)), OPTIMISER: save(_plain(found.optimiser))}
        for name, data in files.items():
            atomic.write_bytes(work / name, data)
        atomic.write_json(work / DESCRIPTION, dict(description))
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        atomic.write_json(work / STATE, {"step": found.step, "record": dict(found.record), "sha256": hashes})
        atomic.move(work, last)
    try:
        read_checkpoint(last)
    except PoolDamaged as error:
        raise DiskFault(
            f"The checkpoint {last.name} does not read back as it was written.",
            fix="check the disk; the checkpoint before it was kept.",
        ) from error
    for path in _there(folder):
        if path != last:
            atomic.remove(path)
    return last


def read_checkpoint(folder: Path) -> Checkpoint:
    """Returns a checkpoint, every byte of it checked; raises PoolDamaged where one is not as it was written."""
    state = atomic.read_json(folder / STATE) if (folder / STATE).is_file() else None
    if not isinstance(state, dict) or not {"step", "record", "sha256"} <= set(state):
        raise _damaged(folder, STATE)
    tensors = {}
    for name in (WEIGHTS, OPTIMISER):
        data = (folder / name).read_bytes() if (folder / name).is_file() else b""
        if hashlib.sha256(data).hexdigest() != state["sha256"].get(name):
            raise _damaged(folder, name)
        tensors[name] = load(data)
    return Checkpoint(int(state["step"]), tensors[WEIGHTS], tensors[OPTIMISER], state["record"], folder)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Returns the last checkpoint in a training's folder, None where there is none; what was half written goes."""
    if not folder.is_dir():
        return None
    for path in folder.glob(f"{PARTIAL}*"):
        atomic.remove(path)
    there = _there(folder)
    return read_checkpoint(there[-1]) if there else None


def _there(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors that share no memory, as safetensors wants them."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}


def _damaged(folder: Path, name: str) -> PoolDamaged:
    return PoolDamaged(
        f"{name} of the checkpoint {folder.name} is missing or not as it was written.",
        fix=f"remove {folder.name}; the training then goes on from the checkpoint before it, or begins anew.",
    )

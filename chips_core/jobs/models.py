"""The model that ships with the product, beside those that clip knows by name; and how a pool remembers its model."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chips_core.clip import ModelSpec, parse_model
from chips_core.errors import InputError

DEMO = "demo"
DEMO_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "demo_model"
_HERE = "./"  # how a file begins in a record: its place from the pool's folder, as that of the images


def model_named(name: str, *, weights: str | None = None) -> ModelSpec:
    """Returns the model that a user named; `demo` is the small one of our own that ships with the product."""
    if name == DEMO:
        return parse_model(str(DEMO_FOLDER), weights=weights)
    return parse_model(name, weights=weights)


def model_record(name: str, *, weights: str | None, pool: Path) -> dict[str, str | None]:
    """Returns how a pool remembers the model that a user named: names as given, files relative to the pool."""
    config = None if name == DEMO else model_named(name).config
    file = weights is not None and Path(weights).expanduser().is_file()
    return {
        "model": name if config is None else _from_pool(config, pool=pool),
        "weights": _from_pool(str(weights), pool=pool) if file else weights,
    }


def model_of_record(record: Mapping[str, Any], *, pool: Path) -> ModelSpec:
    """Returns the model that made the features with this record."""
    name, weights = record.get("model"), record.get("weights")
    if not isinstance(name, str) or not name:
        raise InputError("The features do not say which model made them.", fix="encode the pool again.")
    return model_named(_to_path(name, pool=pool), weights=_to_path(weights, pool=pool) if weights else None)


def _from_pool(path: str, *, pool: Path) -> str:
    return _HERE + os.path.relpath(Path(path).expanduser().absolute(), pool.absolute())


def _to_path(recorded: str, *, pool: Path) -> str:
    return os.path.normpath(pool.absolute() / recorded) if recorded.startswith(_HERE) else recorded

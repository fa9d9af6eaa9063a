"""Settings from files and forms: a frozen dataclass each, unknown keys and wrong types refused by name."""

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from chips_core.errors import UsageError

T = TypeVar("T")


def settings_from(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Returns `cls(**values)` after checking every key and type.

    Args:
        cls: a dataclass of settings.
        values: what the file or the form gave.
        where: how to name the source in a message, such as `score.toml`.
    """
    hints = typing.get_type_hints(cls)
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, list(known), n=1)
            raise UsageError(
                f"{where}: unknown setting '{key}'" + (f", did you mean '{near[0]}'?" if near else "."),
                fix=f"the settings are {', '.join(known)}.",
            )
        if not _fits(value, hints[key]):
            raise UsageError(f"{where}: setting '{key}' is {value!r}, expected {hints[key]}.", fix="correct the value.")
    lacking = [n for n, f in known.items() if n not in values and f.default is MISSING and f.default_factory is MISSING]
    if lacking:
        raise UsageError(f"{where}: missing setting {', '.join(lacking)}.", fix="add it.")
    return cls(**values)


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in (tuple, list):
        return isinstance(value, tuple | list)
    return isinstance(value, origin or hint)

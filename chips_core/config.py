"""Settings from files and forms: a frozen dataclass each, unknown keys and wrong types refused by name."""

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from typing import Any, TypeVar

from chips_core.errors import UsageError

T = TypeVar("T")


def at_least(least: float, *, default: Any) -> Any:
    """Returns a field of settings that `settings_from` refuses below `least`."""
    return field(default=default, metadata={"least": least})


def settings_from(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Returns `cls(**values)` after checking every key and type.

    Args:
        cls: a dataclass of settings.
        values: what the file or the form gave.
        where: how to name the source in a message, such as `score.toml`.
    """
    hints = typing.get_type_hints(cls)
    known = {one.name: one for one in fields(cls)}  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, list(known), n=1)
            raise UsageError(
                f"{where}: unknown setting '{key}'" + (f", did you mean '{near[0]}'?" if near else "."),
                fix=f"the settings are {', '.join(known)}.",
            )
        if not _fits(value, hints[key]):
            raise UsageError(f"{where}: setting '{key}' is {value!r}, expected {hints[key]}.", fix="correct the value.")
        least = known[key].metadata.get("least")
        if least is not None and not value >= least:  # NaN is not
            raise UsageError(f"{where}: setting '{key}' is {value}, at least {least:g} is needed.", fix="correct it.")
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

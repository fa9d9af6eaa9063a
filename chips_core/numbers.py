"""Numbers for a person: few digits, a true minus sign, the same everywhere."""

import math
from collections.abc import Iterable

MINUS = "\u2212"
POINTS = "Change, points (95%)"  # the title of a column of `points` with their intervals
DIGITS = 3


def number(value: float, *, signed: bool = False) -> str:
    """Returns a number with three digits that count; `signed` puts a plus before what is above zero."""
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e5):
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        text = f"{mantissa}e{int(exponent)}"
    elif size >= 100 or not size:
        text = f"{value:,.0f}"
    else:
        text = f"{value:#.{DIGITS}g}".rstrip(".")  # 99.96 is 100, not "100."
    return ("+" if signed and value > 0 else "") + text.replace("-", MINUS)


def points(change: float, *ends: float | None) -> str:
    """Returns a change of a share in percentage points, with the ends of its interval: `+1.7 (−1.1 to +4.6)`."""
    mean, *interval = (None if share is None else _signed_tenth(100 * share) for share in (change, *ends))
    known = [end for end in interval if end is not None]
    return f"{mean} ({' to '.join(known)})" if known and len(known) == len(interval) else f"{mean}"


def _signed_tenth(value: float) -> str:
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def column_format(values: Iterable[float]) -> str:
    """Returns one printf format for a whole column, so that its decimal points stand below each other."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest and (largest < 1e-3 or largest >= 1e5):
        return "%.1e"
    return f"%.{min(max(DIGITS - 1 - math.floor(math.log10(largest)), 0), 4) if largest else 0}f"

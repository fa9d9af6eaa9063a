"""Recipes: how a selection is made, as plain data that is stored with it and can be followed again."""

import re
from dataclasses import dataclass

from chips_core.errors import UsageError
from chips_core.influence import titles

AUDIT = "audit_then_select"
RANDOM = "random"
CLIPCOV = "clipcov"
SEMDEDUP = "semdedup"
TITLES = {
    AUDIT: "Audit, then select",
    RANDOM: "Random",
    CLIPCOV: "ClipCov",
    SEMDEDUP: "SemDeDup",
    "queue": "Least suspect",
}
NEED_FEATURES = (AUDIT, CLIPCOV, SEMDEDUP)  # look at the embeddings
BY_NAMES = ("label", "source", "modality", "body_part", "group")  # columns that a quota may speak of
_PART = re.compile(r"([a-z_]+)(?::([0-9]*\.?[0-9]+))?")


@dataclass(frozen=True)
class Quota:
    """At most `most` pairs of each value of a column; pairs without a value are not counted."""

    column: str
    most: int


@dataclass(frozen=True)
class Recipe:
    """Everything that, with the pool and its runs, decides a selection.

    Attributes:
        method: `audit_then_select`, `random`, `clipcov`, `semdedup`, a scored method's name, or a mixture of them,
            `NAME:WEIGHT,NAME:WEIGHT`.
        budget: a share of the candidates with a point in it (`0.1`, `1.0`), else a number of pairs (`300`).
        seed: of random choices.
        quotas: `COLUMN=MAX` each.
        at_least: pairs of every class that come in first, where the class has so many.
        pin_confirmed: whether pairs that a person found correct come in first.
        drop: the share that the audit drops, `estimated` or a number with a point in it.
        released: ClipCov as its authors released it.
    """

    method: str = AUDIT
    budget: str = "0.1"
    seed: int = 0
    quotas: tuple[str, ...] | list[str] = ()
    at_least: int = 0
    pin_confirmed: bool = False
    drop: str = "estimated"
    released: bool = False

    def parts(self) -> tuple[tuple[str, float], ...]:
        """Returns the methods and their weights; one of weight 1 unless it is a mixture."""
        found: list[tuple[str, float]] = []
        for part in self.method.split(","):
            match = _PART.fullmatch(part.strip())
            if match is None or (weight := float(match[2] or 1)) <= 0:
                raise UsageError(
                    "The method is neither a name nor a mixture.", fix="write NAME, or NAME:WEIGHT,NAME:WEIGHT."
                )
            found.append((match[1], weight))
        if len({name for name, _ in found}) < len(found):
            raise UsageError("A mixture names a method twice.", fix="add up its weights.")
        return tuple(found)

    def parsed_quotas(self) -> tuple[Quota, ...]:
        """Returns the quotas, checked."""
        return tuple(_quota(text) for text in self.quotas)

    def fixed_drop(self) -> float | None:
        """Returns the share to drop where it is given; None where it is to be estimated."""
        if self.drop == "estimated":
            return None
        share = _number(self.drop)
        if share is None or not 0 <= share < 1:
            raise UsageError("The share to drop is not a share.", fix="give 'estimated', or a number such as 0.3.")
        return share


def chosen_count(budget: str, *, candidates: int) -> int:
    """Returns how many pairs a budget asks for; what is neither a share nor a count is refused.

    Args:
        budget: with a point a share from 0 to 1, without one a number of pairs, which may be larger than there are.
        candidates: pairs that a share is of.
    """
    text = budget.strip()
    if re.fullmatch(r"[0-9]+", text):
        return int(text)
    share = _number(text)
    if share is None or not 0 <= share <= 1:
        raise UsageError(
            "The budget is neither a share nor a number of pairs.",
            fix="give a share from 0.0 to 1.0, or a whole number of pairs, 0 or more.",
        )
    return round(share * candidates)


def budget_in_words(budget: str) -> str:
    """Returns for example `30% of the candidates`, or `300 pairs`; whatever else is stored, as it is."""
    share = _number(budget)
    if share is not None:
        return f"{share:.0%} of the candidates"
    return f"{int(budget):,} pairs" if re.fullmatch(r"[0-9]{1,12}", budget) else budget


def _quota(text: str) -> Quota:
    column, _, most = text.partition("=")
    if column not in BY_NAMES or not re.fullmatch(r"[0-9]+", most):
        raise UsageError(f"'{text[:40]}' is no quota.", fix=f"write COLUMN=MAX; the columns are {', '.join(BY_NAMES)}.")
    return Quota(column, int(most))


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]*\.[0-9]+|[0-9]+\.", text.strip()) else None


def title_of_method(method: str) -> str:
    """Returns a method's name for a person; of a mixture for example `Least suspect 2 : Random 1`."""
    if "," not in method:
        name = method.partition(":")[0]
        return TITLES.get(name) or titles.title_of_method(name)
    parts = [part.strip().partition(":") for part in method.split(",")]
    return " : ".join(f"{title_of_method(name)} {float(weight or 1):g}" for name, _, weight in parts)

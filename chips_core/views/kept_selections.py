"""The saved selections of a pool in words: how each was made, and whether its recipe can be followed again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chips_core.curate.recipe import budget_in_words, title_of_method
from chips_core.store import Pool, Review
from chips_core.store.review_database import FILE as REVIEW
from chips_core.views.runs import when

SELECTIONS = "selections"


@dataclass(frozen=True)
class KeptSelection:
    """A saved selection.

    Attributes:
        name: as a person gave it.
        pairs: how many.
        made: when, on this machine's clock.
        by: who made it.
        method: how, in words.
        rules: the other choices of its recipe, in words; "" where there were none.
        can_replay: whether its recipe can be followed again.
    """

    name: str
    pairs: int
    made: str
    by: str
    method: str
    rules: str
    can_replay: bool


def kept_selections(pool: Pool) -> tuple[KeptSelection, ...]:
    """Returns the saved selections, the newest first."""
    if not (pool.path / REVIEW).is_file():
        return ()
    computed = {found.fingerprint for found in pool.tables(SELECTIONS)}
    with Review.open(pool.path) as review:
        found = review.selections()
    return tuple(
        KeptSelection(
            name=one.name,
            pairs=one.count,
            made=when(one.created),
            by=one.reviewer,
            method=_method(one.recipe),
            rules=_rules(one.recipe.get("recipe", {})),
            can_replay=one.recipe.get("fingerprint") in computed,
        )
        for one in reversed(found)
    )


def _method(recipe: Mapping[str, Any]) -> str:
    inner = recipe.get("recipe")
    if isinstance(inner, Mapping) and "method" in inner:
        return title_of_method(str(inner["method"]))
    return f"by hand: {recipe['by']}" if recipe.get("by") else "by hand"


def _rules(recipe: Mapping[str, Any]) -> str:
    """Returns what a recipe asks for besides its method, such as `budget 30 %, at least 5 of every class`."""
    found = [budget_in_words(str(recipe["budget"]))] if "budget" in recipe else []
    if recipe.get("quotas"):
        found.append("at most " + ", ".join(f"{q.partition('=')[2]} a {q.partition('=')[0]}" for q in recipe["quotas"]))
    if recipe.get("at_least"):
        found.append(f"at least {recipe['at_least']} of every class")
    if recipe.get("pin_confirmed"):
        found.append("confirmed pairs first")
    if recipe.get("drop", "estimated") != "estimated":
        found.append(f"drops {recipe['drop']}")
    if recipe.get("seed"):
        found.append(f"seed {recipe['seed']}")
    return ", ".join(found)

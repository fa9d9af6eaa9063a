"""The select step: a named subset of a pool, stored with its recipe; a stored one can be followed again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from chips_core import fingerprint
from chips_core.config import at_least, settings_from
from chips_core.curate.from_pool import Origin, candidates_of
from chips_core.curate.recipe import AUDIT, NEED_FEATURES, Recipe
from chips_core.curate.select import Selected, select
from chips_core.errors import InputError
from chips_core.progress import Progress
from chips_core.store import Pool, Review
from chips_core.store.manifest import Artifact
from chips_core.store.paths import is_file_name
from chips_core.store.review import selection_name

KIND = "selections"
LISTED = 12  # shortages named in a message


@dataclass(frozen=True)
class Settings:
    """The recipe, whose scores, and under which name to keep the selection; or which stored one to follow again."""

    pool: str
    method: str = AUDIT
    budget: str = "0.1"
    runs: tuple[str, ...] | list[str] = ()
    target: str | None = None
    seed: int = at_least(0, default=0)
    quotas: tuple[str, ...] | list[str] = ()
    at_least: int = 0
    pin_confirmed: bool = False
    drop: str = "estimated"
    released: bool = False
    name: str | None = None
    reviewer: str = "chips select"
    replay: str | None = None


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Makes and stores a selection, and returns its name and its figures."""
    pool = Pool.open(Path(settings.pool))
    if settings.replay is not None:
        return _replay(pool, settings.replay, progress=progress)
    recipe = Recipe(
        method=settings.method,
        budget=settings.budget,
        seed=settings.seed,
        quotas=list(settings.quotas),
        at_least=settings.at_least,
        pin_confirmed=settings.pin_confirmed,
        drop=settings.drop,
        released=settings.released,
    )
    progress.start("select", total=1, unit="selections")
    selected, origin = made(pool, recipe, runs=settings.runs, target=settings.target)
    if selected.shortages:
        raise _too_few(selected)
    for words in (*selected.notes, *selected.warnings):
        progress.note(words)
    document = {"recipe": asdict(recipe), "origin": asdict(origin), "ids": _mark(selected)}
    mark = fingerprint.of(document)
    plain = f"{settings.method.split(',')[0].split(':')[0]}-{mark[:8]}"
    name = selection_name(settings.name or plain)
    _store(pool, selected, name=name, plain=plain, document=document, mark=mark, reviewer=settings.reviewer)
    progress.advance()
    return {"selection": name, **_figures(selected)}


def made(pool: Pool, recipe: Recipe, *, runs: Sequence[str], target: str | None) -> tuple[Selected, Origin]:
    """Returns what a recipe chooses from a pool as it is now, and from what; nothing is stored."""
    wants_features = any(name in NEED_FEATURES for name, _ in recipe.parts())
    table, origin = candidates_of(pool, runs=runs, target=target, features=wants_features)
    return select(table, recipe), origin


def _store(
    pool: Pool,
    selected: Selected,
    *,
    name: str,
    plain: str,
    document: Mapping[str, Any],
    mark: str,
    reviewer: str,
) -> None:
    """Keeps the selection in the pool with its recipe, and under its name among those that pages show.

    Its file has that name too where a file can have it and no other has it, else one that is made from the recipe.
    """
    known = {artifact.name: artifact.fingerprint for artifact in pool.tables(KIND)}
    table = pd.DataFrame({"pair_id": selected.ids, "row": selected.rows}).astype({"pair_id": "str", "row": "int64"})
    record = {**document, **_figures(selected), "notes": list(selected.notes)}
    with Review.open(pool.path) as review:
        taken = next((found for found in review.selections() if found.name == name), None)
        if taken is not None and taken.recipe.get("fingerprint") != mark:
            raise InputError("A selection of that name is there already.", fix="choose another name with --out.")
        file = name if is_file_name(name) and known.get(name, mark) == mark else plain
        pool.write_table(KIND, file, table, record=record, fingerprint=mark)
        if taken is None:
            recipe = {"by": document["recipe"]["method"], "recipe": document["recipe"], "fingerprint": mark}
            review.create_selection(name=name, pair_ids=selected.ids, reviewer=reviewer, recipe=recipe)


def _replay(pool: Pool, name: str, *, progress: Progress) -> Mapping[str, Any]:
    """Follows a stored recipe again and says whether the same pairs come out, and what changed where they do not."""
    artifact = _artifact(pool, name)
    record = artifact.record
    recipe = settings_from(Recipe, record["recipe"], where=f"selection {name}")
    before = settings_from(Origin, record["origin"], where=f"selection {name}")
    left = [artifact.name for artifact in pool.tables("scores") if artifact.name in before.runs]
    selected, origin = made(pool, recipe, runs=left, target=before.target)
    stored = [str(pair_id) for pair_id in pool.table(KIND, artifact.name, ["pair_id"])["pair_id"]]
    changed = before.differences(origin)
    gone, new = set(stored) - set(selected.ids), set(selected.ids) - set(stored)
    same = stored == list(selected.ids)
    words = "the same pairs" if same else f"{len(new):,} new pairs, {len(gone):,} gone"
    progress.note(f"Replay of '{name}': {words}." + (f" Changed: {', '.join(changed)}." if changed else ""))
    return {
        "selection": name,
        "same": same,
        "changed": changed,
        "gone": sorted(gone),
        "new": sorted(new),
        **_figures(selected),
    }


def _artifact(pool: Pool, name: str) -> Artifact:
    """Returns what was computed for a selection, which may have been renamed since."""
    computed = {artifact.fingerprint: artifact for artifact in pool.tables(KIND)}
    with Review.open(pool.path) as review:
        marks = {found.name: found.recipe.get("fingerprint") for found in review.selections()}
    found = computed.get(str(marks[name])) if name in marks else None
    if found is None and name not in marks:
        found = next((artifact for artifact in computed.values() if artifact.name == name), None)
    if found is None:
        there = ", ".join(name for name, mark in marks.items() if mark in computed)
        raise InputError(f"There is no computed selection '{name[:60]}'.", fix=f"there are: {there or 'none'}.")
    return found


def _figures(selected: Selected) -> dict[str, Any]:
    return {
        "pairs": len(selected.ids),
        "candidates": selected.candidates,
        "kept_out": dict(selected.kept_out),
        "lost_classes": len(selected.lost_classes),
        "warnings": list(selected.warnings),
    }


def _mark(selected: Selected) -> str:
    return fingerprint.of_chunks(f"{pair_id}\0".encode("utf-8", "surrogatepass") for pair_id in selected.ids)


def _too_few(selected: Selected) -> InputError:
    lines = [f"{s.what}: {s.found:,} of {s.wanted:,}" for s in selected.shortages[:LISTED]]
    more = len(selected.shortages) - len(lines)
    lines += [f"and {more:,} more"] if more > 0 else []
    kept_out = ", ".join(f"{count:,} {reason}" for reason, count in selected.kept_out.items() if count)
    return InputError(
        f"The recipe asks for more than there is. {'; '.join(lines)}. Kept out: {kept_out or 'nothing'}.",
        fix=f"lower the budget (there are {len(selected.ids):,} pairs), or raise the quotas.",
    )

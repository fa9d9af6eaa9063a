"""Selections: which pairs to take for a budget, by any scored method, a mixture, ClipCov, or audit-then-select.

A selection is a function of the candidates and the recipe: neither the order of the rows nor the machine matters, and
ties are broken by pair id. Pairs without a score, those judged wrong and those that leak are never chosen, whatever the
recipe. Without quotas, `at_least` and pins, the choice of k pairs begins that of k + 1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from chips_core.curate.audit import audit
from chips_core.curate.candidates import Candidates, Embeddings, Rows
from chips_core.curate.clipcov import ClipCovSettings, clipcov
from chips_core.curate.recipe import AUDIT, CLIPCOV, RANDOM, SEMDEDUP, Quota, Recipe, chosen_count
from chips_core.curate.semdedup import duplicate_similarity
from chips_core.errors import UsageError


@dataclass(frozen=True)
class Shortage:
    """A place where fewer pairs were found than asked for."""

    what: str
    wanted: int
    found: int


@dataclass(frozen=True, eq=False)
class Selected:
    """What was chosen.

    Attributes:
        rows: among the kept pairs, in the order of choice.
        ids: the pairs' ids in the same order.
        candidates: how many pairs there were to choose from, before anything was kept out.
        wanted: how many the budget asked for.
        kept_out: how many candidates each reason kept out.
        shortages: where less was found than asked for; empty when all is well.
        lost_classes: classes with candidates of which none was chosen.
        notes: how numbers of the method were found.
        warnings: what to know before using the selection.
    """

    rows: Rows = field(repr=False)
    ids: tuple[str, ...] = field(repr=False)
    candidates: int
    wanted: int
    kept_out: Mapping[str, int]
    shortages: tuple[Shortage, ...] = ()
    lost_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Order:
    """Rows in the order of one method, what it dropped, and what it has to say."""

    rows: Rows
    dropped: int = 0
    notes: tuple[str, ...] = ()


def select(table: Candidates, recipe: Recipe) -> Selected:
    """Returns the pairs that a recipe chooses."""
    candidates, eligible = int(np.count_nonzero(table.readable)), table.eligible
    wanted = chosen_count(recipe.budget, candidates=candidates)
    quotas = recipe.parsed_quotas()
    by_id = np.argsort(table.id_rank(), kind="stable")
    rows = by_id[eligible[by_id]]
    plain = not (quotas or recipe.at_least or recipe.pin_confirmed or len(recipe.parts()) > 1)
    orders = [_order(table, recipe, name, rows=rows, limit=wanted if plain else None) for name, _ in recipe.parts()]
    order = _mixed([found.rows for found in orders], weights=[weight for _, weight in recipe.parts()])
    order = _front(table, recipe, order)
    chosen = _within(table, order, count=wanted, quotas=quotas)
    dropped = sum(found.dropped for found in orders)
    kept_out = table.kept_out() | ({"dropped by the audit": dropped} if dropped else {})
    return Selected(
        rows=chosen,
        ids=tuple(str(pair_id) for pair_id in table.ids[chosen]),
        candidates=candidates,
        wanted=wanted,
        kept_out=kept_out,
        shortages=tuple(_shortages(table, recipe, chosen, order=order, wanted=wanted)),
        lost_classes=_lost(table, chosen),
        notes=tuple(note for found in orders for note in found.notes),
        warnings=tuple(_warnings(table, recipe, chosen)),
    )


def _order(table: Candidates, recipe: Recipe, method: str, *, rows: Rows, limit: int | None) -> _Order:
    """Returns the rows in the order in which a method would take them."""
    if method == RANDOM:
        return _Order(rows[np.random.default_rng(recipe.seed).permutation(len(rows))])
    if method == AUDIT:
        audited = audit(table, rows=rows, drop=recipe.fixed_drop(), seed=recipe.seed)
        return _Order(audited.rows, len(audited.dropped), audited.notes)
    if method == CLIPCOV:
        return _by_clipcov(table, recipe, rows=rows, limit=limit)
    if method == SEMDEDUP and SEMDEDUP not in table.scores:
        found = duplicate_similarity(_embeddings(table).image, rows=rows, seed=recipe.seed)
        return _Order(rows[np.argsort(found, kind="stable")])
    worth = table.score(method).worth[rows]
    scored = rows[np.isfinite(worth)]
    return _Order(scored[np.argsort(-table.score(method).worth[scored], kind="stable")])


def _by_clipcov(table: Candidates, recipe: Recipe, *, rows: Rows, limit: int | None) -> _Order:
    embeddings = _embeddings(table)
    labels = table.labels()[rows].astype(str)
    notes = () if any(labels) else ("The pairs have no labels: ClipCov takes them as one class.",)
    found = clipcov(
        embeddings.image,
        embeddings.text,
        rows=rows,
        classes=labels,
        count=len(rows) if limit is None else min(limit, len(rows)),
        prompts=embeddings.prompts,
        settings=ClipCovSettings(released=recipe.released),
    )
    return _Order(found, notes=notes)


def _embeddings(table: Candidates) -> Embeddings:
    if table.embeddings is None:
        raise UsageError("ClipCov and SemDeDup need features.", fix="run: chips encode POOL --model NAME")
    return table.embeddings


def _mixed(orders: list[Rows], *, weights: list[float]) -> Rows:
    """Returns rows taken from several orders in proportion to the weights; who lags furthest behind takes next."""
    if len(orders) == 1:
        return orders[0]
    shares = np.asarray(weights) / sum(weights)
    taken, at = np.zeros(len(orders)), [0] * len(orders)
    seen: dict[int, None] = {}
    queues = [order.tolist() for order in orders]
    while any(at[m] < len(queue) for m, queue in enumerate(queues)):
        behind = np.where(
            [at[m] < len(queue) for m, queue in enumerate(queues)], shares * (taken.sum() + 1) - taken, -np.inf
        )
        m = int(np.argmax(behind))
        row = queues[m][at[m]]
        at[m] += 1
        if row not in seen:
            seen[row] = None
            taken[m] += 1
    return np.fromiter(seen, dtype=np.int64, count=len(seen))


def _front(table: Candidates, recipe: Recipe, order: Rows) -> Rows:
    """Returns the order with pinned pairs first, then the first pairs of every class."""
    rank = np.full(len(order), 2, dtype=np.int64)
    if recipe.at_least:
        codes = np.unique(table.labels()[order].astype(str), return_inverse=True)[1]
        named = table.labels()[order].astype(str) != ""
        rank[(_place_in_group(codes) < recipe.at_least) & named] = 1
    pinned = np.empty(0, np.int64)
    if recipe.pin_confirmed and table.confirmed is not None:
        rank[table.confirmed[order]] = 0
        sure = np.flatnonzero(table.confirmed & table.eligible)
        pinned = np.setdiff1d(sure, order)  # what the method left out, such as the audit
        pinned = pinned[np.argsort(table.id_rank()[pinned], kind="stable")]
    front = order[np.argsort(rank, kind="stable")]
    first = int(np.count_nonzero(rank == 0))
    return np.concatenate([front[:first], pinned, front[first:]])


def _place_in_group(codes: Rows) -> Rows:
    """Returns how many earlier rows have the same code, (n,)."""
    order = np.argsort(codes, kind="stable")
    starts = np.r_[0, np.flatnonzero(np.diff(codes[order])) + 1]
    places = np.empty(len(codes), np.int64)
    places[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(np.r_[starts, len(codes)]))
    return places


def _within(table: Candidates, order: Rows, *, count: int, quotas: Iterable[Quota]) -> Rows:
    """Returns the first rows that no quota stands against."""
    checks = [(table.names[q.column].astype(str), q.most, dict[str, int]()) for q in quotas if q.column in table.names]
    if not checks:
        return order[:count]
    chosen: list[int] = []
    for row in order.tolist():
        if len(chosen) >= count:
            break
        held = [(counts, str(names[row]), most) for names, most, counts in checks if names[row]]
        if all(counts.get(name, 0) < most for counts, name, most in held):
            chosen.append(row)
            for counts, name, _ in held:
                counts[name] = counts.get(name, 0) + 1
    return np.asarray(chosen, dtype=np.int64)


def _shortages(table: Candidates, recipe: Recipe, chosen: Rows, *, order: Rows, wanted: int) -> Iterable[Shortage]:
    if len(chosen) < wanted:
        yield Shortage("pairs in all", wanted, len(chosen))
        for quota in recipe.parsed_quotas():
            names = table.names[quota.column].astype(str)
            values, counts = np.unique(names[order], return_counts=True)
            for value, there in zip(values, counts, strict=True):
                if value and there > quota.most:
                    yield Shortage(f"{quota.column} {value}: held at its quota", int(there), quota.most)
    if recipe.at_least:
        labels = table.labels().astype(str)
        for name in np.unique(labels[table.readable]):
            found = int(np.count_nonzero(labels[chosen] == name))
            if name and found < recipe.at_least:
                yield Shortage(f"label {name}", recipe.at_least, found)


def _lost(table: Candidates, chosen: Rows) -> tuple[str, ...]:
    labels = table.labels().astype(str)
    return tuple(str(n) for n in np.setdiff1d(labels[table.readable], labels[chosen]) if n) if len(chosen) else ()


def _warnings(table: Candidates, recipe: Recipe, chosen: Rows) -> Iterable[str]:
    leaked = sum(n for reason, n in table.kept_out().items() if "target or test" in reason)
    if leaked:
        yield f"{leaked:,} pairs share a patient or an image with the target or test set and stay out."
    lost = _lost(table, chosen)
    if lost:
        what = f"{len(lost):,} classes have" if len(lost) > 1 else "1 class has"
        yield f"{what} no pair in the selection; a quota or a number for each class keeps them."
    for name, _ in recipe.parts():
        column = table.score(name) if name not in (AUDIT, RANDOM, CLIPCOV, SEMDEDUP) else None
        if column is None or not column.signed:
            continue
        below = int(np.count_nonzero(column.worth[chosen] < 0))
        if below:
            yield f"{below:,} chosen pairs have a value below zero: the method itself holds them harmful."

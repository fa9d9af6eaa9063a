"""The verb that sets two selections, two runs or two reviewers against each other, or the methods of a run."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from chips_core.commands import Answer, Command
from chips_core.errors import InputError, UsageError
from chips_core.progress import Progress

if TYPE_CHECKING:
    from chips_core.store import Pool
    from chips_core.views.compare import Difference
    from chips_core.views.map import PairColumns

KINDS = ("selections", "runs", "reviewers", "methods")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", help="the pool")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--selections", nargs=2, metavar="NAME", help="two saved selections")
    what.add_argument("--runs", nargs=2, metavar="RUN", help="two scoring runs, by one score")
    what.add_argument("--reviewers", nargs=2, metavar="NAME", help="the verdicts of two people")
    what.add_argument(
        "--methods",
        nargs="?",
        const="",
        metavar="RUN",
        help="how alike the methods of a run rank the pairs (default: the newest run)",
    )
    parser.add_argument("--score", help="which score of the runs (default: one that they compute differently, if any)")
    parser.add_argument("--top", type=int, default=20, help="pairs named, those that differ most first (default: 20)")


def _compare(options: argparse.Namespace, progress: Progress) -> Answer:
    from chips_core.store import Pool
    from chips_core.views.compare import agreement
    from chips_core.views.map import PairColumns

    if options.top < 0:
        raise UsageError("The number of pairs to name is below zero.", fix="give --top 0 or more.")
    pool = Pool.open(Path(options.pool))
    progress.start("compare", total=1, unit="comparisons")
    if options.methods is not None:
        runs = [options.methods] if options.methods else [found.name for found in pool.tables("scores")][-1:]
        if not runs:
            raise InputError("The pool has no run yet.", fix="run: chips score POOL")
        found = agreement(pool, runs[0])
        matrix = found.correlation.tolist()
        both = zip(found.titles, matrix, strict=True)
        lines = [f"{title:<24}" + "".join(f"{number:>7.2f}" for number in line) for title, line in both]
        data = {"run": runs[0], "pairs": found.pairs, "methods": list(found.titles), "correlation": matrix}
        return Answer(data, "\n".join(lines))
    pairs = PairColumns(pool)
    return _told(_difference(options, pool, pairs), pairs, top=options.top)


def _difference(options: argparse.Namespace, pool: "Pool", pairs: "PairColumns") -> "Difference":
    from chips_core.views.compare import columns_in_both, compare_reviewers, compare_runs, compare_selections

    if options.selections:
        return compare_selections(pool, pairs, *options.selections)
    if options.reviewers:
        return compare_reviewers(pool, pairs, *options.reviewers)
    columns = columns_in_both(pool, *options.runs)
    if not columns:
        raise UsageError("The two runs have no score in common.", fix="name two others.")
    return compare_runs(pool, pairs, *options.runs, column=options.score or next(iter(columns)))


def _told(found: "Difference", pairs: "PairColumns", *, top: int) -> Answer:
    rows = found.differing[:top]
    named = [
        {"pair_id": pair_id, "a": str(found.told[0][row]), "b": str(found.told[1][row])}
        for row, pair_id in zip(rows, pairs.pair_ids(rows), strict=True)
    ]
    data = {"a": found.a, "b": found.b, "facts": dict(found.facts), "differ": len(found.differing), "pairs": named}
    lines = [f"{words:<28} {number:>12}" for words, number in found.facts]
    return Answer(data, "\n".join(lines))


COMPARE = Command(
    "compare",
    "Set two selections, runs or reviewers against each other.",
    _arguments,
    _compare,
    "chips compare pools/mine --methods",
)

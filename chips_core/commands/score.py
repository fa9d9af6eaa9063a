"""The verbs that compute on features: score and map."""

import argparse

from chips_core.commands import Answer, Command
from chips_core.jobs.steps import run_step
from chips_core.progress import Progress

DEFAULT_METHODS = "queue,ecif,chips,clipscore,negcliploss"


def _score_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = f"{SCORE_SUMMARY}\n\nMethods:\n{_method_lines()}"
    parser.add_argument("pool", help="the pool, encoded")
    parser.add_argument(
        "--method",
        default=DEFAULT_METHODS,
        metavar="NAME[,NAME…]",
        help=f"what to compute, 'all' for everything that applies (default: {DEFAULT_METHODS})",
    )
    parser.add_argument(
        "--target",
        help="split or source that says what is wanted, or held-out: a tenth of the pairs, whole patients at a time "
        "(default: val where there is one, else held-out)",
    )
    parser.add_argument(
        "--mode", choices=("audit", "paper"), default="audit", help="heads fitted first, or as they came"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of blocks and samples (default: 0)")
    parser.add_argument("--block", type=int, default=1024, help="pairs that are each other's negatives (default: 1024)")
    parser.add_argument("--reshuffles", type=int, default=4, help="times the blocks are drawn anew (default: 4)")
    parser.add_argument("--features", help="name of the features, where there are several (default: the newest)")
    parser.add_argument("--name", help="name of the run (default: made from its fingerprint)")


def _method_lines() -> str:
    """Returns one line a method; asked for only when a help page or a score is wanted, since torch loads slowly."""
    import sys

    if "score" not in sys.argv:
        return ""
    from chips_core.influence.methods import METHODS

    return "\n".join(f"  {entry.name:<20} {entry.meaning}" for entry in METHODS)


def _score(options: argparse.Namespace, progress: Progress) -> Answer:
    names = ("pool", "target", "mode", "seed", "block", "reshuffles", "features", "name")
    settings = {name: getattr(options, name) for name in names}
    data = run_step("score", {**settings, "methods": _methods(options.method)}, progress=progress)
    left = "".join(f"\n{name} was left out: it {why}." for name, why in data["left_out"].items())
    words = f"Run {data['run']}: {data['pairs']:,} pairs scored by {', '.join(data['methods'])}.{left}"
    return Answer(data, words)


def _methods(given: str) -> tuple[str, ...]:
    if given != "all":
        return tuple(name.strip() for name in given.split(",") if name.strip())
    from chips_core.influence.methods import METHODS

    return tuple(entry.name for entry in METHODS)


def _map_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", help="the pool, encoded")
    parser.add_argument("--space", choices=("image", "text", "joint"), default="image", help="default: image")
    parser.add_argument("--features", help="name of the features, where there are several (default: the newest)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--neighbours", type=int, default=15, help="UMAP's n_neighbors (default: 15)")
    parser.add_argument("--min-dist", type=float, default=0.1, help="UMAP's min_dist (default: 0.1)")


def _map(options: argparse.Namespace, progress: Progress) -> Answer:
    names = ("pool", "space", "features", "seed", "neighbours", "min_dist")
    data = run_step("map", {name: getattr(options, name) for name in names}, progress=progress)
    return Answer(data, f"Map {data['map']}: {data['pairs']:,} pairs placed by {data['space']}.")


SCORE_SUMMARY = "Score every pair of a pool."
SCORE = Command("score", SCORE_SUMMARY, _score_arguments, _score, "chips score pools/mine --target val")
MAP = Command("map", "Lay a pool out in the plane (UMAP).", _map_arguments, _map, "chips map pools/mine")

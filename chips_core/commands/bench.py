"""`chips bench`: the benchmarks, each one JSON object; a table in words for those that have one."""

import argparse
import inspect
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from chips_core.commands import Answer, Command
from chips_core.errors import UsageError
from chips_core.progress import Progress

BENCHMARKS = {
    "encode": "the encode step against a bare loop over open_clip",
    "engine": "how fast scores are computed, beside the limit and the peers",
    "fidelity": "how well influence agrees with real retraining (add --pool for a pool of your own)",
    "detect": "who finds swapped captions in a data set",
    "select": "which selection teaches the model most for its size, on a pool with swapped captions",
    "headline": "budgets, editing, removal, ablations of CHIPS, endpoint ranking (--only: one of them)",
    "trace": "whether the pairs that a trace blames really made the model err",
    "planted": "which of the demo's planted errors the queue finds",
    "clipcov": "how long ClipCov takes at a million pairs, and what it preserves",
    "map": "the map's layout against plain UMAP, seconds and trustworthiness",
    "app": "what a person waits for in a real browser (--pool: the pool of the first view)",
}
NEEDS_POOL = ("planted",)
NEEDS_DATA = ("detect", "select", "headline", "trace")
WORD_COLUMNS = 28  # width of the names in the plain listing


def _arguments(parser: argparse.ArgumentParser) -> None:
    listed = "; ".join(f"{name}: {words}" for name, words in BENCHMARKS.items())
    parser.add_argument("benchmark", choices=tuple(BENCHMARKS), help=listed)
    parser.add_argument("--data", help="a dataset folder (detect, select, headline, trace)")
    parser.add_argument("--pool", help="an encoded pool (fidelity), a demo pool (planted)")
    parser.add_argument("--target", help="target set of --pool (default: as the score step)")
    parser.add_argument("--noise", type=float, default=0.2, help="share of captions to swap (default: 0.2)")
    parser.add_argument("--kind", choices=("within", "across"), default="within", help="swap within or across sources")
    parser.add_argument("--budgets", default="0.1,0.3", help="shares to select (default: 0.1,0.3)")
    parser.add_argument("--only", help="one result of headline: budgets, editing, removal, ablations, endpoint")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default: 0)")
    parser.add_argument("--cache", help="folder of the trained base models (default: the user's cache)")
    parser.add_argument("--pairs", type=int, help="trace: time a click in a synthetic pool of so many pairs")
    parser.add_argument("--quick", action="store_true", help="a small form of it, for continuous integration")


def _run(options: argparse.Namespace, progress: Progress) -> Answer:
    name: str = options.benchmark
    large = name == "trace" and options.pairs is not None
    if name in NEEDS_DATA and not options.data and not large:
        raise UsageError(f"bench {name} needs a data set.", fix="name its folder with --data.")
    if name in NEEDS_POOL and not options.pool:
        raise UsageError(f"bench {name} needs a demo pool.", fix="name its folder with --pool.")
    if name == "fidelity" and options.pool:
        name = "pool_fidelity"
    module = import_module(f"chips_core.bench.{'trace_large' if large else name}")
    data: dict[str, Any] = module.run(**_taken(module.run, options), progress=progress)
    words: Callable[[Mapping[str, Any]], str] = getattr(module, "table", _listing)
    return Answer(data, words(data))


def _taken(function: Callable[..., Any], options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that a benchmark takes."""
    given = {**vars(options)}
    for path in ("data", "pool", "cache"):
        given[path] = Path(given[path]) if given[path] else None
    wanted = [name for name in inspect.signature(function).parameters if name != "progress"]
    return {name: given[name] for name in wanted if name in given}


def _listing(data: Mapping[str, Any]) -> str:
    """Returns one line a figure; long lists are left to --json."""
    lines = []
    for key, value in data.items():
        if isinstance(value, list):
            continue
        text = f"{value:,.4g}" if isinstance(value, float) else json.dumps(value)
        lines.append(f"{key:<{WORD_COLUMNS}} {text}")
    return "\n".join(lines)


BENCH = Command("bench", "Run a benchmark.", _arguments, _run, "chips bench engine --json")

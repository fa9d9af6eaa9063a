"""The verbs that choose pairs and take them out of the pool: select and export."""

import argparse

from chips_core.commands import Answer, Command
from chips_core.errors import UsageError
from chips_core.jobs.steps import run_step
from chips_core.progress import Progress

FORMATS = ("csv", "jsonl", "parquet", "webdataset", "openclip", "huggingface", "exclude")


def _select_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", help="the pool")
    parser.add_argument(
        "--method",
        default="audit_then_select",
        help="audit_then_select (default), random, clipcov, semdedup, a scored method, or NAME:WEIGHT,NAME:WEIGHT",
    )
    parser.add_argument("--budget", default="0.1", help="a share such as 0.1, or a number of pairs (default: 0.1)")
    parser.add_argument("--run", help="whose scores, RUN[,RUN…] (default: the newest and those that fit it)")
    parser.add_argument("--target", help="target set to keep clear of, where no run names one (default: val)")
    parser.add_argument("--seed", type=int, default=0, help="seed of random choices (default: 0)")
    parser.add_argument("--quota", action="append", default=[], metavar="COLUMN=MAX", help="most pairs of each value")
    parser.add_argument("--at-least", type=int, default=0, help="pairs of every class that come in first (default: 0)")
    parser.add_argument("--pin-confirmed", action="store_true", help="pairs that a person found correct come in first")
    parser.add_argument("--drop", default="estimated", help="share that the audit drops (default: estimated)")
    parser.add_argument("--released", action="store_true", help="ClipCov as its authors released it")
    parser.add_argument("--out", metavar="NAME", help="name of the selection (default: made from its fingerprint)")
    parser.add_argument("--replay", metavar="NAME", help="follow the recipe of a stored selection again and compare")


def _select(options: argparse.Namespace, progress: Progress) -> Answer:
    same = ("pool", "method", "budget", "target", "seed", "at_least", "pin_confirmed", "drop", "released", "replay")
    settings = {name: getattr(options, name) for name in same}
    runs = [name.strip() for name in (options.run or "").split(",") if name.strip()]
    data = run_step(
        "select", {**settings, "runs": runs, "quotas": options.quota, "name": options.out}, progress=progress
    )
    if options.replay:
        words = "the same pairs" if data["same"] else f"{len(data['new']):,} new pairs, {len(data['gone']):,} gone"
        return Answer(data, f"Selection {data['selection']}: {words}.")
    out = ", ".join(f"{count:,} {reason}" for reason, count in data["kept_out"].items() if count)
    words = f"Selection {data['selection']}: {data['pairs']:,} of {data['candidates']:,} pairs."
    return Answer(data, "\n".join([words, f"Kept out: {out or 'nothing'}.", *data["warnings"]]))


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", help="the pool")
    parser.add_argument("--selection", required=True, metavar="NAME", help="which pairs; 'all' for every kept one")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="new folder to write, outside the pool")
    parser.add_argument("--format", choices=FORMATS, default="csv", help="default: csv")
    parser.add_argument("--columns", help="COLUMN[,COLUMN…] of the pairs and scores (default: what intake reads)")
    parser.add_argument("--images", choices=("copy", "none"), help="copy re-encoded images, or only name them")
    parser.add_argument("--originals", action="store_true", help="copy the image files as they are, metadata and all")
    parser.add_argument("--shard-size", type=int, default=1000, help="pairs in a shard (default: 1000)")
    parser.add_argument("--force", action="store_true", help="replace a folder that an earlier export wrote")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be written")


def _export(options: argparse.Namespace, progress: Progress) -> Answer:
    if options.shard_size < 1:
        raise UsageError("A shard holds at least one pair.", fix="give --shard-size 1 or more.")
    same = ("pool", "selection", "to", "format", "images", "originals", "shard_size", "force", "dry_run")
    columns = [name.strip() for name in (options.columns or "").split(",") if name.strip()]
    data = run_step(
        "export", {**{name: getattr(options, name) for name in same}, "columns": columns}, progress=progress
    )
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in data["dropped"].items() if count)
    verb = "would be written" if options.dry_run else "written"
    words = f"{data['pairs']:,} pairs {verb}; left behind: {dropped or 'nothing'}."
    if options.dry_run:
        lines = [f"{name or 'no label':<32} {before:>9,} {after:>9,}" for name, before, after in data["per_class"]]
        words = "\n".join([words, f"{'class':<32} {'before':>9} {'after':>9}", *lines])
    return Answer(data, "\n".join([words, *data["warnings"]]))


SELECT = Command(
    "select",
    "Choose a subset of a pool by a recipe.",
    _select_arguments,
    _select,
    "chips select pools/mine --budget 0.3 --out best",
)
EXPORT = Command(
    "export",
    "Write a selection for training elsewhere.",
    _export_arguments,
    _export,
    "chips export pools/mine --selection best --to out/best --format webdataset",
)

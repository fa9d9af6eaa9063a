"""The verb that trains a pool's encoder on a selection."""

import argparse
from collections.abc import Mapping
from typing import Any

from chips_core.commands import Answer, Command
from chips_core.jobs.steps import run_step
from chips_core.numbers import POINTS, points
from chips_core.progress import Progress

SAME = (
    "pool",
    "selection",
    "to",
    "part",
    "blocks",
    "epochs",
    "batch_size",
    "chunk",
    "rate",
    "weight_decay",
    "warmup",
    "save_every",
    "seed",
    "evaluate",
    "retained",
    "images",
    "device",
    "precision",
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", help="the pool, encoded by the model that is to be trained")
    parser.add_argument("--selection", required=True, metavar="NAME", help="which pairs to train on")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="folder of the training, outside the pool")
    parser.add_argument(
        "--part",
        choices=("heads", "last", "full"),
        default="heads",
        help="the heads on cached features (default), the last blocks too, or all of the model",
    )
    parser.add_argument(
        "--blocks", type=int, default=1, help="last blocks of each tower, with --part last (default: 1)"
    )
    parser.add_argument("--epochs", type=int, default=5, help="passes over the selection (default: 5)")
    parser.add_argument("--batch", type=int, dest="batch_size", default=256, help="pairs a step (default: 256)")
    parser.add_argument("--chunk", type=int, default=64, help="pairs in memory at once; changes nothing (default: 64)")
    parser.add_argument("--rate", type=float, default=1e-4, help="AdamW's rate at its highest (default: 0.0001)")
    parser.add_argument("--weight-decay", type=float, default=0.1, help="AdamW's (default: 0.1)")
    parser.add_argument(
        "--warmup", type=float, default=0.1, help="share of steps in which the rate rises (default: 0.1)"
    )
    parser.add_argument("--save-every", type=int, default=50, help="steps between two checkpoints (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the pairs (default: 0)")
    parser.add_argument("--evaluate", default="test", help="split to judge on, before and after (default: test)")
    parser.add_argument(
        "--retained", action="append", default=[], metavar="POOL", help="another pool that must not be forgotten"
    )
    parser.add_argument("--images", help="folder of the images, where they were moved since intake")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="default: auto")


def _run(options: argparse.Namespace, progress: Progress) -> Answer:
    data = run_step("pretrain", {name: getattr(options, name) for name in SAME}, progress=progress)
    head = f"{'task':<32}{'before':>9}{'after':>9}  {POINTS.lower():<26}{'own caption first':>20}"
    lines = [f"{data['steps']:,} steps on {data['pairs']:,} pairs. The model is in {data['model']}.", head]
    lines += [line_of(task) for task in data["tasks"]]
    return Answer(data, "\n".join(lines))


def line_of(task: Mapping[str, Any]) -> str:
    """Returns a task before and after the training, as one line."""
    name = " ".join(part for part in (task["pool"], task["split"], task["source"]) if part)
    name += "" if task["trained_on"] else " (retained)"
    recall = f"{task['recall_before']:.1%} → {task['recall_after']:.1%}"
    if task["before"] is None:
        return f"{name:<32}{'no data':>9}{'no data':>9}  {'':<26}{recall:>20}"
    found = task["change"]
    change = points(found["mean"], found["low"], found["high"])
    return f"{name:<32}{task['before']:>9.1%}{task['after']:>9.1%}  {change:<26}{recall:>20}"


PRETRAIN = Command(
    "pretrain",
    "Train the pool's encoder on a selection, and compare before and after.",
    _arguments,
    _run,
    "chips pretrain pools/mine --selection best --to trained/best",
)

"""The verbs that make a pool and look after it: demo, intake, encode, check."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chips_core.commands import Answer, Command
from chips_core.errors import UsageError
from chips_core.jobs.steps import run_step
from chips_core.progress import Progress


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", nargs="?", default="pools/demo", help="folder of the new pool (default: pools/demo)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the phantoms (default: 0)")
    parser.add_argument("--retrain", action="store_true", help="train the demo's model anew instead of the shipped one")


def _demo(options: argparse.Namespace, progress: Progress) -> Answer:
    settings = {"pool": options.pool, "seed": options.seed, "retrain": options.retrain}
    data = run_step("demo", settings, progress=progress)
    return Answer(data, f"The demo pool is in {options.pool}. Open it: chips app {options.pool}")


def _intake_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", help="dataset folder, CSV/TSV/JSONL/Parquet, image folder, tar shards, .npz, COCO, DICOM"
    )
    parser.add_argument("pool", help="folder of the new pool")
    parser.add_argument(
        "--kind",
        help="what the source is, where it is not recognised: 'dataset folder', table, 'image folder', webdataset, "
        "medmnist, coco or dicom",
    )
    parser.add_argument("--image-root", help="folder that the image paths are relative to (default: the source's)")
    for name in ("id", "image", "caption", "label", "group", "split"):
        parser.add_argument(f"--{name}-col", help=f"column of the {name} (default: guessed from its name)")
    parser.add_argument(
        "--check", choices=("full", "header"), default="full", help="read images whole, or headers only"
    )
    parser.add_argument("--max-megapixels", type=int, default=100, help="refuse larger images (default: 100)")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images (default: this one alone)")


def _intake(options: argparse.Namespace, progress: Progress) -> Answer:
    names = ["source", "pool", "kind", "image_root", "check", "max_megapixels", "workers"]
    names += [f"{name}_col" for name in ("id", "image", "caption", "label", "group", "split")]
    data = run_step("intake", {name: getattr(options, name) for name in names}, progress=progress)
    return Answer(data, outcome_lines(data["outcomes"]))


def _encode_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", help="the pool")
    parser.add_argument("--model", required=True, help="'demo', an open_clip name, hf-hub:NAME, or a JSON config file")
    parser.add_argument("--weights", help="pretrained tag, or a .safetensors or .pt file")
    parser.add_argument("--images", help="folder of the images, where they were moved since intake")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="default: auto")
    parser.add_argument("--batch", type=int, default=64, help="pairs encoded at once (default: 64)")
    parser.add_argument("--workers", type=int, default=2, help="threads that read images (default: 2)")
    parser.add_argument("--allow-network", action="store_true", help="let open_clip download the named weights")


def _encode(options: argparse.Namespace, progress: Progress) -> Answer:
    names = ("pool", "model", "weights", "images", "device", "precision", "batch", "workers", "allow_network")
    data = run_step("encode", {name: getattr(options, name) for name in names}, progress=progress)
    counts = ", ".join(f"{count:,} {name}" for name, count in data["pairs"].items() if count)
    return Answer(data, f"Features {data['features']} of {data['encoder']}: {counts}.")


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", help="the pool, or the folder of an export")
    parser.add_argument("--repair", action="store_true", help="drop what is damaged and can be computed again")


def _check(options: argparse.Namespace, progress: Progress) -> Answer:
    from chips_core.curate.export import is_export
    from chips_core.curate.export_check import check_export
    from chips_core.store.check import check_pool

    folder = Path(options.pool)
    if is_export(folder):
        if options.repair:
            raise UsageError("An export cannot be repaired.", fix="export the selection again with --force.")
        report = check_export(folder)
    else:
        report = check_pool(folder, repair=options.repair, progress=progress)
    lines = [f"{f.file}: {f.problem}{' (repaired)' if f.repaired else ''}" for f in report.findings]
    data = {"sound": report.sound, **asdict(report)}
    return Answer(data, "\n".join([*lines, report.in_words()]), exit_code=0 if report.sound else 5)


def outcome_lines(counts: Mapping[str, Any]) -> str:
    """Returns the outcome table as aligned lines, with the sum that was given."""
    rows = [*((name, int(count)) for name, count in counts.items()), ("given", sum(counts.values()))]
    return "\n".join(f"{name:<14} {count:>10,}" for name, count in rows)


DEMO = Command(
    "demo", "Build a pool of synthetic phantoms: scored, mapped, ready to try.", _demo_arguments, _demo, "chips demo"
)
INTAKE = Command(
    "intake", "Bring a data set in as a pool.", _intake_arguments, _intake, "chips intake my_data/ pools/mine"
)
ENCODE = Command(
    "encode", "Encode every pair with a CLIP.", _encode_arguments, _encode, "chips encode pools/mine --model demo"
)
CHECK = Command(
    "check", "Verify every checksum of a pool or an export.", _check_arguments, _check, "chips check pools/mine"
)

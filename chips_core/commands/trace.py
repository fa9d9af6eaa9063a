"""The verbs about predictions: evaluate and trace."""

import argparse
from collections.abc import Mapping
from typing import Any

from chips_core.commands import Answer, Command
from chips_core.jobs.steps import run_step
from chips_core.progress import Progress

SHOWN = 20  # lines of a list in words; --json holds all
LONGEST = 60  # characters of a class or a caption in words


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", help="the pool, encoded")
    parser.add_argument("--split", default="test", help="what to look at (default: test)")
    parser.add_argument("--prompts", metavar="FILE", help="label -> prompts, JSON or CSV (default: the data's own)")
    parser.add_argument("--features", help="name of the features, where there are several (default: the newest)")


def _evaluate(options: argparse.Namespace, progress: Progress) -> Answer:
    names = ("pool", "split", "prompts", "features")
    data = run_step("evaluate", {name: getattr(options, name) for name in names}, progress=progress)
    lines = [f"{data['pairs']:,} pairs of '{data['split']}'."]
    if data["left_out"]:
        lines.append(f"{data['left_out']:,} more rows of it have no caption, or an image that could not be read.")
    if data["images_also_in_training"]:
        lines.append(f"LEAK: {data['images_also_in_training']:,} of them show an image that is trained on too.")
    found = data["zero_shot"]
    if data["why_no_zero_shot"]:
        lines.append(f"No classification: {data['why_no_zero_shot']}")
    elif found is not None:
        lines.append(f"Zero-shot accuracy {_percent(found['accuracy'])}{_ends(found['accuracy_interval'])}")
        lines.append(f"Mean over classes {_percent(found['balanced_accuracy'])}, ECE {found['calibration']['ece']:.3f}")
        lines += [f"  {_percent(c['accuracy'])}  {c['images']:>6,}  {c['label']}" for c in found["classes"]]
    for way, recalls in data["retrieval"].items():
        ends = data["retrieval_intervals"][way] or {}
        found_at = [f"R@{k} {_percent(v)}{_short(ends.get(k))}" for k, v in (recalls or {}).items()]
        shown = ", ".join(found_at) or "no data"
        lines.append(f"{way.replace('_', ' ')}: {shown}")
    return Answer(data, "\n".join(lines))


def _trace_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", help="the pool, encoded")
    parser.add_argument("--test", default="test", metavar="SPLIT", help="the split of the images (default: test)")
    parser.add_argument(
        "--question",
        choices=("class", "caption"),
        default="class",
        help="what is asked of an image: its class, or its own caption among those of the split (needs no labels)",
    )
    parser.add_argument("--image", metavar="ID", help="the test image; without it, the wrong predictions are listed")
    parser.add_argument("--top", type=int, default=20, help="pairs of either kind (default: 20)")
    parser.add_argument(
        "--mode",
        choices=("relative", "plain"),
        help="influence a unit of change (default), or as it is (default through the whole fit)",
    )
    parser.add_argument("--target", help="target set that stops the fit (default: as the score step)")
    parser.add_argument("--features", help="name of the features, where there are several (default: the newest)")
    parser.add_argument("--retrain", action="store_true", help="really fit again without the harmful pairs")
    parser.add_argument(
        "--way",
        choices=("quick", "exact", "fit"),
        help="how pairs are measured: the likeliest ones after a first look at all (default above 10,000 pairs), "
        "every one at the end of the fit (default below), or every one through the whole fit: truer, as slow as a fit",
    )


def _trace(options: argparse.Namespace, progress: Progress) -> Answer:
    names = ("pool", "test", "question", "image", "top", "mode", "target", "features", "retrain", "way")
    data = run_step("trace", {name: getattr(options, name) for name in names}, progress=progress)
    return Answer(data, _errors_in_words(data) if options.image is None else _trace_in_words(data))


def _errors_in_words(data: Mapping[str, Any]) -> str:
    lines = [f"{data['wrong']:,} of {data['images']:,} images are given a wrong {data['question']}; the surest first:"]
    lines += [f"  {line['confidence']:.2f}  {line['pair_id']}: {_taken(line)}" for line in data["errors"][:SHOWN]]
    if data["honesty"]:
        lines.append(_honesty_in_words(data["honesty"]))
    if data["recall"]:
        found = data["recall"]
        lines.append(f"Quick answers hold {found['recall']:.1%} of the exact first {found['top']} of either kind.")
    return "\n".join(lines)


def _trace_in_words(data: Mapping[str, Any]) -> str:
    image, removal = data["image"], data["without_harmful"]
    lines = [f"{image['pair_id']}: {_taken(image)}"]
    if image["also_in_training"]:
        lines.insert(0, "LEAK: this test image is in the training pairs too.")
    lines += ["A quick answer; --way exact measures every pair."] if data["way"] == "quick" else []
    for kind in ("harmful", "helpful"):
        lines.append(f"{kind.capitalize()} pairs ({data['mode']} influence):")
        lines += [f"  {p['influence']:+.4g}  {p['pair_id']} [{p['label']}] {p['role']}" for p in data[kind]]
    truth = str(image["label"])
    for name in ("before", "predicted", "retrained"):
        if name in removal:
            found = removal[name]
            lines.append(f"{name:>10}: probability of the truth {found['probabilities'][truth]:.3f}")
    if data["honesty"]:
        lines.append(_honesty_in_words(data["honesty"]))
    return "\n".join(lines)


def _taken(found: Mapping[str, Any]) -> str:
    """Returns what was taken for what, each on one line and not longer than one reads."""
    truth, guess = (" ".join(str(found[name]).split()) for name in ("label", "predicted"))
    return f"{_cut(truth)} taken for {_cut(guess)}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _honesty_in_words(found: Mapping[str, Any]) -> str:
    return (
        f"Predicted against really refitted, {found['removals']} random removals of {found['removed']:,} pairs: "
        f"rank correlation {found['spearman']:.2f}, slope {found['slope']:.2f}; through the whole fit "
        f"{found['fit_spearman']:.2f} and {found['fit_slope']:.2f} (--way fit)."
    )


def _percent(value: float | None) -> str:
    return "no data" if value is None else f"{value:.1%}"


def _short(ends: list[float] | None) -> str:
    return f" ({ends[0]:.1%} to {ends[1]:.1%})" if ends else ""


def _ends(ends: list[float] | None) -> str:
    return f" (95 % interval {ends[0]:.1%} to {ends[1]:.1%}, whole patients drawn)" if ends else ""


EVALUATE = Command(
    "evaluate",
    "Measure zero-shot accuracy and retrieval of a pool's encoder.",
    _evaluate_arguments,
    _evaluate,
    "chips evaluate pools/mine --split test",
)
TRACE = Command(
    "trace",
    "Find the training pairs behind a wrong prediction.",
    _trace_arguments,
    _trace,
    "chips trace pools/mine --image p0042 --retrain",
)

"""What the page of wrong predictions shows, as plain tables and words; no torch, so that it loads at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chips_core.numbers import MINUS, number
from chips_core.store import Pool

CLASS: Literal["class"] = "class"  # the questions: which class an image shows, which caption is its own
CAPTION: Literal["caption"] = "caption"
UNMEASURED = "How many of the strongest pairs a first look misses is not measured yet."
QUICK: Literal["quick"] = "quick"  # the ways of measuring pairs
EXACT: Literal["exact"] = "exact"
FIT: Literal["fit"] = "fit"
WAYS = {QUICK: "First look", EXACT: "End of training", FIT: "Whole training"}
STATES = ("before", "predicted", "retrained")
TITLES = {"before": "before", "predicted": "predicted without them", "retrained": "really retrained"}
SHORT = {"before": "before", "predicted without them": "predicted", "really retrained": "retrained"}
RETRIEVED = {"image_to_text": "caption of an image", "text_to_image": "image of a caption"}


class Measured(Protocol):
    """Predicted against real changes of test losses, as measured on a pool."""

    spearman: float
    slope: float
    fit_spearman: float
    fit_slope: float
    removals: int
    removed: int
    images: int


class Found(Protocol):
    """How first looks agree with measuring every pair."""

    recall: float
    top: int
    images: int


@dataclass(frozen=True)
class Line:
    """One bar: a name, its number in words, its length, a note."""

    name: str
    value: str
    share: float
    note: str


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], *, classes: int) -> NDArray[np.int64]:
    """Returns the images by true class (row) and predicted class (column), (C, C); those without a label are left."""
    found = np.zeros((classes, classes), np.int64)
    there = labels >= 0
    np.add.at(found, (labels[there], predicted[there]), 1)
    return found


def cells_table(matrix: NDArray[np.int64], classes: Sequence[str]) -> pd.DataFrame:
    """Returns one line a cell with errors, the fullest first: images, true class, taken for, share of the class."""
    lines = [
        {"images": int(matrix[i, j]), "share": matrix[i, j] / of, "truth": classes[i], "taken for": classes[j]}
        for i, of in enumerate(matrix.sum(1))
        for j in range(len(classes))
        if i != j and matrix[i, j]
    ]
    table = pd.DataFrame(lines, columns=["images", "share", "truth", "taken for"])
    return table.sort_values(["images", "truth", "taken for"], ascending=[False, True, True], ignore_index=True)


def outcome_table(found: Mapping[str, Any], *, most: int = 6) -> pd.DataFrame:
    """Returns the probabilities of the classes that matter, before, as predicted and really: one line a class."""
    states = [state for state in STATES if state in found]
    everything = {name for state in states for name in found[state]["probabilities"]}
    highest = {name: max(found[state]["probabilities"][name] for state in states) for name in everything}
    chosen = sorted(everything, key=lambda name: (-highest[name], name))[:most]
    columns = {TITLES[state]: [found[state]["probabilities"][name] for name in chosen] for state in states}
    return pd.DataFrame({"class": chosen, **columns})


def marks(line: Any) -> str:
    """Returns a pair's numbers: its influence, and its similarity to the test image."""
    similarity = f"{line.similarity:z.2f}".replace("-", MINUS)
    return f"{number(line.influence, signed=True)} · similarity {similarity}"


def shortened(name: str, *, most: int) -> str:
    """Returns a name with its middle left out where it is longer than `most`: classes mostly differ at the end."""
    if len(name) <= most:
        return name
    head = most // 3
    return f"{name[:head]}…{name[len(name) - (most - head - 1) :]}"


def badge(line: Any, *, verdict: str = "") -> str:
    """Returns what is most notable of a pair: its verdict, or what it has in common with the test image."""
    common = {"same image": line.same_image, "near copy": line.near_copy, "same patient": line.same_patient}
    return verdict or next((words for words, found in common.items() if found), "")


def sentence(words: str) -> str:
    """Returns the words with a capital letter."""
    return words[:1].upper() + words[1:]


def taken_for(facts: Mapping[str, Any], *, question: str) -> tuple[str, str]:
    """Returns the words and the note below a test image: what it is, and what it was taken for."""
    if question == CAPTION:
        return str(facts["label"]), f"Fits best: {facts['predicted']}"
    return f"{facts['label']} taken for {facts['predicted']}", ""


def way_in_words(way: str, *, honesty: Measured | None, recall: Found | None) -> str:
    """Returns how the pairs are measured, and how far that can be believed where it was measured."""
    if way == QUICK:
        return agreement_in_words(recall.recall, top=recall.top, images=recall.images) if recall else UNMEASURED
    agrees = ""
    if honesty is not None:
        through = f"{honesty.fit_spearman:.2f}"
        rank = through if way == FIT else f"{honesty.spearman:.2f} (through the whole training {through})"
        agrees = f" Rank correlation with real retraining: {rank}."
    if way == FIT:
        return f"Every pair is followed through each step of the training, which takes seconds.{agrees}"
    return f"Every pair is measured at the model that came of the training.{agrees}"


def removal_in_words(found: Mapping[str, Any], *, images: int, through_fit: float | None = None) -> str:
    """Returns what the removal of some pairs does to the loss, and how many predictions it puts right.

    Args:
        found: what was predicted and perhaps really measured.
        images: whose predictions.
        through_fit: the change of the loss as predicted through the whole fit, where that was asked for.
    """
    states = [state for state in STATES if state in found]
    losses = ", ".join(f"{found[state]['loss']:.3f} {state}" for state in states)
    last = found[states[-1]]
    really = "Really retrained" if states[-1] == "retrained" else "Predicted"
    right = f"{last['right']:,} of {images:,} right"
    if images == 1:
        right = "now right" if last["right"] else "still wrong"
    pairs = "pair" if found["removed"] == 1 else "pairs"
    said = f"{really} without {found['removed']:,} {pairs}: {right}. Loss {losses}."
    if through_fit is None:
        return said
    return f"{said} Through the whole training: {found['before']['loss'] + through_fit:.3f} predicted."


def honesty_in_words(found: Measured) -> str:
    """Returns in words how predicted and real changes agree on this pool, at the heads that the page traces."""
    return (
        f"As this page does it (heads trained on the whole pool for a set number of passes, not to a minimum): "
        f"{found.removals:,} times {found.removed:,} random pairs were left out and the heads trained again in the "
        f"same way. Predicted and real change of the loss of {found.images:,} wrong predictions: rank correlation "
        f"{found.spearman:.2f}, real = {found.slope:.1f} \u00d7 predicted: trust the order more than the size. "
        f"Through the whole training: rank correlation {found.fit_spearman:.2f}, real = {found.fit_slope:.1f} \u00d7 "
        f"predicted."
    )


def fidelity_in_words(pool: Pool) -> str:
    """Returns what `chips bench fidelity --pool` measured on the pool's newest features, or how to measure it."""
    newest = pool.feature_sets()[-1].name
    stored = [artifact.record for artifact in pool.tables("fidelity") if artifact.record.get("features") == newest]
    if not stored:
        return (
            "A stricter test, on a training for which the theory is exact, runs with: chips bench fidelity --pool POOL."
        )
    found = max(reversed(stored), key=lambda record: int(record["random_removals"]))
    return (
        f"Where the theory is exact (heads trained on {found['pairs']:,} pairs of this pool to the very minimum): "
        f"{found['random_removals']:,} times {found['removed_at_once']:,} random pairs were left out and the heads "
        f"trained to the minimum again. Predicted and real change of the loss on the target set '{found['target']}': "
        f"rank correlation {found['spearman_random']:.2f}, real = {found['slope']:.2f} \u00d7 predicted."
    )


def agreement_in_words(recall: float, *, top: int, images: int) -> str:
    """Returns how often a quick answer holds what measuring every pair finds."""
    return f"First looks hold {recall:.0%} of the exact first {top} of either kind (measured on {images:,} images)."


def accuracy_in_words(found: Mapping[str, Any]) -> str:
    """Returns the accuracy of the model that is traced, with its interval."""
    images, accuracy = found["images"], found["accuracy"]
    if accuracy is None:
        return "No test image has a label that a prompt names."
    ends = found["accuracy_interval"]
    between = f" (95% interval {ends[0]:.1%} to {ends[1]:.1%}, whole patients drawn)" if ends else ""
    wrong = images - round(accuracy * images)
    return (
        f"The encoder fitted to this pool gets {wrong:,} of {images:,} test images wrong: "
        f"accuracy {accuracy:.1%}{between}."
    )


def retrieval_in_words(*, images: int, wrong: int, captions: int) -> str:
    """Returns how often the model that is traced finds another caption more fitting than its own."""
    return (
        f"The encoder fitted to this pool finds another caption more fitting than its own for {wrong:,} of "
        f"{images:,} test images; {captions:,} different captions were compared."
    )


def left_out_in_words(left_out: int) -> str:
    """Returns what was not looked at, "" for nothing."""
    rows = "row of the test split has" if left_out == 1 else "rows of the test split have"
    return f"{left_out:,} {rows} no caption, or an image that could not be read: left out." if left_out else ""


def why_not_there(pool: Pool, pair_id: str, *, split: str) -> str:
    """Returns why a pair is not among the images that can be traced."""
    pairs = pool.pairs(["pair_id", "split", "outcome", "reason"])
    found = pairs[pairs["pair_id"] == pair_id]
    if found.empty:
        return "The pool has no pair of that id."
    line = found.iloc[0]
    if line["split"] != split:
        return f"That pair is not of the {split} split: only test images are traced."
    if line["outcome"] != "kept":
        return f"That pair is not used ({line['outcome']}: {line['reason']})."
    return "The image of that pair could not be read when the pool was encoded, or it is beyond what is compared."


def class_lines(found: Mapping[str, Any], *, most: int = 40) -> list[Line]:
    """Returns the accuracy by class, the worst first; classes without images last, and without a number."""
    order = sorted(found["classes"], key=lambda c: (c["accuracy"] is None, c["accuracy"] or 0.0, c["label"]))
    return [
        Line(str(c["label"]), _percent(c["accuracy"]), c["accuracy"] or 0.0, f"{c['correct']:,} of {c['images']:,}")
        for c in order[:most]
    ]


def source_lines(found: Mapping[str, Any]) -> list[Line]:
    """Returns the accuracy by source with its interval."""
    return [
        Line(str(name), _percent(s["accuracy"]), s["accuracy"], _between(s["interval"]))
        for name, s in sorted(found["sources"].items())
    ]


def calibration_lines(found: Mapping[str, Any]) -> list[Line]:
    """Returns for each bin of confidence that has images how often the prediction is right."""
    known = found["calibration"]
    if not known:
        return []
    width = 100 // len(known["images"])
    return [
        Line(
            f"{n * width}\u2013{(n + 1) * width}% sure",
            _percent(right),
            right,
            f"{images:,} image" + "s" * (images != 1),
        )
        for n, (images, right) in enumerate(zip(known["images"], known["accuracy"], strict=True))
        if right is not None
    ]


def retrieval_table(evaluated: Mapping[str, Any]) -> pd.DataFrame:
    """Returns recall at 1, 5 and 10 of both ways, with intervals: one line a way."""
    lines = []
    for way, words in RETRIEVED.items():
        found, ends = evaluated["retrieval"][way], evaluated["retrieval_intervals"][way]
        recalls = {f"R@{k}": f"{_percent(value)} {_between(ends[k])}".strip() for k, value in (found or {}).items()}
        lines.append({"finding the": words, **recalls})
    return pd.DataFrame(lines)


def as_it_came_in_words(evaluated: Mapping[str, Any]) -> str:
    """Returns the zero-shot accuracy of the encoder as it came, which `chips evaluate` prints."""
    found = evaluated["zero_shot"]
    if found is None or found["accuracy"] is None:
        return str(evaluated["why_no_zero_shot"] or "")
    return f"As it came, before the fit to this pool, its zero-shot accuracy is {found['accuracy']:.1%}."


def _percent(value: float | None) -> str:
    return "no image" if value is None else f"{value:.1%}"


def _between(ends: Sequence[float] | None) -> str:
    return f"({ends[0]:.0%}\u2013{ends[1]:.0%})" if ends else ""

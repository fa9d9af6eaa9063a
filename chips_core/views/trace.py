"""What the page of wrong predictions shows, as plain tables and words; no torch, so that it loads at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chips_core.insight.vectors import Projected, Taken, gathered
from chips_core.store import Pool

LARGEST = 20_000  # pairs of a split that are compared with each other
STATES = ("before", "predicted", "retrained")
TITLES = {"before": "before", "predicted": "predicted without them", "retrained": "really retrained"}


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], *, classes: int) -> NDArray[np.int64]:
    """Returns the images by true class (row) and predicted class (column), (C, C); those without a label are left."""
    found = np.zeros((classes, classes), np.int64)
    there = labels >= 0
    np.add.at(found, (labels[there], predicted[there]), 1)
    return found


def cells_table(matrix: NDArray[np.int64], classes: Sequence[str]) -> pd.DataFrame:
    """Returns one line a cell with errors, the fullest first: images, true class, taken for, share of the class."""
    lines = [
        {"images": int(matrix[i, j]), "truth": classes[i], "taken for": classes[j], "share": matrix[i, j] / of}
        for i, of in enumerate(matrix.sum(1))
        for j in range(len(classes))
        if i != j and matrix[i, j]
    ]
    table = pd.DataFrame(lines, columns=["images", "truth", "taken for", "share"])
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
    """Returns what is notable of a training pair beside its influence, in our own words."""
    said = [f"{line.influence:+.3g}", f"similarity {line.similarity:.2f}"]
    said += ["the same image"] if line.same_image else []
    said += ["the same patient"] if line.same_patient else []
    return " · ".join(said)


def retrieval_errors(pool: Pool, *, split: str, most: int = 100) -> pd.DataFrame:
    """Returns the images for which another caption of the split fits best, the worst first.

    Columns: row, pair_id, caption, better (how many different captions fit better), nearest (the best of them). Needs
    neither labels nor prompts.
    """
    features = pool.features()
    pairs = pool.kept(["pair_id", "caption", "split"])
    rows = np.flatnonzero((pairs["split"] == split).to_numpy() & features.done)[:LARGEST].astype(np.int64)
    columns = ["row", "pair_id", "caption", "better", "nearest"]
    if not len(rows):
        return pd.DataFrame(columns=columns)
    captions = pairs["caption"].iloc[rows].astype(str).to_numpy(dtype=object)
    names, code = np.unique(captions.astype(str), return_inverse=True)
    first = np.unique(code, return_index=True)[1]
    image = gathered(Projected(Taken(features.image, rows), features.heads.image))
    text = gathered(Projected(Taken(features.text, rows[first]), features.heads.text))
    similarity = image @ text.T
    own = similarity[np.arange(len(rows)), code]
    better = (similarity > own[:, None]).sum(1)
    ids = pairs["pair_id"].iloc[rows].astype(str).to_numpy()
    table = pd.DataFrame(
        {"row": rows, "pair_id": ids, "caption": captions, "better": better, "nearest": names[similarity.argmax(1)]}
    )
    wrong = table[table["better"] > 0].sort_values(["better", "pair_id"], ascending=[False, True], ignore_index=True)
    return wrong[columns].head(most)

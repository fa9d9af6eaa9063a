"""Proxy accuracy: what selections would teach the heads, in seconds each, beside the heads as they came.

The heads are trained on the selection and judged on the target set: by classification where its pairs have labels and
prompts, and always by retrieval. Pairs of the target or the test set in a selection are refused.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from chips_core.errors import InputError
from chips_core.influence.blocks import BlockPlan
from chips_core.influence.endpoint import Heads, embed
from chips_core.influence.fit import calibrate_scale
from chips_core.jobs.scoring_set import ScoringSet, scoring_set
from chips_core.progress import Progress, Silent
from chips_core.store import Pool
from chips_core.verify.bootstrap import Interval
from chips_core.verify.proxy import Exam, ProxySettings, train_heads
from chips_core.verify.retrieval import ranks


@dataclass(frozen=True)
class ProxyLine:
    """What came of one selection; `name` is "" for the heads as they came.

    Attributes:
        name: of the selection.
        pairs: that the heads were trained on.
        accuracy: zero-shot on the target set, mean over its sources; None without labels or prompts.
        sources: the same source by source.
        change: of the accuracy over all images against the heads as they came, paired; None likewise.
        recall_at_1: how often the own caption is the best one for an image of the target set.
        seconds: of the training.
    """

    name: str
    pairs: int
    accuracy: float | None
    sources: Mapping[str, float]
    change: Interval | None
    recall_at_1: float
    seconds: float


def proxy_accuracy(
    pool: Pool,
    selections: Mapping[str, Sequence[int] | NDArray[np.int64]],
    *,
    target: str | None = None,
    seed: int = 0,
    features: str | None = None,
    settings: ProxySettings | None = None,
    progress: Progress | None = None,
) -> list[ProxyLine]:
    """Returns one line for the heads as they came, then one for each selection, in the given order.

    Args:
        pool: encoded.
        selections: rows among the kept pairs (as `Selected.rows`), by name.
        target: target set that judges; as the score step where none is named.
        seed: of the order of the pairs.
        features: which ones, where there are several.
        settings: of the training.
        progress: told of every batch.
    """
    told, wanted = progress or Silent(), settings or ProxySettings()
    found = scoring_set(pool, target=target, plan=BlockPlan(), features=features)
    base = calibrate_scale(found.inputs.needed_target(), found.inputs.heads.to(torch.float32), plan=found.inputs.plan)
    chosen = {name: _places(found, np.asarray(rows, np.int64)) for name, rows in selections.items()}
    told.start("train the heads", total=wanted.epochs * sum(len(places) for places in chosen.values()))
    lines = [_line(found, "", base, base=base, pairs=0, seconds=0.0)]
    for name, places in chosen.items():
        began = time.perf_counter()
        heads = train_heads(found.inputs.pool, places, heads=base, settings=wanted, seed=seed, tick=told.advance)
        seconds = round(time.perf_counter() - began, 3)
        lines.append(_line(found, name, heads, base=base, pairs=len(places), seconds=seconds))
    return lines


def _places(found: ScoringSet, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the places among the scored pairs of rows among the kept pairs; refuses what must not be learnt from."""
    place = np.searchsorted(found.rows, rows)
    inside = place < len(found.rows)
    inside[inside] = found.rows[place[inside]] == rows[inside]
    if not inside.all():
        raise InputError(
            f"{int((~inside).sum()):,} of {len(rows):,} pairs are of the target or a test set, or have no features.",
            fix="train on a selection that `chips select` made: it keeps these out.",
        )
    return np.asarray(place, np.int64)


def _line(found: ScoringSet, name: str, heads: Heads, *, base: Heads, pairs: int, seconds: float) -> ProxyLine:
    exam = _exam(found)
    sources, accuracy, change = {}, None, None
    if exam is not None:
        result = exam.result(heads)
        sources = {source: value.mean for source, value in result.sources.items()}
        accuracy, change = exam.accuracy(heads), exam.difference(base, heads)
    return ProxyLine(name, pairs, accuracy, sources, change, _recall(found, heads), seconds)


def _exam(found: ScoringSet) -> Exam | None:
    """Returns the labelled images of the target set; None where there are no labels or no prompts."""
    inputs, target = found.inputs, found.inputs.needed_target()
    if inputs.prompts is None or inputs.target_labels is None or not bool((inputs.target_labels >= 0).any()):
        return None
    of_target = found.pairs.iloc[found.target_rows]
    return Exam(
        images=target.image,
        labels=inputs.target_labels.numpy(),
        prompts=inputs.prompts,
        owner=torch.arange(len(found.classes)),
        classes=found.classes,
        groups=of_target["group"].astype(str).tolist(),
        sources=of_target["source"].astype(str).tolist(),
    )


def _recall(found: ScoringSet, heads: Heads) -> float:
    target = found.inputs.needed_target()
    image, text = embed(target.image, heads.image)[0], embed(target.text, heads.text)[0]
    codes = torch.from_numpy(pd.factorize(found.pairs["caption"].iloc[found.target_rows])[0].astype(np.int64))
    return float((ranks(image, text, codes=codes) == 0).double().mean())

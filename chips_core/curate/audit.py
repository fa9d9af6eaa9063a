"""Audit, then select: first the most suspect pairs go, then the most valuable of the rest come, class by class.

How many are suspect is estimated rather than fixed (methods.md §4.5). Most pairs of a pool are right, so the lower half
of a suspicion, mirrored at its median, shows how the right ones lie; what stands above the mirror image is the second
group [decided]. The share that goes is half as large again, for the queue errs, at least 5 % and at most 50 %.

The rest is ranked by max(0, ECIF value) · w_L · w_R, in turn over the classes (methods.md §4, last row); pairs that
score alike come by least suspicion, then by id. Where a run lacks these columns the order is random, which was as good
within its spread at 10 % and 30 % in the pilots.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chips_core.curate.candidates import Candidates, Floats, Mask, Rows, ScoreColumn
from chips_core.errors import UsageError

SUSPICIONS = ("peer_loss", "label_contradiction")  # raw, so that their shape tells; the queue itself is made of ranks
RANKED_BY = ("delta_loss_if_removed", "learnability", "relevance")
LEAST, MOST, MARGIN = 0.05, 0.5, 1.5
OF_A_CLASS = 0.5  # no class loses more of its pairs than this to the audit
HEIGHTS = (1.5, 2.0, 2.5, 3.0, 4.0)  # robust standard deviations above the median at which groups are told apart
FEWEST = 20  # pairs below which no shape can be seen


@dataclass(frozen=True, eq=False)
class Audited:
    """What the audit left.

    Attributes:
        rows: in the order in which they are to be chosen.
        dropped: rows that went, most suspect first.
        notes: how the share was found, in words.
    """

    rows: Rows
    dropped: Rows
    notes: tuple[str, ...]


def audit(table: Candidates, *, rows: Rows, drop: float | None, seed: int) -> Audited:
    """Returns the rows that pass the audit, in the order in which they are to be chosen.

    Args:
        table: with the queue, or at least one score that tells suspect pairs.
        rows: eligible rows in the order of their ids.
        drop: share to drop; None to estimate it.
        seed: of the order where there are no values.
    """
    suspicion, worth, notes = _suspicion(table), _worth(table), []
    rows = rows[np.isfinite(suspicion[rows] if worth is None else suspicion[rows] + worth[rows])]
    if drop is None:
        drop, words = estimated_share(table, rows=rows)
        notes.append(words)
    dropped = _most_suspect(suspicion[rows], classes=table.labels()[rows], count=round(drop * len(rows)))
    if dropped.sum() < round(drop * len(rows)):
        notes.append(f"No class loses more than {OF_A_CLASS:.0%} of its pairs to the audit.")
    kept, gone = rows[~dropped], rows[dropped]
    if worth is None:
        notes.append("The run holds no ECIF value with learnability and relevance: the rest is taken at random.")
        order = kept[np.random.default_rng(seed).permutation(len(kept))]
    else:
        order = kept[np.lexsort((suspicion[kept], -worth[kept]))]
    return Audited(in_turn(order, table.labels()), gone[np.argsort(-suspicion[gone], kind="stable")], tuple(notes))


def estimated_share(table: Candidates, *, rows: Rows) -> tuple[float, str]:
    """Returns the share of pairs to drop, and in words how it was found."""
    found = {name: second_group(table.columns[name].values[rows]) for name in SUSPICIONS if name in table.columns}
    if not found:
        found = {"the ranking column": second_group(_suspicion(table)[rows])}
    name = max(found, key=lambda key: found[key])
    share = float(np.clip(MARGIN * found[name], LEAST, MOST))
    words = (
        f"The audit drops {share:.1%}: by {name}, {found[name]:.1%} of the pairs form a second, suspect group "
        f"(mirror fit); half as many again go, at least {LEAST:.0%} and at most {MOST:.0%}."
    )
    return share, words


def second_group(suspicion: Floats) -> float:
    """Returns the share of values that stand above the mirror image of the lower half, 0 to 0.5."""
    values = suspicion[np.isfinite(suspicion)]
    if len(values) < FEWEST:
        return 0.0
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(middle - values[values <= middle]))
    if spread <= 0:
        return 0.0
    above = [np.mean(values > middle + h * spread) - np.mean(values < middle - h * spread) for h in HEIGHTS]
    return float(np.clip(max(above), 0.0, 0.5))


def in_turn(rows: Rows, classes: NDArray[np.object_]) -> Rows:
    """Returns rows class by class in turn, each class in its order; classes begin in the order of their best pair."""
    if not len(rows):
        return rows
    codes = np.unique(classes[rows].astype(str), return_inverse=True)[1]
    by_class = np.argsort(codes, kind="stable")
    starts = np.r_[0, np.flatnonzero(np.diff(codes[by_class])) + 1]
    turn = np.empty(len(rows), np.int64)
    sizes = np.diff(np.r_[starts, len(rows)])
    turn[by_class] = np.arange(len(rows)) - np.repeat(starts, sizes)
    first = by_class[starts]  # the place of each class's best pair
    return rows[np.lexsort((first[codes], turn))]


def _suspicion(table: Candidates) -> Floats:
    """Returns what says how suspect a pair is, (N,)."""
    for name in ("queue", "negcliploss", "clipscore"):
        if name in table.scores:
            return -table.scores[name].worth
    raise UsageError(
        "No score tells which pairs are suspect.", fix="run: chips score POOL --method queue,ecif,chips --target NAME"
    )


def _most_suspect(suspicion: Floats, *, classes: NDArray[np.object_], count: int) -> Mask:
    """Returns which rows go, (n,): the most suspect, but of no class more than its share."""
    dropped = np.zeros(len(suspicion), dtype=np.bool_)
    codes, sizes = np.unique(classes.astype(str), return_inverse=True, return_counts=True)[1:]
    left = np.floor(OF_A_CLASS * sizes).astype(np.int64)
    for row in np.argsort(-suspicion, kind="stable").tolist():
        if count <= 0:
            break
        if left[codes[row]] > 0:
            dropped[row] = True
            left[codes[row]] -= 1
            count -= 1
    return dropped


def _worth(table: Candidates) -> Floats | None:
    """Returns max(0, ECIF value) · w_L · w_R, (N,)."""
    found: list[ScoreColumn] = [table.columns[name] for name in RANKED_BY if name in table.columns]
    if len(found) < len(RANKED_BY):
        return None
    value, learnability, relevance = (column.values for column in found)
    return np.asarray(np.maximum(value, 0) * learnability * relevance)

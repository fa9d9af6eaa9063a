"""Audit, then select: first the most suspect pairs go, then the most representative of the rest come.

How many are suspect is estimated rather than fixed (methods.md §4.5). Most pairs of a pool are right, so the lower half
of a suspicion, mirrored at its median, shows how the right ones lie; what stands above the mirror image is the second
group [decided]. The share that goes is half as large again, for the queue errs, at least 5 % and at most 50 %.

The rest is taken source by source in proportion to what is left of each, and within a source by herding (herding.py):
every beginning of the order is a small image of the whole. Ranking the rest by influence on the target set instead was
measured and left: it gains on the target set and loses wherever the target set is silent (benchmarks/log-select.md).
Without features the order is random, in the same proportions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chips_core.curate.candidates import Candidates, Floats, Mask, Rows
from chips_core.curate.herding import herded, in_proportion
from chips_core.errors import UsageError
from chips_core.influence.titles import title_of

SUSPICIONS = ("peer_loss", "label_contradiction")  # raw, so that their shape tells; the queue itself is made of ranks
TELL_SUSPECTS = ("queue", "negcliploss", "clipscore")  # scores that the audit goes by, the first that is there
SPREAD_OVER = "source"  # the column whose values keep their shares
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
        seed: of the blocks of the herding, and of the order where there are no features.
    """
    suspicion, notes = _suspicion(table), []
    rows = rows[np.isfinite(suspicion[rows])]
    if drop is None:
        drop, words = estimated_share(table, rows=rows)
        notes.append(words)
    dropped = _most_suspect(suspicion[rows], classes=table.labels()[rows], count=round(drop * len(rows)))
    if dropped.sum() < round(drop * len(rows)):
        notes.append(f"No class loses more than {OF_A_CLASS:.0%} of its pairs to the audit.")
    kept, gone = rows[~dropped], rows[dropped]
    if table.embeddings is None:
        notes.append("The features were not read: the rest is taken at random, each source in proportion.")
    order = _representative(table, kept, seed=seed)
    return Audited(order, gone[np.argsort(-suspicion[gone], kind="stable")], tuple(notes))


def estimated_share(table: Candidates, *, rows: Rows) -> tuple[float, str]:
    """Returns the share of pairs to drop, and in words how it was found."""
    rows = rows[np.isfinite(_suspicion(table)[rows])]
    found = {n: second_group(table.columns[n].values[rows]) for n in SUSPICIONS if n in table.columns}
    if not found:
        found = {"ranking": second_group(_suspicion(table)[rows])}
    name = max(found, key=lambda key: found[key])
    share = float(np.clip(MARGIN * found[name], LEAST, MOST))
    words = (
        f"The audit drops {share:.1%}: by {title_of(name).lower()}, {found[name]:.1%} of the pairs form a second, "
        f"suspect group (mirror fit); half as many again go, at least {LEAST:.0%} and at most {MOST:.0%}."
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


def _representative(table: Candidates, rows: Rows, *, seed: int) -> Rows:
    """Returns rows in the order of id, laid out so that every beginning stands for all of them."""
    groups = table.names.get(SPREAD_OVER, np.full(len(table), "", dtype=object))
    if table.embeddings is None:
        return in_proportion(rows[np.random.default_rng(seed).permutation(len(rows))], groups)
    return herded(table.embeddings.image, table.embeddings.text, rows=rows, groups=groups, seed=seed)


def _suspicion(table: Candidates) -> Floats:
    """Returns what says how suspect a pair is, (N,)."""
    for name in TELL_SUSPECTS:
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

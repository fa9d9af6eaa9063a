"""Which pairs the queue holds suspect: as many of its first as the audit would drop."""

import numpy as np

from chips_core.curate.audit import estimated_share
from chips_core.curate.candidates import Candidates, Mask


def suspects(table: Candidates) -> Mask | None:
    """Returns the suspect pairs among the readable ones, (N,); None where no queue was computed."""
    if "queue" not in table.scores:
        return None
    rows = np.flatnonzero(table.readable)
    queue = table.scores["queue"].values
    rows = rows[np.isfinite(queue[rows])]
    share, _ = estimated_share(table, rows=rows)
    found = np.zeros(len(table), np.bool_)
    found[rows[np.argsort(-queue[rows], kind="stable")][: round(share * len(rows))]] = True
    return found

"""The small scored pool of review_pools.py with a map: p0 to p5 on a line, but p4, which has no place."""

import numpy as np
import pandas as pd
from review_pools import scored_pool

PLACED = (0, 1, 2, 3, 5)


def mapped_pool(folder, **changes):
    """Makes the pool, encoded, scored and mapped by image."""
    pool = scored_pool(folder, **changes)
    lay_out(pool)
    return pool


def lay_out(pool, *, space="image", rows=PLACED):
    """Writes a map with the pairs of these rows on a line."""
    ids = [f"p{row}" for row in rows]
    table = pd.DataFrame({"pair_id": ids, "row": list(rows), "x": np.arange(len(rows)) * 1.0, "y": 0.0})
    pool.write_table("maps", f"{space}-1", table, record={"space": space}, fingerprint=f"m-{space}")

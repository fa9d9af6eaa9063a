"""SemDeDup as a selection: pairs that repeat no earlier one come first, computed from the features where not scored."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chips_core.curate.candidates import Floats, Rows


def duplicate_similarity(images: NDArray[Any], *, rows: Rows, seed: int) -> Floats:
    """Returns how nearly each pair repeats one that SemDeDup would keep before it, (n,); -1 for the first of a cluster.

    Args:
        images: (N, D) unit embeddings.
        rows: (n,) eligible rows in the order of their ids, which is the order that decides ties.
        seed: of the clusters.
    """
    import torch

    from chips_core.influence.embedding import Embeddings
    from chips_core.influence.similarity import semdedup

    if not len(rows):
        return np.empty(0)
    features = torch.from_numpy(np.ascontiguousarray(images))
    found = semdedup(Embeddings(features, None, torch.from_numpy(rows)), clusters=None, seed=seed)
    return np.asarray(found.numpy())

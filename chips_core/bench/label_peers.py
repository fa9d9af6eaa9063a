"""Peers from their own package: cleanlab's label quality, once from images and once from captions.

cleanlab finds labels that do not fit; it is given out-of-sample class probabilities of a logistic regression on the
same features that everybody uses. From images it looks for wrong labels, of which there are none here; from captions a
label that does not fit means a caption that does not, the fairest use of it for swapped captions.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from chips_core.influence.blocks import Features

FOLDS = 5


def label_peers(pool: "Features", *, labels: "Tensor", seed: int) -> dict[str, NDArray[np.float64]]:
    """Returns cleanlab's suspicion of every pair by name, (N,), high is suspect; {} where labels are too few.

    Args:
        pool: features of the N pairs.
        labels: (N,) class codes, -1 where a pair has none.
        seed: of the folds.
    """
    codes = labels.numpy()
    sizes = np.bincount(codes[codes >= 0]) if (codes >= 0).any() else np.zeros(1, dtype=np.int64)
    judged = (codes >= 0) & (sizes[np.maximum(codes, 0)] >= FOLDS)
    if len(np.unique(codes[judged])) < 2:
        return {}
    sides = {"cleanlab_images": pool.image, "cleanlab_captions": pool.text}
    return {name: _suspicion(side.numpy(), codes=codes, judged=judged, seed=seed) for name, side in sides.items()}


def _suspicion(
    features: NDArray[np.float32], *, codes: NDArray[np.int64], judged: NDArray[np.bool_], seed: int
) -> NDArray[np.float64]:
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = np.unique(codes[judged], return_inverse=True)[1]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1_000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    probabilities = cross_val_predict(model, features[judged], known, cv=folds, method="predict_proba")
    quality = get_label_quality_scores(known, probabilities)
    suspicion = np.full(len(codes), -np.median(quality))
    suspicion[judged] = -quality
    return suspicion

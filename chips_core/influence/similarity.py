"""Scores that need no gradient: CLIPScore, NormSim, SemDeDup."""

import math

import torch
from torch import Tensor

from chips_core.influence.clusters import about_root, kmeans
from chips_core.influence.embedding import Embeddings

ROWS = 1024  # rows of a cluster compared at a time
NOTHING_BEFORE = -1.0  # SemDeDup's similarity where no pair of the cluster comes earlier


def clipscore(images: Embeddings, *, texts: Embeddings) -> Tensor:
    """Returns cos(x̂_i, ŷ_i) of every position, (N,) float64.

    J. Hessel, A. Holtzman, M. Forbes, R. Le Bras, Y. Choi: CLIPScore: A Reference-free Evaluation Metric for Image
    Captioning. EMNLP 2021. Their factor 2.5 and their cut at 0 are left out: they change no ranking above 0 and hide
    the worst pairs below it [decided].
    """
    out = torch.empty(len(images), dtype=torch.float64)
    for (piece, x), (_, y) in zip(images.pieces(), texts.pieces(), strict=True):
        out[piece] = (x.to(torch.float64) * y.to(torch.float64)).sum(dim=1)
    return out


def normsim(images: Embeddings, *, targets: Embeddings, p: float) -> Tensor:
    """Returns NormSim_p(i) = (Σ_t |x̂_i · x̂_t|^p)^{1/p} over the target images, (N,) float64.

    Y. Wang, Y. Chen, W. Yan, A. Fang, W. Zhou, K. Jamieson, S. S. Du: CLIPLoss and Norm-Based Data Selection Methods
    for Multimodal Contrastive Learning. NeurIPS 2024 [paper]. p = ∞ is the nearest target image (with its sign); p = 2
    is the length of x̂_i in the target images' second moment, which costs no product with every target.

    Args:
        images: the pool's images.
        targets: the target set's images.
        p: 2 or infinity.
    """
    out = torch.empty(len(images), dtype=torch.float64)
    second_moment = sum(t.to(torch.float64).T @ t.to(torch.float64) for _, t in targets.pieces())
    for piece, x in images.pieces():
        if math.isinf(p):
            near = [(x @ t.to(x.dtype).T).amax(dim=1) for _, t in targets.pieces()]
            out[piece] = torch.stack(near).amax(dim=0).to(torch.float64)
        else:
            wide = x.to(torch.float64)
            out[piece] = ((wide @ second_moment) * wide).sum(dim=1).clamp(min=0).sqrt()
    return out


def semdedup(embeddings: Embeddings, *, clusters: int | None, seed: int) -> Tensor:
    """Returns the greatest cosine of every position with one that SemDeDup would keep before it, (N,) float64.

    A. Abbas, K. Tirumala, D. Simig, S. Ganguli, A. S. Morcos: SemDeDup: Data-efficient Learning at Web-scale through
    Semantic Deduplication. arXiv 2303.09540, 2023. Within each k-means cluster pairs stand in ascending similarity to
    the centre (the odd ones are kept first); a pair above 1 − ε is a duplicate of an earlier one [paper]. The first of
    each cluster gets -1.

    Args:
        embeddings: of images, as in the paper, or of captions.
        clusters: how many; None makes about √N of about √N members each, so that the work grows as N √N.
        seed: of the clusters.
    """
    groups = kmeans(embeddings, clusters=clusters or about_root(len(embeddings)), seed=seed)
    out = torch.empty(len(embeddings), dtype=torch.float64)
    for centre, members in zip(groups.centres, groups.members(), strict=True):
        if len(members):
            x = embeddings.take(members)
            order = torch.argsort(x @ centre, stable=True)
            out[members[order]] = _nearest_before(x[order])
    return out


def _nearest_before(x: Tensor) -> Tensor:
    """Returns the greatest cosine of each row with an earlier row, (n,) float64."""
    out = torch.empty(len(x), dtype=torch.float64)
    for start in range(0, len(x), ROWS):
        stop = min(start + ROWS, len(x))
        cosines = x[start:stop] @ x[:stop].T
        earlier = torch.arange(stop)[None, :] < torch.arange(start, stop)[:, None]
        out[start:stop] = cosines.masked_fill(~earlier, NOTHING_BEFORE).amax(dim=1).to(torch.float64)
    return out

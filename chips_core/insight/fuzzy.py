"""The graph of UMAP (McInnes, Healy, Melville 2018, §3.1): how strongly each pair holds on to its neighbours.

w(i -> j) = exp(-max(0, d_ij - rho_i) / sigma_i)          [paper, algorithm 3]
    rho_i     distance to the nearest neighbour that is not in the very same place
    sigma_i   such that the weights of i sum to log2(k)     [paper, algorithm 3]
w_ij = w(i -> j) + w(j -> i) - w(i -> j) w(j -> i)        [paper, §3.1]

k counts the pair itself, as in umap-learn, whose weights these equal; it is written anew because compiling umap-learn
takes longer than laying out a small pool.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import curve_fit

STEPS = 64  # bisections of sigma
TOLERANCE = 1e-5
FLOOR = 1e-3  # sigma is at least this share of the mean distance

Array = NDArray[np.float64]


def fuzzy_graph(rows: NDArray[np.int64], distances: NDArray[np.floating]) -> sparse.csr_matrix:
    """Returns the symmetric graph (N, N) of the neighbours (N, k - 1) and their distances, nearest first."""
    pairs, count = rows.shape
    held = distances.astype(np.float64)
    rho, sigma = _scales(held)
    weights = np.where(held <= rho[:, None], 1.0, np.exp(-np.maximum(held - rho[:, None], 0.0) / sigma[:, None]))
    directed = sparse.csr_matrix(
        (weights.ravel(), rows.ravel(), np.arange(0, pairs * count + 1, count)), shape=(pairs, pairs)
    )
    turned = directed.T.tocsr()
    graph = (directed + turned - directed.multiply(turned)).tocsr()
    graph.sort_indices()
    return graph


def _scales(distances: Array) -> tuple[Array, Array]:
    """Returns rho and sigma (N,) of distances (N, k - 1)."""
    rho = np.where(distances > 0, distances, np.inf).min(axis=1)
    rho = np.where(np.isfinite(rho), rho, 0.0)
    target = np.log2(distances.shape[1] + 1)
    beyond = np.maximum(distances - rho[:, None], 0.0)
    low, high = np.zeros(len(distances)), np.full(len(distances), np.inf)
    sigma = np.ones(len(distances))
    open_ = np.ones(len(distances), dtype=np.bool_)
    for _ in range(STEPS):
        total = np.where(beyond > 0, np.exp(-beyond / sigma[:, None]), 1.0).sum(axis=1)
        open_ &= np.abs(total - target) >= TOLERANCE
        if not open_.any():
            break
        above = total > target
        high = np.where(open_ & above, sigma, high)
        low = np.where(open_ & ~above, sigma, low)
        middle = np.where(np.isinf(high), sigma * 2, (low + np.where(np.isinf(high), 0.0, high)) / 2)
        sigma = np.where(open_, middle, sigma)
    means = (distances.sum(axis=1)) / (distances.shape[1] + 1)  # the pair itself counts, at distance 0
    least = FLOOR * np.where(rho > 0, means, means.mean() if len(means) else 0.0)
    return rho, np.maximum(np.maximum(sigma, least), 1e-12)


def curve(*, min_dist: float, spread: float = 1.0) -> tuple[float, float]:
    """Returns a and b of 1 / (1 + a d^(2b)), fitted to a curve that falls only beyond `min_dist` [paper, §3.2]."""
    d = np.linspace(0, spread * 3, 300)
    wanted = np.where(d < min_dist, 1.0, np.exp(-(d - min_dist) / spread))

    def falling(x: Any, a: float, b: float) -> Any:
        return 1.0 / (1.0 + a * x ** (2 * b))

    (a, b), _ = curve_fit(falling, d, wanted)
    return float(a), float(b)

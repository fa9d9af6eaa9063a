"""Slow and obvious references for everything that influence/ computes: autograd, loops, dense matrices."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from chips_core.influence.endpoint import Direction, Heads


def random_case(
    pairs: int = 7, width: int = 4, image_width: int = 6, text_width: int = 5, *, scale: float = 5.0, seed: int = 0
) -> tuple[Tensor, Tensor, Heads]:
    """Features and heads in float64, seeded."""
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(pairs, image_width, generator=g, dtype=torch.float64)
    Y = torch.randn(pairs, text_width, generator=g, dtype=torch.float64)
    image = torch.randn(width, image_width, generator=g, dtype=torch.float64)
    text = torch.randn(width, text_width, generator=g, dtype=torch.float64)
    return X, Y, Heads.of(image, text, scale=scale)


def random_direction(heads: Heads, seed: int = 1) -> Direction:
    g = torch.Generator().manual_seed(seed)
    flat = torch.randn(heads.zeros().size, generator=g, dtype=heads.image.dtype)
    return heads.zeros().from_flat(flat)


def flat_heads(heads: Heads) -> Tensor:
    return heads.minus(Heads(heads.image * 0, heads.text * 0, heads.log_scale * 0)).flat()


def logits_of(theta: Tensor, X: Tensor, Y: Tensor, heads: Heads) -> Tensor:
    """S as a function of the flat parameters, written with functional.normalize."""
    parts = heads.zeros().from_flat(theta)
    image = functional.normalize(X @ parts.image.T, dim=1)
    text = functional.normalize(Y @ parts.text.T, dim=1)
    return parts.log_scale.exp() * image @ text.T


def pos_of(S: Tensor) -> Tensor:
    labels = torch.arange(len(S))
    return functional.cross_entropy(S, labels, reduction="none") + functional.cross_entropy(
        S.T, labels, reduction="none"
    )


def loss_without(S: Tensor, members: list[int]) -> Tensor:
    """ECIF's L of the block after really deleting rows and columns."""
    stay = [i for i in range(len(S)) if i not in members]
    return pos_of(S[stay][:, stay]).sum()


def neg_by_deletion(S: Tensor) -> Tensor:
    """What deleting each pair saves the others: their loss terms before, minus after."""
    before = pos_of(S)
    total = before.sum()
    return torch.stack([total - before[n] - loss_without(S, [n]) for n in range(len(S))])


def neg_by_log_weight(S: Tensor) -> Tensor:
    """d/dlog ζ_n of the other pairs' loss terms, ζ the weight of a pair as a negative."""

    def others(log_zeta: Tensor, n: int) -> Tensor:
        weighted = torch.stack([S[k] + log_zeta for k in range(len(S)) if k != n])
        own = torch.stack([S[k, k] for k in range(len(S)) if k != n])
        by_column = torch.stack([S[:, k] + log_zeta for k in range(len(S)) if k != n])
        return (weighted.logsumexp(1) - own).sum() + (by_column.logsumexp(1) - own).sum()

    zero = torch.zeros(len(S), dtype=S.dtype)
    slopes = [torch.autograd.functional.jacobian(lambda z, n=n: others(z, n), zero)[n] for n in range(len(S))]
    return torch.stack(slopes)


def pair_gradients(function: Callable[[Tensor], Tensor], X: Tensor, Y: Tensor, heads: Heads) -> Tensor:
    """Autograd: d function(S)_n / dϑ for each pair, (B, |ϑ|)."""
    theta = flat_heads(heads)
    return torch.autograd.functional.jacobian(lambda t: function(logits_of(t, X, Y, heads)), theta)


def own_path_gradients(X: Tensor, Y: Tensor, heads: Heads) -> Tensor:
    """Autograd of ℓ_n with every other pair's embeddings held fixed, (B, |ϑ|)."""
    fixed = flat_heads(heads)
    rows = []
    for n in range(len(X)):
        mine = torch.arange(len(X)) == n

        def own(theta: Tensor, mine: Tensor = mine, n: int = n) -> Tensor:
            moving, still = heads.zeros().from_flat(theta), heads.zeros().from_flat(fixed)
            image = functional.normalize(torch.where(mine[:, None], X @ moving.image.T, X @ still.image.T), dim=1)
            text = functional.normalize(torch.where(mine[:, None], Y @ moving.text.T, Y @ still.text.T), dim=1)
            return pos_of(moving.log_scale.exp() * image @ text.T)[n] / 2

        rows.append(torch.autograd.functional.jacobian(own, fixed))
    return torch.stack(rows)


def gauss_newton(X: Tensor, Y: Tensor, heads: Heads) -> Tensor:
    """Dense JᵀHJ of Σ ℓ_n: J of the logits, H of the loss in the logits, (|ϑ|, |ϑ|)."""
    theta = flat_heads(heads)
    S = logits_of(theta, X, Y, heads)
    J = torch.autograd.functional.jacobian(lambda t: logits_of(t, X, Y, heads).reshape(-1), theta)
    H = torch.autograd.functional.hessian(lambda s: pos_of(s.view_as(S)).sum() / 2, S.reshape(-1))
    return J.T @ H @ J


def spearman(a: Tensor, b: Tensor) -> float:
    ranks = torch.stack([a.argsort().argsort(), b.argsort().argsort()]).double()
    return float(torch.corrcoef(ranks)[0, 1])

"""The symmetric InfoNCE loss of one block of pairs, as a function of its logits alone.

Letters (methods.md §1): S (B, B) logits, row = image, column = text; P = row-softmax of S, Q = column-softmax of S;
T (B, B) = dS[v], the change of S along a direction v of the endpoint; p = 1 - (a probability), never formed by
subtraction where it may vanish.

Three functions of each pair n, all of them of the whole block:
    ℓ_n   = -½ (log P_nn + log Q_nn)                             the loss term              [paper CHIPS]
    Pos_n = -log P_nn - log Q_nn                                 its part as a positive     [paper ECIF]
    Neg_n = what deleting n saves the other pairs of the block   its part as a negative
and for each: its value, its derivative along v (`*_dots`, from T), and dF/dS of a weighted sum (`*_coefficients`),
which the endpoint turns into a gradient. Everything is finite for finite logits, also at ±1e4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.errors import InputError

STRIP_ROWS = 96  # of a (1024, 1024) float32 matrix: with those beside it 1.5 MB
FLOOR = 1e-6  # 1 - p is not taken smaller than this inside a logarithm [decided]


def check_logits(logits: Tensor) -> None:
    """Refuses logits of fewer than two pairs, not square, or not finite."""
    if logits.ndim != 2 or logits.shape[0] != logits.shape[1]:
        raise InputError(f"Logits of shape {tuple(logits.shape)}, expected one row and one column a pair.")
    if logits.shape[0] < 2:
        raise InputError(
            f"A block of {logits.shape[0]} pair has no negatives: a contrastive score needs two pairs or more.",
            fix="add pairs to the pool or to the target set.",
        )
    if not bool(torch.isfinite(logits).all()):
        raise InputError("Logits are not finite.", fix="check the logit scale and the features.")


def probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns P (softmax over each image's row) and Q (softmax over each text's column), both (B, B)."""
    return torch.softmax(logits, dim=1), torch.softmax(logits, dim=0)


def pair_losses(logits: Tensor) -> Tensor:
    """Returns ℓ_n = -½ (log P_nn + log Q_nn) [paper] for each pair, (B,); negCLIPLoss is -ℓ_n / scale."""
    return positives(logits) / 2


def positives(logits: Tensor) -> Tensor:
    """Returns Pos_n = -log P_nn - log Q_nn [paper] for each pair, (B,)."""
    own = logits.diagonal()
    return logits.logsumexp(1) + logits.logsumexp(0) - 2 * own


def negatives(logits: Tensor, *, exact: bool = True, floor: float = FLOOR) -> Tensor:
    """Returns what each pair adds to the other pairs' loss terms by being their negative, (B,).

    exact: Neg_n = -Σ_{k≠n} [log(1 - P_kn) + log(1 - Q_nk)], so that L - L₋ₙ = Pos_n + Neg_n [derived], 1 - p ≥ floor.
    first order: Neg_n = Σ_{k≠n} (P_kn + Q_nk), the derivative by log ζ of pair n's weight [derived].
    """
    if exact:
        columns, rows = -_log_rest(logits, floor), -_log_rest(logits.T, floor)  # [k, n] and, transposed, [k, n]
    else:
        P, Q = probabilities(logits)
        columns, rows = _off_diagonal(P), _off_diagonal(Q.T)
    return columns.sum(0) + rows.sum(0)


def set_deletion(logits: Tensor, members: Tensor, *, floor: float = 0.0) -> Tensor:
    """Returns L - L₋R, what deleting the set R of a block at once takes from L = Σ_n Pos_n [derived].

    Σ_{n∈R} Pos_n - Σ_{k∉R} [log(1 - Σ_{n∈R} P_kn) + log(1 - Σ_{n∈R} Q_nk)]; the Negs of single pairs do not add.

    Args:
        logits: (B, B).
        members: (B,) bool, True for the pairs of R.
        floor: the smallest 1 - Σp inside the logarithm.
    """
    stay = ~members
    saved = positives(logits)[members].sum()
    for rows in (logits, logits.T):
        rest = rows[stay][:, stay].logsumexp(1) - rows[stay].logsumexp(1)
        saved = saved - (rest.clamp(min=_log(floor)) if floor else rest).sum()
    return saved


def set_deletion_coefficients(logits: Tensor, members: Tensor) -> Tensor:
    """Returns d(L - L₋R)/dS, (B, B): each row's softmax minus what its row is left with after the deletion [derived].

    What is left: the one-hot of its own pair for a member of R (its term disappears), the softmax over the pairs that
    stay for the others.
    """
    own = torch.diag(members.to(logits.dtype))

    def by_row(rows: Tensor) -> Tensor:
        if bool(members.all()):
            return torch.softmax(rows, dim=1) - own
        rest = torch.softmax(rows.masked_fill(members, -torch.inf), dim=1)
        return torch.softmax(rows, dim=1) - own - rest.masked_fill(members[:, None], 0.0)

    return by_row(logits) + by_row(logits.T).T


def correctness(logits: Tensor) -> Tensor:
    """Returns p_corr = ½ (P_nn + Q_nn) [paper] for each pair, (B,)."""
    return ((logits.diagonal() - logits.logsumexp(1)).exp() + (logits.diagonal() - logits.logsumexp(0)).exp()) / 2


def margins(logits: Tensor) -> Tensor:
    """Returns m_n = ½ [(S_nn - max_{j≠n} S_nj) + (S_nn - max_{j≠n} S_jn)] [decided: on logits, symmetric], (B,)."""
    others = logits.clone()
    others.fill_diagonal_(-torch.inf)
    return logits.diagonal() - (others.amax(1) + others.amax(0)) / 2


def loss_dots(logits: Tensor, T: Tensor) -> Tensor:
    """Returns ∇ℓ_n·v = ½ (m_n + m'_n) - T_nn, with m_k = Σ_j P_kj T_kj and m'_k = Σ_i Q_ik T_ik [derived], (B,)."""
    return pos_dots(logits, T) / 2


def pos_dots(logits: Tensor, T: Tensor) -> Tensor:
    """Returns ∇Pos_n·v = m_n + m'_n - 2 T_nn [derived], (B,)."""
    P, Q = probabilities(logits)
    return (P * T).sum(1) + (Q * T).sum(0) - 2 * T.diagonal()


def neg_dots(logits: Tensor, T: Tensor, *, exact: bool = True) -> Tensor:
    """Returns ∇Neg_n·v, (B,).

    first order: Σ_{k≠n} P_kn (T_kn - m_k) + Σ_{k≠n} Q_nk (T_nk - m'_k) [derived].
    exact: the same with weights p / (1 - p) [derived], computed as p (T_kn - m_k without n), which stays bounded.
    """
    if exact:
        return _deletion_dots(logits, T) + _deletion_dots(logits.T, T.T)
    total = torch.zeros_like(logits[0])
    for rows, change in ((logits, T), (logits.T, T.T)):
        P = torch.softmax(rows, dim=1)
        mean = (P * change).sum(1, keepdim=True)
        total = total + _off_diagonal(P * (change - mean)).sum(0)
    return total


def loss_coefficients(logits: Tensor, weights: Tensor) -> Tensor:
    """Returns d(Σ_n c_n ℓ_n)/dS, (B, B) = ½ c_i (P_ij - δ_ij) + ½ c_j (Q_ij - δ_ij) [derived]."""
    P, Q = probabilities(logits)
    coefficients = (weights[:, None] * P + weights[None, :] * Q) / 2
    coefficients.diagonal().sub_(weights)
    return coefficients


def pos_coefficients(logits: Tensor, weights: Tensor) -> Tensor:
    """Returns d(Σ_n c_n Pos_n)/dS, (B, B): twice that of the loss terms."""
    return 2 * loss_coefficients(logits, weights)


def neg_coefficients(logits: Tensor, weights: Tensor, *, exact: bool = True) -> Tensor:
    """Returns d(Σ_n c_n Neg_n)/dS, (B, B).

    Row part, first order: A_kj = c_j P_kj [j≠k] - P_kj Σ_{n≠k} c_n P_kn; exact: with P / (1 - P) for the weight of
    each n; the column part is the same of Sᵀ, transposed [derived].
    """
    part = _deletion_coefficients if exact else _taylor_coefficients
    return part(logits, weights) + part(logits.T, weights).T


def gauss_newton_coefficients(P: Tensor, Q: Tensor, T: Tensor) -> Tensor:
    """Returns A = ½ P∘(T - rowmean_P T) + ½ Q∘(T - colmean_Q T), (B, B) [derived].

    With T = dS[w], GGN·w = JᵀA for the sum of the loss terms. In strips of rows that stay in the cache: a Gauss-Newton
    system spends half its time here.
    """
    found, strips = torch.empty_like(T), range(0, len(T), STRIP_ROWS)
    column_means = torch.zeros_like(T[0])
    for start in strips:
        some = slice(start, start + STRIP_ROWS)
        column_means += torch.mul(Q[some], T[some], out=found[some]).sum(0)
    for start in strips:
        some = slice(start, start + STRIP_ROWS)
        row_means = torch.linalg.vecdot(P[some], T[some])[:, None]
        part = torch.add(P[some], Q[some], out=found[some]).mul_(T[some])
        part.addcmul_(P[some], row_means, value=-1).addcmul_(Q[some], column_means, value=-1).mul_(0.5)
    return found


@dataclass(frozen=True)
class _LeaveOneOut:
    """The deletion weights of each row, its largest entry kept apart so that nothing is divided by what vanishes."""

    P: Tensor  # (B, B) row-softmax
    weights: Tensor  # (B, B) P / (1 - P), zero on the diagonal and at each row's largest entry
    top: Tensor  # (B, 1) place of each row's largest entry
    top_weight: Tensor  # (B, 1) P there, zero where it is the pair itself
    rest: Tensor  # (B, B) row-softmax without the largest entry


def _leave_one_out(rows: Tensor) -> _LeaveOneOut:
    P = torch.softmax(rows, dim=1)
    top = rows.argmax(1, keepdim=True)
    rest = torch.softmax(rows.scatter(1, top, -torch.inf), dim=1)
    off = _off_diagonal(P.scatter(1, top, 0.0))
    own = torch.arange(len(rows), device=rows.device)[:, None] == top
    top_weight = P.gather(1, top).masked_fill(own, 0.0)
    return _LeaveOneOut(P, off / (1 - off), top, top_weight, rest)


def _deletion_dots(rows: Tensor, T: Tensor) -> Tensor:
    one = _leave_one_out(rows)
    mean = (one.P * T).sum(1, keepdim=True)
    change = one.weights * (T - mean)
    at_top = one.top_weight * (T.gather(1, one.top) - (one.rest * T).sum(1, keepdim=True))
    return change.scatter_add(1, one.top, at_top).sum(0)


def _deletion_coefficients(rows: Tensor, c: Tensor) -> Tensor:
    one = _leave_one_out(rows)
    weighted = one.weights * c
    summed = weighted.sum(1, keepdim=True)
    A = weighted - one.P * summed
    at_top = one.top_weight * c[one.top]
    return A.scatter_add(1, one.top, at_top) - at_top * one.rest


def _taylor_coefficients(rows: Tensor, c: Tensor) -> Tensor:
    P = torch.softmax(rows, dim=1)
    weighted = _off_diagonal(P) * c
    return weighted - P * weighted.sum(1, keepdim=True)


def _log_rest(rows: Tensor, floor: float) -> Tensor:
    """Returns log(1 - P_kn) for n ≠ k, zero on the diagonal; the largest entry of a row from the sum of the others."""
    log_p = torch.log_softmax(rows, dim=1)
    top = rows.argmax(1, keepdim=True)
    others = rows.scatter(1, top, -torch.inf)
    at_top = others.logsumexp(1, keepdim=True) - rows.logsumexp(1, keepdim=True)
    log_rest = torch.log1p(-log_p.scatter(1, top, -torch.inf).exp()).scatter(1, top, at_top)
    return _off_diagonal(log_rest.clamp(min=_log(floor)) if floor else log_rest)


def _off_diagonal(matrix: Tensor) -> Tensor:
    return matrix - torch.diag(matrix.diagonal())


def _log(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float64).log())

"""What the kernel does to a block's (B, B) matrices element by element: in strips of rows that stay in the cache.

A (1024, 1024) float32 matrix does not fit a core's cache; a strip of it, and the two scratch strips beside it, do. So
each sweep reads E and T from memory once, whatever is computed from them. Letters as in kernel.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

STRIP = 96 * 1024  # elements of a strip: four of float32 are 1.5 MB of cache; fewer, larger steps wait less on the lock
VANISHED = 1e-25  # a row sum below this has lost entries to underflow
DOMINANT = 0.9


@dataclass(frozen=True)
class Exponentials:
    """E of a block, and what follows from it alone."""

    E: Tensor  # (B, B) exp(S - α), diagonal zero
    own: Tensor  # (B,) exp(S_nn - α)
    own_logit: Tensor  # (B,) S_nn
    others_row: Tensor  # (B,) row sums without the diagonal
    others_column: Tensor  # (B,)
    shift: float  # α

    @property
    def R(self) -> Tensor:
        """Row sums, (B,)."""
        return self.others_row + self.own

    @property
    def C(self) -> Tensor:
        """Column sums, (B,)."""
        return self.others_column + self.own


@dataclass(frozen=True)
class Change:
    """How the logits of a block change along one direction, with its sums under E."""

    G: Tensor  # (B, B) E∘T, diagonal zero
    own: Tensor  # (B,) T_nn
    by_row: Tensor  # (B,) Σ_{j≠k} E_kj T_kj
    by_column: Tensor  # (B,)

    def pos_dots(self, state: Exponentials) -> Tensor:
        """∇Pos_n·v = (m_n - T_nn) + (m'_n - T_nn), each over the other pairs, so that nothing cancels, (B,)."""
        by_row = (self.by_row - state.others_row * self.own) / state.R
        return by_row + (self.by_column - state.others_column * self.own) / state.C

    def means(self, state: Exponentials) -> tuple[Tensor, Tensor]:
        """The P-mean m of each row and the Q-mean m' of each column, (B,) each."""
        return (self.by_row + state.own * self.own) / state.R, (self.by_column + state.own * self.own) / state.C


@dataclass(frozen=True)
class Dominant:
    """The entries of one side with p > 0.9, at most one a row, and what is left of their rows without them."""

    rows: Tensor  # (F,) rows (columns, for the other side) that have one
    places: Tensor  # (F,) where it is
    shares: Tensor  # (F,) p there
    left: Tensor  # (F,) what exp(S - α) sums to without it, float64
    log_rest: Tensor  # (F,) log(1 - p)

    def dots(self, E: Tensor, G: Tensor, own: Tensor) -> Tensor:
        """Returns P_kn (T_kn - m_k without n) for each, which is P/(1 - P) (T_kn - m_k), (F,) float64.

        Args:
            E: of the block, its rows those of this side.
            G: likewise.
            own: (B,) exp(S_kk - α) T_kk.
        """
        change = G[self.rows].double()
        count = torch.arange(len(self.rows))
        top = change[count, self.places] / E[self.rows, self.places].double()
        change[count, self.places] = 0.0
        return self.shares * (top - (change.sum(1) + own[self.rows].double()) / self.left)


def strips(pairs: int, *, width: int = 0) -> Iterator[slice]:
    """Yields the rows of one strip after another, of a matrix as wide as it is long where no width is given."""
    rows = max(1, STRIP // (width or pairs))
    for start in range(0, pairs, rows):
        yield slice(start, min(start + rows, pairs))


def exponentials(S: Tensor, *, shift: float) -> Exponentials | None:
    """Turns S into E in place and sums it; None where a whole row has vanished."""
    own_logit = S.diagonal().clone()
    S.fill_diagonal_(-torch.inf)
    ones, row, column = torch.ones_like(own_logit), torch.empty_like(own_logit), torch.zeros_like(own_logit)
    for some in strips(len(S)):
        E = S[some].sub_(shift).exp_() if shift else S[some].exp_()
        torch.mv(E, ones, out=row[some])
        column.addmv_(E.T, ones[some])
    state = Exponentials(S, (own_logit - shift).exp(), own_logit, row, column, shift)
    low = torch.minimum(state.R.min(), state.C.min())
    return state if float(low) > VANISHED else None


def changed(state: Exponentials, T: Tensor) -> Change:
    """Turns T into G = E∘T in place and sums it by row and by column."""
    own = T.diagonal().clone()
    ones, row, column = torch.ones_like(own), torch.empty_like(own), torch.zeros_like(own)
    for some in strips(len(T)):
        G = T[some].mul_(state.E[some])
        torch.mv(G, ones, out=row[some])
        column.addmv_(G.T, ones[some])
    return Change(T, own, row, column)


def taylor_dots(state: Exponentials, change: Change) -> Tensor:
    """Returns Σ_{k≠n} P_kn (T_kn - m_k) + Σ_{k≠n} Q_nk (T_nk - m'_k), (B,)."""
    row_mean, column_mean = change.means(state)
    over_row, over_column = state.R.reciprocal(), state.C.reciprocal()
    total = torch.zeros_like(state.own)
    for some in strips(len(change.G)):
        E, G = state.E[some], change.G[some]
        total.addmv_(G.T, over_row[some]).addmv_(E.T, (row_mean * over_row)[some], alpha=-1)
        total[some].addmv_(G, over_column).addmv_(E, column_mean * over_column, alpha=-1)
    return total


def deletion_dots(
    state: Exponentials,
    changes: Sequence[Change],
    *,
    dominant: tuple[Dominant, Dominant],
    scratch: tuple[Tensor, Tensor],
) -> list[Tensor]:
    """Returns Σ_{k≠n} P_kn/(1-P_kn) (T_kn - m_k) and the same of Q, by column, for each direction, (B,) each."""
    R, C, ones = state.R, state.C, torch.ones_like(state.own)
    means = [change.means(state) for change in changes]
    totals = [torch.zeros_like(state.own) for _ in changes]
    by_row, by_column = dominant
    for some in strips(len(state.own)):
        E, left, M = state.E[some], _part(scratch[0], some), _part(scratch[1], some)
        torch.sub(R[some, None], E, out=left)  # then P/(1-P) (T - m) = (G - m E) / (R - E)
        for change, mean, total in zip(changes, means, totals, strict=True):
            torch.addcmul(change.G[some], E, mean[0][some, None], value=-1, out=M).div_(left)
            _clear(M, by_row.rows, by_row.places, some)
            total.addmv_(M.T, ones[some])
        torch.sub(C, E, out=left)
        for change, mean, total in zip(changes, means, totals, strict=True):
            torch.addcmul(change.G[some], E, mean[1], value=-1, out=M).div_(left)
            _clear(M, by_column.places, by_column.rows, some)
            total[some].addmv_(M, ones)
    for change, total in zip(changes, totals, strict=True):
        own = state.own * change.own
        total.index_add_(0, by_row.places, by_row.dots(state.E, change.G, own).to(total.dtype))
        total.index_add_(0, by_column.places, by_column.dots(state.E.T, change.G.T, own).to(total.dtype))
    return totals


def find_dominant(E: Tensor, *, others: Tensor, own: Tensor) -> Dominant | None:
    """Finds the entries with p > 0.9; None where too little is left of a row to divide by."""
    limit = DOMINANT * (others + own)
    rows = torch.nonzero(others > limit).reshape(-1)  # only where the pair itself has less than a tenth
    if len(rows) > len(own) // 8:
        rows = torch.nonzero(E.amax(1) > limit).reshape(-1)
    inside = E[rows]
    if len(rows):
        kept = inside.amax(1) > limit[rows]
        rows, inside = rows[kept], inside[kept]
    inside = inside.double()
    places = inside.argmax(1) if len(rows) else rows
    count = torch.arange(len(rows))
    top = inside[count, places]
    inside[count, rows] = own[rows].double()
    inside[count, places] = 0.0
    left = inside.sum(1)
    if len(rows) and float(left.min()) < VANISHED:
        return None
    return Dominant(rows, places, top / (left + top), left, (left / (left + top)).log())


def _part(scratch: Tensor, some: slice) -> Tensor:
    return scratch[: some.stop - some.start]


def _clear(strip: Tensor, rows: Tensor, columns: Tensor, some: slice) -> None:
    """Sets the entries of a block that lie in this strip to zero."""
    if len(rows):
        here = (rows >= some.start) & (rows < some.stop)
        strip[rows[here] - some.start, columns[here]] = 0.0

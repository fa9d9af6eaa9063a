"""The scores of one block, fast: every matrix product and every exponential once, in buffers that are used again.

It computes what `endpoint.pair_dots` and `loss.*` define (the tests hold it to them). Letters: E = exp(S - α) with its
diagonal set to zero, own = E_nn, R and C the row and column sums of exp(S - α), P = E/R, Q = E/C, T = dS[v],
G = E∘T, m = the P-mean of each row of T, m' = the Q-mean of each column [derived, methods.md §1].

Numbers: α = max(0, s - 60) keeps E inside float32 for every |S| ≤ s. Differences that cancel are never formed: 1 - P_nn
is the sum of the other entries, and a p above 0.9 is taken out of its row before 1 - p is. A block where a whole row
vanishes all the same (a scale in the thousands) is done again in float64, the slow way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.errors import InputError
from chips_core.influence import loss, strips
from chips_core.influence.endpoint import Direction, Heads, forward, jvp, own_path_dots
from chips_core.influence.strips import Dominant, Exponentials

EXPONENT = 60.0  # entries of E lie within exp(±60)


@dataclass(frozen=True)
class Wants:
    """What to compute beside ∇ℓ_n·v, ℓ_n and p_corr, which cost nothing extra."""

    deletion: bool = True  # ∇Neg_n·v, exact deletion
    taylor: bool = False  # ∇Neg_n·v, first order
    own_path: bool = False  # ∇ℓ_n·v through the pair's own embeddings only
    margins: bool = False  # m_n
    neg_values: bool = False  # Neg_n itself, exact and first order


Columns = dict[str, Tensor]  # name of a column -> (B,), or (K, B) for the names that end in _dots


@dataclass(frozen=True)
class _Pairs:
    """A block of pairs after the heads.

    T = left rightᵀ is one product when what moves stands beside what stays: left = (s r | s x̂), right = (ŷ | q).
    """

    X: Tensor  # (B, dv)
    Y: Tensor  # (B, dt)
    left: Tensor  # (B, 2D)
    right: Tensor  # (B, 2D)
    image_lengths: Tensor  # (B, 1)
    text_lengths: Tensor  # (B, 1)

    @property
    def scaled(self) -> Tensor:
        """The image side that stays: s x̂, (B, D)."""
        return self.left[:, self.left.shape[1] // 2 :]

    @property
    def text(self) -> Tensor:
        """The text side that stays: ŷ, (B, D)."""
        return self.right[:, : self.right.shape[1] // 2]

    @property
    def moves(self) -> tuple[Tensor, Tensor]:
        """What moves along a direction: s r + v_ls s x̂ and q, (B, D) each."""
        width = self.left.shape[1] // 2
        return self.left[:, :width], self.right[:, width:]


class _Buffers:
    """Memory that is taken once: fresh pages for every temporary would cost as much as the arithmetic."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, name: str, rows: int, columns: int, *, dtype: torch.dtype) -> Tensor:
        """Returns an uninitialised (rows, columns) matrix; the same memory for the same name."""
        flat = self._flat.get((name, dtype))
        if flat is None or flat.numel() < rows * columns:
            flat = self._flat[(name, dtype)] = torch.empty(rows * columns, dtype=dtype)
        return flat[: rows * columns].view(rows, columns)


class BlockScorer:
    """Scores one block after another.

    Args:
        heads: the endpoint; its precision is that of the products.
        directions: K vectors v.
        wants: what to compute.
    """

    def __init__(self, heads: Heads, directions: Sequence[Direction], *, wants: Wants) -> None:
        self.dtype = heads.image.dtype
        self.heads, self.wants, self.scale = heads, wants, heads.scale
        self.directions = [v.to(self.dtype) for v in directions]
        first = self.directions[:1]  # projected together with the heads: one product reads the features once
        self._over_image = torch.cat([*(v.image for v in first), heads.image])
        self._over_text = torch.cat([heads.text, *(v.text for v in first)])
        self.shift = max(0.0, self.scale - EXPONENT)
        self._buffers = _Buffers()

    def score(self, image_features: Tensor, text_features: Tensor, rows: Tensor) -> Columns:
        """Returns the columns of the block made of these rows of the features."""
        with torch.no_grad():
            return self._columns(self._pairs(image_features, text_features, rows), rows)

    def _columns(self, pairs: _Pairs, rows: Tensor) -> Columns:
        S = torch.mm(pairs.scaled, pairs.text.T, out=self._square("S", rows))
        columns: Columns = {"margin": _margins(S)} if self.wants.margins else {}
        state = strips.exponentials(S, shift=self.shift)
        dominant = self._dominant(state) if state is not None else None
        if state is None or dominant is None:
            return self._slowly(pairs)
        columns |= _losses(state)
        if self.wants.neg_values:
            columns |= self._neg_values(state, dominant)
        return columns | (self._dots(pairs, state, dominant) if self.directions else {})

    def _square(self, name: str, rows: Tensor) -> Tensor:
        return self._buffers.take(name, len(rows), len(rows), dtype=self.dtype)

    def _pairs(self, image_features: Tensor, text_features: Tensor, rows: Tensor) -> _Pairs:
        X, Y = self._gather("X", image_features, rows), self._gather("Y", text_features, rows)
        width = len(self.heads.image)
        left, right = (self._buffers.take(n, len(rows), 2 * width, dtype=self.dtype) for n in ("left", "right"))
        torch.mm(X, self._over_image.T, out=left[:, -len(self._over_image) :])
        torch.mm(Y, self._over_text.T, out=right[:, : len(self._over_text)])
        image_lengths = _to_unit(left[:, width:], rows=rows, scale=self.scale)
        text_lengths = _to_unit(right[:, :width], rows=rows)
        return _Pairs(X, Y, left, right, image_lengths, text_lengths)

    def _gather(self, name: str, features: Tensor, rows: Tensor) -> Tensor:
        width = features.shape[1]
        whole = self._buffers.take(name, len(rows), width, dtype=self.dtype)
        stored = self._buffers.take("stored", len(rows), width, dtype=features.dtype)
        for some in strips.strips(len(rows), width=width):
            direct = features.dtype == self.dtype
            part = whole[some] if direct else stored[: some.stop - some.start]
            torch.index_select(features, 0, rows[some], out=part)
            if not direct:
                whole[some].copy_(part)
        return whole

    def _dominant(self, state: Exponentials) -> tuple[Dominant, Dominant] | None:
        """Returns the dominant entries by row and by column; None where float32 cannot hold what is left."""
        if not (self.wants.deletion or self.wants.neg_values):
            nothing = torch.zeros(0, dtype=torch.int64)
            none = Dominant(nothing, nothing, state.own[:0], state.own[:0], state.own[:0])
            return none, none
        by_row = strips.find_dominant(state.E, others=state.others_row, own=state.own)
        by_column = strips.find_dominant(state.E.T, others=state.others_column, own=state.own)
        return (by_row, by_column) if by_row is not None and by_column is not None else None

    def _dots(self, pairs: _Pairs, state: Exponentials, dominant: tuple[Dominant, Dominant]) -> Columns:
        wants, found = self.wants, dict[str, list[Tensor]]()
        changes = []
        for number, v in enumerate(self.directions):
            self._move(pairs, v, projected=number == 0)
            T = torch.mm(pairs.left, pairs.right.T, out=self._square(f"T{number}", state.own))
            change = strips.changed(state, T)
            found.setdefault("loss_dots", []).append(change.pos_dots(state) / 2)
            if wants.taylor:
                found.setdefault("taylor_dots", []).append(strips.taylor_dots(state, change))
            if wants.own_path:
                found.setdefault("own_dots", []).append(_own_path(pairs, state, slope=float(v.log_scale)))
            changes.append(change)
        if wants.deletion:
            scratch = (self._strip("scratch", state.own), self._strip("more scratch", state.own))
            found["neg_dots"] = strips.deletion_dots(state, changes, dominant=dominant, scratch=scratch)
        return {name: torch.stack(values) for name, values in found.items()}

    def _strip(self, name: str, own: Tensor) -> Tensor:
        rows = next(strips.strips(len(own))).stop
        return self._buffers.take(name, rows, len(own), dtype=self.dtype)

    def _neg_values(self, state: Exponentials, dominant: tuple[Dominant, Dominant]) -> Columns:
        """Neg_n = -Σ log(1 - p), 1 - p ≥ 1e-6, and to first order Σ p."""
        work = self._square("T0", state.own)
        exact = torch.zeros_like(state.own)
        layouts = ((state.E, state.R, work), (state.E.T, state.C, work.T))
        for (E, sums, out), few in zip(layouts, dominant, strict=True):
            p = torch.div(E, sums[:, None], out=out)
            p[few.rows, few.places] = 0.0
            exact -= p.neg_().log1p_().sum(0)
            exact.index_add_(0, few.places, few.log_rest.clamp(min=math.log(loss.FLOOR)).to(exact.dtype), alpha=-1)
        taylor = state.E.T @ state.R.reciprocal() + state.E @ state.C.reciprocal()
        return {"neg": exact, "neg_taylor": taylor}

    def _move(self, pairs: _Pairs, v: Direction, *, projected: bool) -> None:
        """Writes s r + v_ls s x̂ and q into `pairs.moves`: how both sides of the logits move along v."""
        left, right = pairs.moves
        if not projected:
            torch.mm(pairs.X, v.image.T, out=left)
            torch.mm(pairs.Y, v.text.T, out=right)
        width = left.shape[1]
        work = self._buffers.take("work", len(left), width, dtype=self.dtype)
        for some in strips.strips(len(left), width=width):
            part = work[: some.stop - some.start]
            _turn(
                left[some],
                pairs.scaled[some],
                pairs.image_lengths[some],
                scale=self.scale,
                slope=v.log_scale,
                work=part,
            )
            _turn(right[some], pairs.text[some], pairs.text_lengths[some], work=part)

    def _slowly(self, pairs: _Pairs) -> Columns:
        """The same columns in float64 from the definitions, for logits that float32 exponentials cannot hold."""
        block = forward(pairs.X, pairs.Y, self.heads.to(torch.float64))
        S, wants = block.logits, self.wants
        columns = {"loss": loss.pair_losses(S), "correctness": loss.correctness(S)}
        if wants.margins:
            columns["margin"] = loss.margins(S)
        if wants.neg_values:
            columns |= {"neg": loss.negatives(S), "neg_taylor": loss.negatives(S, exact=False)}
        found: dict[str, list[Tensor]] = {}
        for v in self.directions:
            wide = v.to(torch.float64)
            T = jvp(block, wide)
            found.setdefault("loss_dots", []).append(loss.loss_dots(S, T))
            if wants.deletion:
                found.setdefault("neg_dots", []).append(loss.neg_dots(S, T))
            if wants.taylor:
                found.setdefault("taylor_dots", []).append(loss.neg_dots(S, T, exact=False))
            if wants.own_path:
                found.setdefault("own_dots", []).append(own_path_dots(block, wide))
        return columns | {name: torch.stack(values) for name, values in found.items()}


def unusable(rows: Tensor) -> InputError:
    """Returns the error that names feature rows which cannot be scored."""
    listed = ", ".join(str(int(row)) for row in rows[:10]) + (" …" if len(rows) > 10 else "")
    return InputError(
        f"{len(rows)} pairs have features that are not finite or have no length (rows {listed}).",
        fix="encode these pairs again, or drop them from the run.",
    )


def _to_unit(raw: Tensor, *, rows: Tensor, scale: float = 1.0) -> Tensor:
    """Gives each row the length `scale`, in place, and returns the lengths before, (B, 1)."""
    lengths = raw.new_empty(len(raw), 1)
    for some in strips.strips(len(raw), width=raw.shape[1]):
        torch.linalg.vector_norm(raw[some], dim=1, keepdim=True, out=lengths[some])
        raw[some].mul_(scale / lengths[some])
    low, high = lengths.aminmax()
    if not (float(low) > 0 and float(high) < torch.inf):  # NaN fails both
        raise unusable(rows[~((lengths > 0) & torch.isfinite(lengths)).reshape(-1)])
    return lengths


def _turn(
    raw: Tensor, base: Tensor, lengths: Tensor, *, work: Tensor, scale: float = 1.0, slope: Tensor | float = 0.0
) -> None:
    """Turns V x̃ into s (I - x̂x̂ᵀ) V x̃/|a| + slope · s x̂ in place, where `base` is s x̂ and s = `scale`."""
    along = torch.mul(base, raw, out=work).sum(1, keepdim=True) / (scale * lengths)
    raw.mul_(scale / lengths).addcmul_(base, slope - along)


def _margins(S: Tensor) -> Tensor:
    own = S.diagonal().clone()
    S.fill_diagonal_(-torch.inf)
    margins = own - (S.amax(1) + S.amax(0)) / 2
    S.diagonal().copy_(own)
    return margins


def _losses(state: Exponentials) -> Columns:
    """ℓ_n and p_corr; -log P_nn = log1p(others / own) where own leads, else from the logarithms."""
    total, correct = torch.zeros_like(state.own), torch.zeros_like(state.own)
    for others in (state.others_row, state.others_column):
        sums = others + state.own
        far = sums.log() + state.shift - state.own_logit
        total += torch.where(state.own > others, torch.log1p(others / state.own), far)
        correct += state.own / sums
    return {"loss": total / 2, "correctness": correct / 2}


def _own_path(pairs: _Pairs, state: Exponentials, *, slope: float) -> Tensor:
    """δx̂·r + δŷ·q + the scale's part, δx̂_n = s [½ Σ_j P_nj ŷ_j + (½ Q_nn - 1) ŷ_n], see `endpoint.own_path`."""
    scaled, moves = pairs.scaled, pairs.moves
    P_own, Q_own = (state.own / state.R)[:, None], (state.own / state.C)[:, None]
    seen = (state.E @ pairs.text) / state.R[:, None] + P_own * pairs.text  # (PŶ)
    seeing = (state.E.T @ scaled) / state.C[:, None] + Q_own * scaled  # s (QᵀX̂)
    dots: Tensor = ((seen + (Q_own - 2) * pairs.text) * moves[0]).sum(1) / 2
    dots += ((seeing + (P_own - 2) * scaled) * moves[1]).sum(1) / 2
    dots += slope * ((seeing * pairs.text).sum(1) - Q_own[:, 0] * state.own_logit) / 2
    return dots

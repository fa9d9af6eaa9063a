"""What a scoring method is: its name, its source, what it needs, what it says, and how it is computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from chips_core.errors import InputError
from chips_core.influence.inputs import Mode, Need, ScoringInputs
from chips_core.influence.passes import PairScores, Tick
from chips_core.influence.scoring import BlockWork, Columns, Passes, Targets

HigherIs = Literal["suspect", "valuable", "neutral"]


@dataclass(frozen=True)
class Settings:
    """The options of a method; this one has none."""

    @property
    def needs(self) -> frozenset[Need]:
        """What these options need beyond the method itself."""
        return frozenset()


@dataclass(frozen=True)
class ModeSettings(Settings):
    """Options of a method that is computed at some heads.

    Attributes:
        mode: `paper` scores at the encoder's own heads with the scale as a parameter; `audit` at the heads fitted to
            the pool, with the scale left out (methods.md §4).
    """

    mode: Mode = "paper"

    @property
    def needs(self) -> frozenset[Need]:
        """Audit mode needs fitted heads."""
        return frozenset({Need.FITTED}) if self.mode == "audit" else frozenset()

    @property
    def train_scale(self) -> bool:
        """Whether the scale is one of the parameters."""
        return self.mode == "paper"


S = TypeVar("S")


@dataclass(frozen=True)
class Column:
    """One number a pair.

    Attributes:
        name: of the column in a run's table.
        meaning: in plain words, one sentence.
        higher_is: what a high value says of a pair.
        signed: whether zero divides good from bad, so that colours diverge there.
    """

    name: str
    meaning: str
    higher_is: HigherIs
    signed: bool = False


@dataclass(frozen=True)
class Method(Generic[S]):
    """A scoring method.

    Attributes:
        name: as typed on the command line.
        title: as read on a page.
        citation: authors, title, venue, year; or how it came about.
        meaning: what it tells, in plain words, one sentence.
        needs: what it cannot do without.
        columns: what it writes; the first one ranks the pairs.
        defaults: its options at their defaults.
        work: (inputs, settings, targets) -> what it asks of the passes over the pool.
    """

    name: str
    title: str
    citation: str
    meaning: str
    needs: frozenset[Need]
    columns: tuple[Column, ...]
    defaults: S
    work: Callable[[ScoringInputs, S, Targets], BlockWork]

    @property
    def ranks_by(self) -> Column:
        """The column that ranks the pairs."""
        return self.columns[0]

    def applies(self, inputs: ScoringInputs, settings: S | None = None) -> str | None:
        """Returns why the method cannot be offered for these inputs, such as `needs class prompts`; None if it can."""
        lacking = [str(need) for need in self._all_needs(settings) if not inputs.has(need)]
        return f"needs {', '.join(lacking)}" if lacking else None

    def plan(self, inputs: ScoringInputs, settings: S | None = None, *, targets: Targets | None = None) -> BlockWork:
        """Returns what the method asks of the passes; raises when a need is not met."""
        for need in self._all_needs(settings):
            inputs.require(need, method=self.name)
        work = self.work(inputs, settings or self.defaults, targets or Targets(inputs))

        def finish(found: Sequence[PairScores]) -> Columns:
            return self._checked(work.finish(found), pairs=len(inputs.pool))

        return BlockWork(work.requests, finish)

    def compute(self, inputs: ScoringInputs, settings: S | None = None, *, tick: Tick | None = None) -> Columns:
        """Returns the method's columns, (N,) float64 each, by row of the pool."""
        return Passes([self.plan(inputs, settings)], inputs).run(tick)[0]

    def suspicion(self, columns: Columns) -> Tensor:
        """Returns the ranking column turned so that high means suspect, (N,)."""
        values = columns[self.ranks_by.name]
        return -values if self.ranks_by.higher_is == "valuable" else values

    def worth(self, columns: Columns) -> Tensor:
        """Returns the ranking column turned so that high means valuable, (N,)."""
        values = columns[self.ranks_by.name]
        return -values if self.ranks_by.higher_is == "suspect" else values

    def _all_needs(self, settings: S | None) -> list[Need]:
        chosen = settings or self.defaults
        more = chosen.needs if isinstance(chosen, Settings) else frozenset()
        return [need for need in Need if need in self.needs | more]

    def _checked(self, columns: Columns, *, pairs: int) -> Columns:
        if set(columns) != {column.name for column in self.columns}:
            raise TypeError(f"{self.name} wrote {sorted(columns)}")
        for name, values in columns.items():
            bad = torch.nonzero(~torch.isfinite(values)).reshape(-1)
            if values.shape != (pairs,) or len(bad):
                raise InputError(
                    f"'{name}' of method '{self.name}' is not finite for {len(bad)} pairs (rows {bad[:9].tolist()}).",
                    fix="check these pairs' features; a very large logit scale can do this too.",
                )
        return {column.name: columns[column.name].to(torch.float64) for column in self.columns}

"""What becomes of an input row: exactly one outcome each, so that the counts always add up to what was given."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from chips_core.errors import InputError


class Outcome(StrEnum):
    """The one outcome of an input row."""

    KEPT = "kept"  # can be encoded and scored
    MISSING = "missing"  # the image is not there (or is remote, which is never fetched)
    BROKEN = "broken"  # the image is there and cannot be read whole
    EMPTY_CAPTION = "empty caption"  # nothing to pair the image with
    DUPLICATE = "duplicate"  # same image and same caption as an earlier row
    REFUSED = "refused"  # unsafe or ambiguous: a path that escapes, a pair id given twice


FAILED = (Outcome.MISSING, Outcome.BROKEN, Outcome.REFUSED)


@dataclass(frozen=True)
class OutcomeReport:
    """How many rows ended in which outcome."""

    counts: dict[str, int]

    @classmethod
    def of(cls, outcomes: Iterable[str]) -> "OutcomeReport":
        """Returns the report of a run of outcomes, every known outcome listed, zeros too."""
        found = Counter(outcomes)
        return cls({str(outcome): found.get(str(outcome), 0) for outcome in Outcome})

    @property
    def given(self) -> int:
        """The number of input rows."""
        return sum(self.counts.values())

    @property
    def kept(self) -> int:
        """The number of pairs that can be scored."""
        return self.counts[str(Outcome.KEPT)]

    def in_words(self) -> str:
        """Returns for example `7 of 10 kept (2 missing, 1 broken)`."""
        rest = ", ".join(f"{n:,} {name}" for name, n in self.counts.items() if n and name != Outcome.KEPT)
        return f"{self.kept:,} of {self.given:,} kept" + (f" ({rest})" if rest else "")

    def raise_if_nothing_kept(self) -> None:
        """Raises InputError when there is not one pair to work with, and says why."""
        if self.kept:
            return
        rest = ", ".join(f"{n:,} {name}" for name, n in self.counts.items() if n)
        given = self.given
        what = f"All {given:,} of {given:,} inputs failed ({rest})." if given else "The source has no rows."
        raise InputError(
            what,
            fix="mend the source, or name its columns or the folder of its images, and take it into a new folder. "
            "The app shows the reason of every row.",
        )

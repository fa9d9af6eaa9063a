"""The errors that a user can cause: each says what happened, where, and what to do now.

Every error carries the exit code of the command line (design: 0 done, 1 our bug, 2 usage, 3 input, 4 busy, 5 damaged).
"""

from typing import ClassVar


class ChipsError(Exception):
    """An error with a sentence for the user and a fix.

    Args:
        what: what happened and where, one sentence, without the data's own text where that may name a patient.
        fix: what the user can do now.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what} Fix: {self.fix}" if self.fix else self.what


class UsageError(ChipsError):
    """A command, an option or a setting that does not exist or does not fit."""

    exit_code = 2


class InputError(ChipsError):
    """Data that cannot be used as given."""


class UnreadableInput(InputError):
    """One file or row that cannot be read; `outcome` names what becomes of its pair."""

    def __init__(self, what: str, *, outcome: str = "broken", fix: str = "") -> None:
        super().__init__(what, fix=fix)
        self.outcome = outcome


class EncoderMismatch(InputError):
    """Features, weights or settings that belong to another encoder."""


class NoTargetSet(InputError):
    """A score was asked for without pairs to measure it against."""


class NotFitted(InputError):
    """The model of a large pool that was not fitted to it yet: work for a job, not for who waits at a page."""


class SingularCurvature(InputError):
    """A linear system that has no stable solution at the given damping."""


class PoolNotFound(InputError):
    """No pool at that path."""


class PoolBusy(ChipsError):
    """Another process is writing to the pool."""

    exit_code = 4


class PoolDamaged(ChipsError):
    """An artifact of the pool is not what the manifest says."""

    exit_code = 5


class PoolTooNew(PoolDamaged):
    """The pool was written by a later version."""


class NoSpace(ChipsError):
    """The disk is full, or a quota is reached; nothing was committed."""


class NotWritable(ChipsError):
    """The file system, or the rights on it, do not allow writing there."""


class DiskFault(ChipsError):
    """The disk reports an error, or does not give back what was written; nothing was committed."""

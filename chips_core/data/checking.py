"""Reading every image of a stream of rows, in this process or in several, in order and with a bounded queue."""

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, TypeVar

from chips_core.data.opener import ImageOpener
from chips_core.data.rows import Row
from chips_core.errors import ChipsError, UnreadableInput
from chips_core.outcomes import Outcome

Check = Literal["full", "header"]
Decided = tuple[Row, Outcome | None, str]
T = TypeVar("T", bound=list[Decided])


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of one image; `outcome` is "" when it can be read."""

    outcome: str = ""
    reason: str = ""
    sha256: str = ""
    flags: tuple[str, ...] = ()
    width: int = 0
    height: int = 0


NOT_LOOKED_AT = Checked()


def checked(
    batches: Iterator[T], *, opener: ImageOpener, check: Check, workers: int
) -> Iterator[tuple[T, list[Checked]]]:
    """Yields each batch with what was found of its images; rows that are decided already are not opened.

    Args:
        batches: rows with their outcome so far, None where the image decides.
        opener: reads them.
        check: full or header.
        workers: processes; up to 1 means this one.
    """
    if workers <= 1:  # one process is this one: none is started
        with closing(opener):
            for batch in batches:
                yield batch, _check_all(opener, _locators(batch), check=check)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(opener, check))
    waiting: deque[tuple[T, Future[list[Checked]]]] = deque()
    try:
        for batch in batches:
            waiting.append((batch, pool.submit(_check_here, _locators(batch))))
            if len(waiting) > 2 * workers:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    except BrokenProcessPool as error:
        raise ChipsError(
            "A process that reads images was killed, perhaps for want of memory.",
            fix="run again with fewer workers, or with a lower max_megapixels.",
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _locators(batch: list[Decided]) -> list[str | None]:
    return [row.image if outcome is None else None for row, outcome, _ in batch]


def _check_all(opener: ImageOpener, locators: list[str | None], *, check: Check) -> list[Checked]:
    return [NOT_LOOKED_AT if locator is None else _check_one(opener, locator, check=check) for locator in locators]


def _check_one(opener: ImageOpener, locator: str, *, check: Check) -> Checked:
    try:
        facts = opener.facts(locator, check=check)
    except UnreadableInput as error:
        return Checked(outcome=error.outcome, reason=error.what)
    return Checked("", "", facts.sha256, facts.flags, facts.width, facts.height)


class _Worker:
    """What a worker process keeps between batches."""

    opener: ImageOpener
    check: Check = "full"


def _begin(opener: ImageOpener, check: Check) -> None:
    _Worker.opener = opener
    _Worker.check = check


def _check_here(locators: list[str | None]) -> list[Checked]:
    return _check_all(_Worker.opener, locators, check=_Worker.check)

"""Blocks side by side: one block a core, instead of all cores on one block.

A pass is hundreds of short operations a block; splitting each over the cores costs a barrier every time, and on a busy
machine every barrier waits for the slowest. One thread a block needs none, and makes every result independent of the
number of threads, bit for bit. torch releases Python's lock inside each operation.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def one_thread() -> Iterator[None]:
    """Keeps torch to one thread: for many short steps after one another, which have no blocks to share out.

    Beside two busy programs a fit of 240 steps took 1 s with one thread, and 20 to 50 s with two [measured].
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_lanes(
    make_worker: Callable[[], Callable[[Item], Result]], items: Iterable[Item], *, lanes: int
) -> Generator[tuple[Item, Result], None, None]:
    """Yields each item with what a worker made of it, in the order of the items; close it when done early.

    Args:
        make_worker: makes a worker with buffers of its own; one for each lane.
        items: what to work on; read only a little ahead.
        lanes: how many threads, each with one core. torch's own number is one meanwhile, and put back at the end.
    """
    workers = deque(make_worker() for _ in range(lanes))
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(1,))

    def work(item: Item) -> Result:
        worker = workers.pop()
        try:
            return worker(item)
        finally:
            workers.append(worker)

    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > lanes:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)

"""Benchmark `trace --pairs N`: how long a click takes in a large pool, and what a quick answer misses.

The features are synthetic, of the widths of the benchmarks' model: classes whose images lie about their captions, and
test images between two classes. What is timed is the whole answer to a click: the linear solve, the first look at every
pair, and the measurement of the most harmful and the most helpful ones.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from chips_core.errors import UsageError
from chips_core.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor

    from chips_core.verify.tracer import Tracer

IMAGE_WIDTH, TEXT_WIDTH, WIDTH, CLASSES, SCALE = 768, 128, 128, 40, 8.0
MEANING = 20  # numbers that an image and its caption have in common
TOP, CLICKS, CHECKED, QUICK_CHECKED = 20, 15, 15, 4
PROBES, QUICK_PROBES = 32, 8


def run(*, pairs: int, seed: int = 0, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Returns how long a click takes in a pool of some size, and how much of the exact answer it finds.

    Args:
        pairs: of the pool.
        seed: of the features.
        quick: fewer probes of the sizes, and fewer clicks are compared with the exact answer.
        progress: told of every block.
    """
    from chips_core.verify import trace_search

    if pairs < 1000:
        raise UsageError(f"{pairs} pairs are no large pool.", fix="use --pairs 1000 or more.")
    told = progress or Silent()
    tracer, images, labels = synthetic(pairs, tests=CLICKS, seed=seed)
    probes = QUICK_PROBES if quick else PROBES
    told.start("measure removals", total=pairs * tracer.plan.rounds(pairs) * -(-probes // 8))
    sizes = tracer.sizes(probes=probes, tick=told.advance)
    began = time.perf_counter()
    megabytes, ready_s = tracer.screen.bytes / 1e6, time.perf_counter() - began

    def answer(row: int, way: trace_search.Way) -> None:
        asked = images[[row]], labels[[row]]
        trace_search.answered(tracer, *asked, sizes=sizes, mode="relative", top=TOP, way=way)

    def click(row: int) -> tuple[float, float]:
        start, busy = time.perf_counter(), time.process_time()
        answer(row, "quick")
        return time.perf_counter() - start, time.process_time() - busy

    first, *others = [click(row) for row in range(CLICKS)]
    start = time.perf_counter()
    answer(0, "exact")
    exact_s = time.perf_counter() - start
    count = QUICK_CHECKED if quick else CHECKED
    told.start("compare with exact answers", total=count, unit="images")
    found = trace_search.measured(tracer, images[:count], labels[:count], sizes=sizes, top=TOP, tick=told.advance)
    return {
        "pairs": pairs,
        "widths": [IMAGE_WIDTH, TEXT_WIDTH, WIDTH],
        "click_s": float(np.median([waited for waited, _ in others])),
        "click_cpu_s": float(np.median([busy for _, busy in others])),
        "click_slowest_s": max(waited for waited, _ in others),
        "first_click_s": first[0],
        "exact_s": exact_s,
        "ready_s": round(ready_s, 2),
        "screen_mb": round(megabytes, 1),
        "index_recall_at_20": found.recall,
        "compared": count,
    }


def table(result: Mapping[str, Any]) -> str:
    """Returns the result of `run` as lines to print."""
    return (
        f"{result['pairs']:,} pairs: a click {result['click_s']:.2f} s ({result['click_cpu_s']:.2f} of one core), "
        f"slowest {result['click_slowest_s']:.2f}, the very first {result['first_click_s']:.2f}\n"
        f"measuring every pair takes {result['exact_s']:.2f} s\n"
        f"a quick answer holds {result['index_recall_at_20']:.1%} of the exact top {TOP} of either kind "
        f"({result['compared']} images); it needs {result['screen_mb']:,.0f} MB, ready in {result['ready_s']:.1f} s"
    )


def synthetic(pairs: int, *, tests: int, seed: int = 0) -> "tuple[Tracer, Tensor, Tensor]":
    """Returns a pool of classes with a model of it, and test images between two classes with the label of the farther.

    Args:
        pairs: of the pool; one in ten carries the caption of another class.
        tests: how many test images.
        seed: of everything.
    """
    import torch

    from chips_core.influence.blocks import BlockPlan, Features, seeded
    from chips_core.influence.descent import FitSettings
    from chips_core.influence.endpoint import Heads
    from chips_core.influence.fit import FittedHeads
    from chips_core.verify.tracer import Tracer

    draw = seeded(seed, 3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    meaning, space = normal(CLASSES, MEANING), normal(WIDTH, MEANING)
    image_view, text_view = normal(MEANING, IMAGE_WIDTH), normal(MEANING, TEXT_WIDTH)

    def seen(means: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        found = (means + 0.8 * normal(*means.shape)) @ view / MEANING**0.5
        noisy: torch.Tensor = (found + 0.3 * normal(*found.shape)).half()
        return noisy

    codes = torch.randint(CLASSES, (pairs,), generator=draw)
    told = torch.where(torch.rand(pairs, generator=draw) < 0.1, (codes + 1) % CLASSES, codes)
    image_head, text_head = (space @ torch.linalg.pinv(view).T for view in (image_view, text_view))
    heads = Heads.of(image_head, text_head, scale=SCALE)
    truth = torch.randint(CLASSES, (tests,), generator=draw)
    other = (truth + 1 + torch.randint(CLASSES - 1, (tests,), generator=draw)) % CLASSES
    fitted = FittedHeads(heads, (0.0,), 0, FitSettings())
    pool = Features(seen(meaning[codes], image_view), seen(meaning[told], text_view))
    tracer = Tracer(pool, heads, fitted, BlockPlan(seed=seed), meaning @ text_view / MEANING**0.5)
    return tracer, seen(0.45 * meaning[truth] + 0.55 * meaning[other], image_view), truth

"""How fast one pass scores cached features, beside what cannot be avoided and beside other people's ways.

At the dimensions of ViT-B/32 (768 and 512 features, 512 embeddings, blocks of 1,024): one pass gives every pair its
alignment and its exact-deletion ECIF. The limit is the time of the matrix products alone, in the better of two ways
(one block a core, or all cores on one block), taken in turns with the pass, because other programs slow both. Rates
beyond this machine mean little; the fractions mean more.
"""

import importlib.util
import math
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chips_core.bench import peers
from chips_core.clip import load_encoder, parse_model
from chips_core.influence.blocks import BlockPlan, Features, seeded
from chips_core.influence.endpoint import Direction, Heads
from chips_core.influence.kernel import Wants
from chips_core.influence.lanes import in_lanes
from chips_core.influence.passes import score_pairs
from chips_core.progress import Progress, Silent

IMAGE_WIDTH, TEXT_WIDTH, WIDTH, BLOCK = 768, 512, 512, 1024
PAIRS, QUICK_PAIRS = 20_000, 4_096
GROWTH, QUICK_GROWTH = 10, 3  # the larger pool is so many times the smaller one
TURNS, QUICK_TURNS = 5, 3
SUBJECTS = 64
ENCODED_AT_ONCE, ENCODED = 16, 64
SMALLER_BLOCKS = (16, 64, 256)  # where autograd is faster, at other numbers: negatives are part of a score
AUTOGRAD_PAIRS, AUTOGRAD_AT_ONCE = 64, 16
TRAK_PAIRS, TRAK_WIDTH = 128, 512


def run(*, quick: bool = False, seed: int = 0, progress: Progress | None = None) -> dict[str, Any]:
    """Returns the benchmark's numbers as one plain dictionary; `None` where a peer is not installed.

    Args:
        quick: a smaller pool and fewer turns.
        seed: of the features.
        progress: told of each stage.
    """
    progress = progress or Silent()
    progress.start("engine", total=6, unit="stages")
    features, heads, v = structured_features(QUICK_PAIRS if quick else PAIRS, seed=seed)
    pass_s, limit_s = _in_turns(features, heads, v, turns=QUICK_TURNS if quick else TURNS)
    progress.advance()
    pairs_per_s, limit = len(features) / pass_s, len(features) / limit_s
    growth = _growth(features, heads, v, times=QUICK_GROWTH if quick else GROWTH)
    progress.advance(2)
    autograd = _autograd(features, heads, sample=AUTOGRAD_PAIRS // 8 if quick else AUTOGRAD_PAIRS)
    progress.advance()
    trak = _trak(features.take(torch.arange(32 if quick else TRAK_PAIRS)), heads)
    progress.advance()
    encode = _encode(ENCODED_AT_ONCE if quick else ENCODED)
    progress.advance()
    return {
        "pairs_per_s": pairs_per_s,
        "gemm_limit_pairs_per_s": limit,
        "fraction_of_limit": pairs_per_s / limit,
        "autograd_pairs_per_s": max(autograd.values()),
        "autograd_pairs_per_s_by_block": {str(size): rate for size, rate in autograd.items()},
        "speedup_vs_autograd": pairs_per_s / max(autograd.values()),
        "speedup_vs_autograd_same_score": pairs_per_s / autograd[BLOCK],
        "limit_vs_autograd": limit / max(autograd.values()),
        "trak_pairs_per_s": trak,
        "speedup_vs_trak": pairs_per_s / trak if trak is not None else None,
        "encode_pairs_per_s": encode,
        "overhead_vs_encode": encode / pairs_per_s,
        **growth,
        "pairs": len(features),
        "block": BLOCK,
        "threads": torch.get_num_threads(),
    }


def structured_features(pairs: int, *, seed: int) -> tuple[Features, Heads, Direction]:
    """Returns float16 features of pairs of 64 subjects, float32 heads and one direction; an image is near its text."""
    generator = seeded(seed, 0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    subjects, views = normal(SUBJECTS, 64), (normal(64, IMAGE_WIDTH) / 8, normal(64, TEXT_WIDTH) / 8)
    meaning = subjects[torch.randint(0, SUBJECTS, (pairs,), generator=generator)] + 0.5 * normal(pairs, 64)
    image, text = (meaning @ view + 0.5 * normal(pairs, view.shape[1]) for view in views)
    basis = torch.linalg.qr(normal(WIDTH, 64))[0]  # both heads find the meaning again, so that pairs belong together
    maps = [basis @ torch.linalg.pinv(view).T + 0.02 * normal(WIDTH, view.shape[1]) for view in views]
    heads = Heads.of(maps[0], maps[1], scale=50.0)
    v = Direction(normal(WIDTH, IMAGE_WIDTH), normal(WIDTH, TEXT_WIDTH), normal(1)[0])
    return Features(image.half(), text.half()), heads, v


def _in_turns(features: Features, heads: Heads, v: Direction, *, turns: int) -> tuple[float, float]:
    """Returns the best seconds of the pass and of its products alone, over all blocks once."""
    plan = BlockPlan(size=BLOCK, repeats=1)
    blocks = plan.block_count(len(features))
    lanes = min(torch.get_num_threads(), blocks)

    def scored() -> None:
        score_pairs(features, heads, directions=[v], plan=plan, wants=Wants(deletion=True))

    def one_block_a_core() -> None:
        for _ in in_lanes(lambda: _products(features, heads, v), range(blocks), lanes=lanes):
            pass

    all_cores = _products(features, heads, v)

    def one_block_at_a_time() -> None:
        for block in range(blocks):
            all_cores(block)

    best = [math.inf, math.inf, math.inf]
    for _ in range(turns):
        for number, work in enumerate((scored, one_block_a_core, one_block_at_a_time)):
            best[number] = min(best[number], _seconds(work))
    return best[0], min(best[1:]) * len(features) / (blocks * BLOCK)


def _products(features: Features, heads: Heads, v: Direction) -> Callable[[int], None]:
    """Returns the products of one block that no way of scoring avoids: both heads and v, the logits, their change."""
    X, Y = features.image[:BLOCK].float(), features.text[:BLOCK].float()
    over_image, over_text = torch.cat([heads.image, v.image]), torch.cat([heads.text, v.text])
    left, right = X @ over_image.T, Y @ over_text.T  # (B, 2D)
    image, text = torch.empty_like(left), torch.empty_like(right)
    S, T = torch.empty(BLOCK, BLOCK), torch.empty(BLOCK, BLOCK)

    def products(_: int) -> None:
        torch.mm(X, over_image.T, out=image)
        torch.mm(Y, over_text.T, out=text)
        torch.mm(left[:, :WIDTH], right[:, :WIDTH].T, out=S)
        torch.mm(left, right.T, out=T)

    return products


def _growth(features: Features, heads: Heads, v: Direction, *, times: int) -> dict[str, Any]:
    """Returns how time grows when the pool does (1 is linear), and the memory taken beyond the features."""
    plan = BlockPlan(size=BLOCK, repeats=1)
    pairs = len(features) * times
    rows = torch.arange(pairs) % len(features)
    many = Features(features.image[rows], features.text[rows])
    before = _resident_mb()

    def scored(pool: Features) -> float:
        return _seconds(lambda: score_pairs(pool, heads, directions=[v], plan=plan, wants=Wants(deletion=True)))

    small = min(scored(features) for _ in range(2))
    large = scored(many)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "large_pairs": pairs,
        "growth_over_linear": large / (small * times),
        "peak_mb_beyond_features": max(0.0, peak - before),
    }


def _autograd(features: Features, heads: Heads, *, sample: int) -> dict[int, float]:
    """Returns by block size how many per-pair gradients a second autograd makes; those of BLOCK are of our scores."""
    sizes = sorted({*SMALLER_BLOCKS, BLOCK})
    return {
        size: peers.autograd_pairs_per_s(
            features.take(torch.arange(size)), heads, sample=min(sample, size), at_once=AUTOGRAD_AT_ONCE
        )
        for size in sizes
    }


def _trak(pairs: Features, heads: Heads) -> float | None:
    """Returns the rate of the package traker on the same features, or None where it is not installed."""
    if importlib.util.find_spec("trak") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="chips-trak-") as folder:
        return peers.trak_pairs_per_s(pairs, heads, folder=Path(folder), width=TRAK_WIDTH)


def _encode(pairs: int) -> float:
    """Returns how many pairs a second ViT-B/32 encodes here, its weights random, in the product's own precision."""
    encoder = load_encoder(parse_model("ViT-B-32", weights="random"))
    images = torch.zeros(ENCODED_AT_ONCE, 3, 224, 224)
    ids = encoder.tokenize(["an axial scan of the chest"] * ENCODED_AT_ONCE).ids

    def encode() -> None:
        encoder.image_features(images)
        encoder.text_features(ids)

    encode()
    rounds = max(1, pairs // ENCODED_AT_ONCE)
    return ENCODED_AT_ONCE / min(_seconds(encode) for _ in range(rounds))


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return max(time.perf_counter() - began, 1e-9)

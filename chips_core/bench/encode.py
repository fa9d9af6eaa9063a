"""Benchmark `encode`: the encode step against a bare loop over open_clip's own encode_image and encode_text.

Both read the same image files, use the same random weights, batch and precision; the bare loop does no more than that,
the step also checks hashes, keeps a bitmap and writes features that survive a power cut.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from chips_core.clip import load_encoder, open_clip_module, parse_model
from chips_core.jobs import encode, intake
from chips_core.phantoms import write_dataset
from chips_core.progress import Progress, Silent
from chips_core.store import Pool

MODEL = "ViT-B-32"
PAIRS, QUICK_PAIRS = 500, 64
BATCH = 32


class _Stopwatch(Silent):
    """Measures the stage `encode` alone, without the loading of the model."""

    seconds = 0.0
    _began = 0.0

    def start(self, stage: str, *, total: int, unit: str = "pairs") -> None:
        """Starts the clock at the stage that is measured, and stops it at the next."""
        del total, unit
        now = time.perf_counter()
        if stage == "encode":
            self._began = now
        elif self._began and not self.seconds:
            self.seconds = now - self._began


def run(*, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Returns images per second of both, in float32 on this device, and their ratio; the better of two turns each.

    Args:
        quick: fewer images.
        progress: told of the stages.
    """
    told, count = progress or Silent(), QUICK_PAIRS if quick else PAIRS
    told.start("encode benchmark", total=4, unit="turns")
    bare, ours = [], []
    with tempfile.TemporaryDirectory(prefix="chips-bench-") as folder:
        source = Path(folder) / "source"
        write_dataset(source, seed=0, train=count, val=0, test=0, progress=Silent())
        for turn in range(2):
            pool = Path(folder) / f"pool-{turn}"
            intake.run(intake.Settings(str(source), str(pool)), progress=Silent())
            bare.append(_bare(pool))
            told.advance()
            ours.append(_ours(pool))
            told.advance()
    return {
        "model": MODEL,
        "pairs": count,
        "batch": BATCH,
        "precision": "fp32",
        "bare_images_per_s": max(bare),
        "encode_images_per_s": max(ours),
        "ratio": max(ours) / max(bare),
    }


def _bare(pool: Path) -> float:
    open_clip = open_clip_module()
    spec = parse_model(MODEL, weights="random")
    model, _, preprocess = open_clip.create_model_and_transforms(spec.name)
    tokenizer = open_clip.get_tokenizer(spec.name)
    model.eval()
    opened = Pool.open(pool)
    pairs = opened.kept(["image", "caption"])
    began = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(pairs), BATCH):
            some = pairs.iloc[first : first + BATCH]
            images = [Image.open(opened.source_root / str(name)).convert("RGB") for name in some["image"]]
            model.encode_image(torch.stack([preprocess(image) for image in images]))
            model.encode_text(tokenizer(list(some["caption"])))
    return len(pairs) / (time.perf_counter() - began)


def _ours(pool: Path) -> float:
    load_encoder(parse_model(MODEL, weights="random"), precision="fp32")  # both start with warm code
    clock = _Stopwatch()
    settings = encode.Settings(str(pool), MODEL, weights="random", precision="fp32", batch=BATCH)
    result = encode.run(settings, progress=clock)
    return float(result["pairs"]["done"]) / clock.seconds

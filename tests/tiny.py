"""A data set and a model small enough to check by hand, made by code."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("disc", "bar", "ring")


def tiny_dataset(folder: Path, *, count: int = 24, seed: int = 0, size: int = 32) -> Path:
    """Writes `pairs.csv` and images of discs, bars and rings; two thirds train, the rest val and test."""
    (folder / "images").mkdir(parents=True)
    draw = np.random.default_rng(seed)
    with (folder / "pairs.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(("pair_id", "image", "caption", "label", "class_prompt", "split", "group", "source"))
        for i in range(count):
            label = CLASSES[i % 3]
            name = f"images/p{i:04d}.png"
            Image.fromarray(_picture(label, size=size, draw=draw)).save(folder / name)
            split = ("train", "train", "train", "train", "val", "test")[(i // 3) % 6]
            caption = f"A {('small', 'large', 'bright')[int(draw.integers(3))]} {label}, view {i}."
            table.writerow((f"p{i:04d}", name, caption, label, f"a picture of a {label}", split, f"g{i // 2}", "tiny"))
    return folder


def _picture(label: str, *, size: int, draw: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size - 0.5
    radius = np.hypot(x - draw.normal(0, 0.05), y - draw.normal(0, 0.05))
    shape = {"disc": radius < 0.3, "bar": np.abs(x) < 0.12, "ring": np.abs(radius - 0.3) < 0.08}[label]
    grey = shape * 150 + 50 + draw.normal(0, 12, (size, size))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def tiny_model(folder: Path, *, seed: int = 0) -> Path:
    """Writes a small CLIP with random weights and returns its folder, to be named by --model."""
    from chips_core.clip.small import build_small, save_small, small_config

    config = small_config("vit", 32, embed_dim=16, vision_width=32, vision_layers=1, text_width=32, text_layers=1)
    folder.mkdir(parents=True, exist_ok=True)
    save_small(build_small(config, seed=seed), config, to=folder / "open_clip_config.json")
    return folder

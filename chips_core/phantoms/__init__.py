"""Phantoms: synthetic medical-looking images with captions, drawn by code, for the demo, tests and benchmarks."""

from chips_core.phantoms.catalogue import MODALITIES, labels
from chips_core.phantoms.dataset import COLUMNS, dataset_rows, draw, encoded, write_dataset
from chips_core.phantoms.pair import PhantomPair
from chips_core.phantoms.planning import plan, truth
from chips_core.phantoms.planting import Planted

__all__ = [
    "COLUMNS", "MODALITIES", "PhantomPair", "Planted", "dataset_rows", "draw", "encoded", "labels", "plan", "truth",
    "write_dataset",
]  # fmt: skip

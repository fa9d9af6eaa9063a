"""The map step: every encoded pair gets a place in the plane; a picture of the features, never an input to a score."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from chips_core import fingerprint
from chips_core.config import at_least
from chips_core.errors import InputError
from chips_core.insight.umap import layout
from chips_core.insight.vectors import embeddings_of
from chips_core.progress import Progress
from chips_core.store import Pool

KIND = "maps"


@dataclass(frozen=True)
class Settings:
    """Which space to lay out, and UMAP's own settings."""

    pool: str
    space: Literal["image", "text", "joint"] = "image"
    features: str | None = None
    seed: int = at_least(0, default=0)
    neighbours: int = at_least(2, default=15)
    min_dist: float = at_least(0, default=0.1)


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Lays the pool out, unless these coordinates are stored already, and returns the map's name."""
    pool = Pool.open(Path(settings.pool))
    if not pool.feature_sets():
        raise InputError(f"Pool '{pool.path.name}' is not encoded yet.", fix="run: chips encode POOL --model NAME")
    features = pool.features(settings.features)
    record = {**asdict(settings), "pool": pool.path.name, "features": features.name}
    name = f"{settings.space}-{fingerprint.of({**record, 'pool': pool.id})[:8]}"
    if name not in {artifact.name for artifact in pool.tables(KIND)}:
        with pool.writing("map"):
            vectors, rows = embeddings_of(features, space=settings.space)
            places = layout(
                vectors,
                seed=settings.seed,
                neighbours=settings.neighbours,
                min_dist=settings.min_dist,
                progress=progress,
            )
            ids = pool.kept(["pair_id"])["pair_id"].iloc[rows].to_numpy()
            table = pd.DataFrame({"pair_id": ids, "row": rows, "x": places[:, 0], "y": places[:, 1]})
            pool.write_table(KIND, name, table, record=record, fingerprint=fingerprint.of(record))
    return {"map": name, "space": settings.space, "pairs": int(features.counts()["done"])}

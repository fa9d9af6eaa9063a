"""The heads fitted to a pool, kept beside its features: a run in audit mode needs them, and so does every trace."""

from dataclasses import asdict, replace

import pandas as pd
import torch

from chips_core import fingerprint
from chips_core.influence.descent import FitSettings
from chips_core.influence.endpoint import Heads
from chips_core.influence.fit import FittedHeads, fit_heads
from chips_core.influence.inputs import Snapshot
from chips_core.jobs.scoring_set import ScoringSet
from chips_core.progress import Progress
from chips_core.store import Pool

KIND = "fits"


def fitted_heads(
    pool: Pool,
    found: ScoringSet,
    *,
    features: str,
    progress: Progress,
    settings: FitSettings | None = None,
    snapshots: bool = True,
) -> FittedHeads:
    """Returns the fitted heads, from the pool where they are there, else fits and stores them.

    Args:
        pool: where they are stored.
        found: its pairs as tensors.
        features: the name of the features.
        progress: told of the fit.
        settings: of the fit; as for the scores where None.
        snapshots: whether the heads of every epoch are stored too; TracIn alone reads them.
    """
    inputs, settings = found.inputs, settings or FitSettings()
    name = _name(found, features=features, settings=settings)
    if name not in {artifact.name for artifact in pool.tables(KIND)}:
        batches = -(-min(len(found.rows), settings.most_pairs) // settings.batch_size)
        progress.start("fit the heads", total=settings.epochs * batches * settings.batch_size)
        fitted = fit_heads(
            inputs.pool,
            inputs.needed_target(),
            heads=inputs.heads,
            plan=inputs.plan,
            settings=settings,
            tick=progress.advance,
        )
        _store(pool, fitted if snapshots else replace(fitted, snapshots=()), name=name)
    return _stored(pool, name, settings=settings)


def is_fitted(pool: Pool, found: ScoringSet, *, features: str, settings: FitSettings) -> bool:
    """Whether heads fitted so are in the pool."""
    return _name(found, features=features, settings=settings) in {artifact.name for artifact in pool.tables(KIND)}


def _name(found: ScoringSet, *, features: str, settings: FitSettings) -> str:
    counts = [len(found.rows), len(found.target_rows)]
    return f"fit-{fingerprint.of([features, found.target, *counts, asdict(found.inputs.plan), asdict(settings)])}"


def _store(pool: Pool, fitted: FittedHeads, *, name: str) -> None:
    snapshots = (Snapshot(fitted.heads, 0.0), *fitted.snapshots)
    arrays = {
        "image": torch.stack([snapshot.heads.image for snapshot in snapshots]).numpy(),
        "text": torch.stack([snapshot.heads.text for snapshot in snapshots]).numpy(),
    }
    record = {
        "epoch": fitted.epoch,
        "scales": [float(snapshot.heads.log_scale) for snapshot in snapshots],
        "rates": [snapshot.rate for snapshot in snapshots],
        "settings": asdict(fitted.settings),
    }
    history = pd.DataFrame({"epoch": range(len(fitted.history)), "target_loss": fitted.history})
    pool.write_table(KIND, name, history, record=record, fingerprint=name, arrays=arrays)


def _stored(pool: Pool, name: str, *, settings: FitSettings) -> FittedHeads:
    record = next(artifact.record for artifact in pool.tables(KIND) if artifact.name == name)
    arrays = {part: torch.from_numpy(array.copy()) for part, array in pool.arrays(KIND, name).items()}
    snapshots = [
        Snapshot(Heads(arrays["image"][n], arrays["text"][n], torch.tensor(scale)), rate)
        for n, (scale, rate) in enumerate(zip(record["scales"], record["rates"], strict=True))
    ]
    history = tuple(float(value) for value in pool.table(KIND, name)["target_loss"])
    return FittedHeads(snapshots[0].heads, history, int(record["epoch"]), settings, tuple(snapshots[1:]))

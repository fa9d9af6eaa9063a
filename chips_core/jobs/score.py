"""The score step: any methods of the registry over a pool, in as few readings of it as they allow.

What is finished is kept method by method in a work folder, with its checksum, so that a stopped run continues. A run is
named by the fingerprint of everything that can change a score: pairs, encoder, target set, settings, blocks and seed.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from chips_core import atomic, fingerprint
from chips_core.config import at_least
from chips_core.errors import NoTargetSet
from chips_core.influence.blocks import BlockPlan
from chips_core.influence.descent import FitSettings
from chips_core.influence.endpoint import Heads
from chips_core.influence.inputs import ScoringInputs
from chips_core.influence.method import Method
from chips_core.influence.methods import METHODS, method, passes_of
from chips_core.jobs.fitting import fitted_heads
from chips_core.jobs.scoring_set import ScoringSet, scoring_set
from chips_core.progress import Progress
from chips_core.store import Pool
from chips_core.store.parts import HELD_OUT

KIND = "scores"
WORK, SEAL = "work", ".sha256"
SOFTENED = ("chips_audit", "ecif_audit")  # influence in audit mode, as the benchmark of detection measures it
DEFAULT = ("queue", "ecif", "chips", "clipscore", "negcliploss")


@dataclass(frozen=True)
class Settings:
    """What to compute and against which target set; threads and devices are not here: they change nothing."""

    pool: str
    methods: tuple[str, ...] | list[str] = DEFAULT
    target: str | None = None
    mode: Literal["audit", "paper"] = "audit"
    seed: int = at_least(0, default=0)
    block: int = at_least(2, default=1024)
    reshuffles: int = at_least(1, default=4)
    features: str | None = None
    name: str | None = None


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Scores the pool and returns the run's name and what it holds."""
    began = time.monotonic()
    pool = Pool.open(Path(settings.pool))
    if not pool.feature_sets():
        raise NoTargetSet(f"Pool '{pool.path.name}' is not encoded yet.", fix="run: chips encode POOL --model NAME")
    features = settings.features or pool.feature_sets()[-1].name
    plan = BlockPlan(size=settings.block, repeats=settings.reshuffles, seed=settings.seed)
    found = scoring_set(pool, target=settings.target, plan=plan, features=features)
    chosen = _chosen(settings)
    identity = _identity(pool, settings, target=found.target, chosen=chosen, features=features)
    name = settings.name or f"{settings.mode}-{fingerprint.of(identity)[:8]}"
    if name not in {artifact.name for artifact in pool.tables(KIND)}:
        _score(pool, found, name=name, identity=identity, chosen=chosen, began=began, progress=progress)
    record = next(artifact.record for artifact in pool.tables(KIND) if artifact.name == name)
    told = ("pairs", "unreadable", "target", "target_pairs", "methods", "left_out")
    return {"run": name, **{key: record[key] for key in told}}


def _chosen(settings: Settings) -> list[Method[Any]]:
    """Returns the methods asked for, `chips` and `ecif` in the run's mode, each once, in the registry's order."""
    names = {method(name, mode=settings.mode).name for name in settings.methods}
    return [entry for entry in METHODS if entry.name in names]


def _identity(
    pool: Pool, settings: Settings, *, target: str, chosen: Sequence[Method[Any]], features: str
) -> dict[str, Any]:
    return {
        "pool_fingerprint": pool.fingerprint,
        "features": features,
        "target": target,
        "mode": settings.mode,
        "seed": settings.seed,
        "block": settings.block,
        "reshuffles": settings.reshuffles,
        "settings": {entry.name: asdict(entry.defaults) for entry in chosen},
        "fit": asdict(FitSettings()),
    }


def _score(
    pool: Pool,
    found: ScoringSet,
    *,
    name: str,
    identity: Mapping[str, Any],
    chosen: Sequence[Method[Any]],
    began: float,
    progress: Progress,
) -> None:
    """Computes what is not there yet and commits the run."""
    if found.target == HELD_OUT:
        words = f"{len(found.target_rows):,} pairs of whole patients are held out as the target set and get no score."
        progress.note(f"{words} They are as right or wrong as the rest: a split that you trust makes better scores.")
    if found.shared_images:
        words = f"{found.shared_images:,} pairs to score show an image of the target set: their scores flatter them."
        progress.note(words)
    with pool.writing("score"):
        found = _with_fitted(pool, found, identity=identity, progress=progress)
        usable = [entry for entry in chosen if entry.applies(found.inputs) is None]
        left_out = {entry.name: entry.applies(found.inputs) for entry in chosen if entry not in usable}
        for method_name, why in left_out.items():
            progress.note(f"{method_name} is left out: it {why}.")
        work = pool.path / WORK / f"score-{fingerprint.of(identity)}"
        atomic.make_folder(work)
        _compute_missing(found, usable, work=work, progress=progress)
        table, columns = _table(found, usable, work=work)
        record = {
            **identity,
            "methods": [entry.name for entry in usable],
            "left_out": left_out,
            "columns": columns,
            "pairs": len(found.rows),
            "unreadable": len(found.unreadable),
            "target_pairs": len(found.target_rows),
            "shared_images": found.shared_images,
            "seconds": round(time.monotonic() - began, 3),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        pool.write_table(KIND, name, table, record=record, fingerprint=fingerprint.of(identity))
        atomic.remove(work)


def _with_fitted(pool: Pool, found: ScoringSet, *, identity: Mapping[str, Any], progress: Progress) -> ScoringSet:
    """Returns the same pairs with the fitted heads where audit mode wants them."""
    if identity["mode"] != "audit":
        return found
    fitted = fitted_heads(pool, found, features=identity["features"], progress=progress)
    return replace(found, inputs=replace(found.inputs, fitted=fitted.heads, snapshots=fitted.snapshots))


def _compute_missing(found: ScoringSet, methods: Sequence[Method[Any]], *, work: Path, progress: Progress) -> None:
    """Computes the methods that are not in the work folder: those that read blocks together, the others singly."""
    missing = [entry for entry in methods if not _is_kept(work / f"{entry.name}.npy")]
    planned = {entry.name: bool(entry.plan(found.inputs).requests) for entry in missing}
    plain = [entry for entry in missing if planned[entry.name] and entry.name not in SOFTENED]
    soft = [entry for entry in missing if planned[entry.name] and entry.name in SOFTENED]
    groups = [group for group in (plain, soft) if group]
    groups += [[entry] for entry in missing if not planned[entry.name]]
    for group in groups:
        passes = passes_of(group, _softened(found.inputs) if group is soft else found.inputs)
        alone = 0 if passes.pairs_to_do else len(found.rows)  # a method that reads the pool in its own way, at once
        progress.start(f"score {', '.join(entry.name for entry in group)}", total=passes.pairs_to_do or alone)
        for entry, columns in zip(group, passes.run(progress.advance), strict=True):
            values = np.stack([columns[column.name].numpy() for column in entry.columns])
            _keep(work / f"{entry.name}.npy", values)
        if alone:
            progress.advance(alone)


def _keep(path: Path, values: npt.NDArray[Any]) -> None:
    """Writes what is finished, and after it its checksum."""
    atomic.write_array(path, values)
    atomic.write_bytes(path.with_suffix(SEAL), fingerprint.of_file(path).encode())


def _is_kept(path: Path) -> bool:
    """Whether a file is there as it was written; one that was cut or changed meanwhile is computed again."""
    seal = path.with_suffix(SEAL)
    there = path.is_file() and seal.is_file()
    return there and seal.read_bytes() == fingerprint.of_file(path).encode()


def _softened(inputs: ScoringInputs) -> ScoringInputs:
    """Returns the inputs at a share of the calibrated scale: above it the signs of influence turn round [decided]."""
    heads = inputs.at("audit")
    softer = Heads.of(heads.image, heads.text, scale=heads.scale * FitSettings().soften)
    return replace(inputs, fitted=softer, target_loss="pairs")


def _table(
    found: ScoringSet, methods: Sequence[Method[Any]], *, work: Path
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Returns one line per pair of the pool, null where it has no features, and what each column means."""
    rows = np.concatenate([found.rows, found.unreadable])
    order = np.argsort(rows, kind="stable")
    table = pd.DataFrame({"pair_id": found.pairs["pair_id"].iloc[rows[order]].to_numpy(), "row": rows[order]})
    names = [column.name for entry in methods for column in entry.columns]
    described: list[dict[str, Any]] = []
    for entry in methods:
        values = atomic.read_array(work / f"{entry.name}.npy")
        for column, scored in zip(entry.columns, values, strict=True):
            label = column.name if names.count(column.name) == 1 else f"{entry.name}.{column.name}"
            whole = np.concatenate([scored, np.full(len(found.unreadable), np.nan)])[order]
            table[label] = pd.Series(whole.astype(np.float32)).astype("Float32").mask(np.isnan(whole))
            described.append({"column": label, "method": entry.name, **asdict(column)})
    return table, described

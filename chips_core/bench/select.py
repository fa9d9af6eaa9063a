"""Benchmark `select`: which selection teaches the model most for its size, on a pool with wrong captions?

A share of the pool's captions is swapped; every method chooses by the product's own selection code; the heads are
trained on what it chose, all in the same way (`verify.proxy`); zero-shot accuracy on the test images, mean over their
sources, is what counts. Test images and the truth about the captions are never near a score or a choice.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chips_core.bench.base import image_features, text_features
from chips_core.bench.noisy_pool import NoisyCase, class_prompts, inputs_of, noisy_case
from chips_core.curate.candidates import Candidates, Embeddings, ScoreColumn
from chips_core.curate.recipe import AUDIT, CLIPCOV, RANDOM, Recipe, chosen_count
from chips_core.curate.select import select
from chips_core.errors import InputError, UsageError
from chips_core.progress import Progress, Silent
from chips_core.verify.noise import Kind

if TYPE_CHECKING:
    from chips_core.influence.endpoint import Heads
    from chips_core.influence.fit import FittedHeads
    from chips_core.influence.inputs import ScoringInputs
    from chips_core.verify.proxy import Exam

Rows = NDArray[np.int64]
BUDGETS = "0.1,0.3"
SOFTENED = ("chips_audit", "ecif_audit")  # influence in audit mode, as the score step computes it
SLOW = ("ekfac", "logra", "trak", "tracin", "knn_shapley", "chips_audit")  # left out when quick
REPEATS = 3  # trainings of each selection, in different orders of its pairs


@dataclass(frozen=True, eq=False)
class NoisyPool:
    """One seed's pool, ready to choose from and to train on.

    Attributes:
        table: the candidates as the product sees them.
        inputs: what the scores were made from.
        start: the heads as they came, the scale calibrated on the target set.
        swapped: (N,) the truth, for what is told at the end.
        exam: the test images.
        seed: of everything.
    """

    table: Candidates
    inputs: "ScoringInputs"
    start: "Heads"
    swapped: NDArray[np.bool_]
    exam: "Exam"
    seed: int

    def accuracy(self, rows: Rows) -> float:
        """Returns the accuracy on the test images after training on some rows, mean over `REPEATS` orders."""
        from chips_core.verify.proxy import train_heads

        seeds = (self.seed + 100 * repeat for repeat in range(REPEATS))
        trained = (train_heads(self.inputs.pool, rows, heads=self.start, seed=seed) for seed in seeds)
        return float(np.mean([self.exam.accuracy(heads) for heads in trained]))

    def chosen(self, method: str, budget: str) -> Rows:
        """Returns what a method chooses."""
        return select(self.table, Recipe(method, budget, seed=self.seed)).rows


def run(  # noqa: PLR0913 -- each is an option of the command
    *,
    data: Path,
    noise: float = 0.2,
    kind: Kind = "within",
    budgets: str = BUDGETS,
    seeds: int = 3,
    seed: int = 0,
    quick: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Returns the accuracy after training on what each method chooses, mean and standard deviation over the seeds.

    Args:
        data: a data set folder with labels and a test split.
        noise: share of the pool's captions to swap; 0 for the pool as it is.
        kind: `within` a source, with a caption of another label; or `across` sources.
        budgets: shares of the pool with a point in them, separated by commas.
        seeds: how many swaps; the model, trained once a data set, is the same for all.
        seed: the first swap; others follow it.
        quick: a model of fewer epochs, and only the fast methods.
        cache: where trained models are kept.
        progress: told of everything.
    """
    shares = checked_budgets(budgets)
    if seeds < 1:
        raise UsageError(f"{seeds} seeds.", fix="give one or more.")
    told, began = progress or Silent(), time.perf_counter()
    case = noisy_case(data, noise=noise, kind=kind, quick=quick, cache=cache, progress=told)
    exam = exam_of(case)
    found = []
    for number in range(seeds):
        told.note(f"swap {number + 1} of {seeds}")
        found.append(_one_seed(noisy_pool(case, exam, seed=seed + number), shares=shares, progress=told))
    names = {name: [one[name] for one in found] for name in found[0]}
    plain = {name: _spread(values) for name, values in names.items() if name in ("base", "full", "clean_only")}
    return {
        "noise": noise,
        "kind": kind,
        "seeds": seeds,
        "first_seed": seed,
        "budgets": list(shares),
        "pairs": {name: len(getattr(case.parts, name)) for name in ("base", "pool", "target", "test")},
        "encoder": case.encoder.fingerprint,
        "methods": {name: _spread(values) for name, values in names.items() if name not in plain},
        **{name + tail: row[f"accuracy{tail}"] for name, row in plain.items() for tail in ("", "_sd")},
        "seconds": round(time.perf_counter() - began, 1),
    }


def table(result: Mapping[str, Any]) -> str:
    """Returns the result of `run` as lines to print, best at the largest budget first."""
    shares = result["budgets"]
    head = f"{'method':<20}" + "".join(f"{f'accuracy at {share}':>20}{'noise':>8}" for share in shares)
    lines = [f"{result['noise']:.0%} of {result['pairs']['pool']:,} captions swapped {result['kind']} sources", head]
    references = ("base", "full", "clean_only")
    lines += [f"{name:<20}{result[name]:>12.3f} ± {result[f'{name}_sd']:.3f}" for name in references]
    for name, row in sorted(result["methods"].items(), key=lambda item: (-item[1][shares[-1]], item[0])):
        cells = (f"{row[s]:>12.3f} ± {row[f'{s}_sd']:.3f}{row[f'noise_{s}']:>8.2f}" for s in shares)
        lines.append(f"{name:<20}" + "".join(cells))
    return "\n".join(lines)


def checked_budgets(text: str) -> tuple[str, ...]:
    """Returns the budgets, each a share with a point in it."""
    shares = tuple(part.strip() for part in text.split(",") if part.strip())
    for share in shares:
        if "." not in share or not chosen_count(share, candidates=1000):
            raise UsageError(f"The budget '{share[:20]}' is no share above 0.", fix="write shares such as 0.1,0.3.")
    if not shares:
        raise UsageError("There is no budget.", fix="give --budgets 0.1,0.3.")
    return shares


def exam_of(case: NoisyCase) -> "Exam":
    """Returns the test images with the classes of pool and target set; a class without a prompt gets a plain one."""
    import torch

    from chips_core.verify.proxy import Exam

    places, classes = case.parts.test, class_prompts(case)
    code = {name: number for number, name in enumerate(classes)}
    labels = np.array([code.get(label, -1) for label in case.data.column("label", places=places)], dtype=np.int64)
    if not (labels >= 0).any():
        raise InputError("No test image has one of the pool's labels.", fix="add the columns label and class_prompt.")
    prompts = [prompt or f"a medical image of {name}" for name, prompt in classes.items()]
    return Exam(
        images=image_features(case.encoder, case.data.images, places=places),
        labels=labels,
        prompts=text_features(case.encoder, prompts),
        owner=torch.arange(len(classes)),
        classes=tuple(classes),
        groups=case.data.column("group", places=places),
        sources=case.data.column("source", places=places),
    )


def noisy_pool(case: NoisyCase, exam: "Exam", *, seed: int, methods: Sequence[str] = ()) -> NoisyPool:
    """Returns the pool of one seed, scored by the named methods, or by every one that applies."""
    from chips_core.influence.fit import calibrate_scale

    swap, order = case.swapped(seed), case.id_order(seed)
    inputs, fit = inputs_of(case, swap.captions, order=order, seed=seed, target_loss="auto")
    start = calibrate_scale(inputs.needed_target(), inputs.heads, plan=inputs.plan)
    found = candidates(case, inputs, fit=fit, order=order, methods=methods)
    return NoisyPool(found, inputs, start, swap.swapped, exam, seed)


def candidates(
    case: NoisyCase, inputs: "ScoringInputs", *, fit: "FittedHeads", order: Rows, methods: Sequence[str] = ()
) -> Candidates:
    """Returns the pool as the product's selection sees it: scores of the registry, names, embeddings."""
    scores: dict[str, ScoreColumn] = {}
    columns: dict[str, ScoreColumn] = {}
    for entry, found in _scored(inputs, fit=fit, quick=case.quick, methods=methods):
        for column in entry.columns:
            values = np.asarray(found[column.name].numpy(), dtype=np.float64)
            columns[column.name] = ScoreColumn(values, column.higher_is, column.signed)
        scores[entry.name] = columns[entry.ranks_by.name]
    return Candidates(
        ids=np.array([f"p{place:08d}" for place in order], dtype=object),
        readable=np.ones(len(order), dtype=np.bool_),
        names={name: np.array(case.pool_column(name), dtype=object) for name in ("label", "source", "group")},
        scores=scores,
        columns=columns,
        embeddings=_embeddings(case, inputs),
    )


def _scored(
    inputs: "ScoringInputs", *, fit: "FittedHeads", quick: bool, methods: Sequence[str]
) -> list[tuple[Any, Mapping[str, Any]]]:
    """Returns each method with its columns, audit mode last: as in a pool its columns are the ones that count."""
    from chips_core.influence.methods import applying, compute

    chosen = [entry for entry in applying(inputs) if entry.name in methods or not methods]
    chosen = [entry for entry in chosen if methods or not (quick and entry.name in SLOW)]
    soft = [entry for entry in chosen if entry.name in SOFTENED]
    plain = [entry for entry in chosen if entry not in soft]
    found = compute(plain, inputs) | compute(soft, replace(inputs, fitted=fit.softened, target_loss="pairs"))
    return sorted(((entry, found[entry.name]) for entry in chosen), key=lambda item: item[0].name.endswith("_audit"))


def _embeddings(case: NoisyCase, inputs: "ScoringInputs") -> Embeddings:
    from chips_core.influence.endpoint import embed

    heads = inputs.heads
    image, text = embed(inputs.pool.image, heads.image)[0], embed(inputs.pool.text, heads.text)[0]
    classes, prompts = class_prompts(case), {}
    if inputs.prompts is not None:
        prompts = dict(zip(classes, embed(inputs.prompts, heads.text)[0].numpy(), strict=True))
    return Embeddings(image.numpy(), text.numpy(), prompts)


def _one_seed(pool: NoisyPool, *, shares: Sequence[str], progress: Progress) -> dict[str, dict[str, float]]:
    """Returns by method the accuracy and the share of wrong captions at each budget, and the three references."""
    methods = names_of(pool.table)
    everything = np.arange(len(pool.table))
    progress.start("train on selections", total=len(methods) + 1, unit="methods")
    rows = {
        "base": {"accuracy": pool.exam.accuracy(pool.start)},
        "full": {"accuracy": pool.accuracy(everything)},
        "clean_only": {"accuracy": pool.accuracy(everything[~pool.swapped])},
    }
    progress.advance()
    for name in methods:
        rows[name] = {}
        for share in shares:
            chosen = pool.chosen(name, share)
            rows[name] |= {share: pool.accuracy(chosen), f"noise_{share}": float(pool.swapped[chosen].mean())}
        progress.advance()
    return rows


def names_of(table: Candidates) -> list[str]:
    """Returns the methods to compare: the default, chance, ClipCov, and every score that ranks."""
    ranked = [name for name, score in table.scores.items() if score.higher_is != "neutral" and name != RANDOM]
    return [AUDIT, RANDOM, CLIPCOV, *ranked]


def _spread(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the mean and the standard deviation (`…_sd`; 0 for one seed) of each figure."""
    found: dict[str, float] = {}
    for figure in rows[0]:
        values = np.array([row[figure] for row in rows])
        found[figure] = float(values.mean())
        if not figure.startswith("noise_"):
            found[f"{figure}_sd"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return found

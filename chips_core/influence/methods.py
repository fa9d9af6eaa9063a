"""The one registry of scoring methods: app, command line and benchmarks list and compute these and no others."""

from collections.abc import Mapping, Sequence
from typing import Any

from chips_core.errors import UsageError
from chips_core.influence import baselines, baselines_gradient, papers, queue_entry
from chips_core.influence.inputs import ScoringInputs
from chips_core.influence.method import Method
from chips_core.influence.passes import Tick
from chips_core.influence.scoring import Columns, Passes, Targets

METHODS: tuple[Method[Any], ...] = (
    queue_entry.QUEUE,
    baselines.RANDOM,
    baselines.CLIPSCORE,
    baselines.NEGCLIPLOSS,
    baselines.NORMSIM,
    baselines.LOSS_RESIDUAL,
    baselines.SELF_CONFIDENCE,
    baselines.CONFIDENT_LEARNING,
    baselines.KNN_SHAPLEY,
    baselines.SEMDEDUP,
    baselines_gradient.DOT,
    baselines_gradient.TRACIN,
    baselines_gradient.TRAK,
    baselines_gradient.EKFAC,
    baselines_gradient.LOGRA,
    papers.CHIPS_AUDIT,
    papers.CHIPS_PAPER,
    papers.ECIF_AUDIT,
    papers.ECIF_PAPER,
)
FAMILIES = ("chips", "ecif")  # methods of two modes: `chips` in audit mode is `chips_audit`


def method(name: str, *, mode: str = "audit") -> Method[Any]:
    """Returns the method of that name; for a name of FAMILIES, the one of that mode.

    Args:
        name: as in `chips score --method`.
        mode: audit or paper, where the name leaves it open.
    """
    wanted = f"{name}_{mode}" if name in FAMILIES else name
    known = {entry.name: entry for entry in METHODS}
    if wanted not in known:
        raise UsageError(f"There is no method '{wanted}'.", fix=f"the methods are {', '.join([*FAMILIES, *known])}.")
    return known[wanted]


def applying(inputs: ScoringInputs) -> tuple[Method[Any], ...]:
    """Returns the methods that can be computed from these inputs at their defaults."""
    return tuple(entry for entry in METHODS if entry.applies(inputs) is None)


def passes_of(
    methods: Sequence[Method[Any]], inputs: ScoringInputs, *, settings: Mapping[str, object] | None = None
) -> Passes:
    """Returns the joined passes of several methods, for callers that share the work among processes.

    Args:
        methods: what to compute.
        inputs: from what.
        settings: by method name, where not the defaults.
    """
    targets = Targets(inputs)
    chosen = settings or {}
    return Passes([entry.plan(inputs, chosen.get(entry.name), targets=targets) for entry in methods], inputs)


def compute(
    methods: Sequence[Method[Any]],
    inputs: ScoringInputs,
    *,
    settings: Mapping[str, object] | None = None,
    tick: Tick | None = None,
) -> dict[str, Columns]:
    """Returns the columns of several methods by method name; the pool is read once for each pair of heads in use."""
    columns = passes_of(methods, inputs, settings=settings).run(tick)
    return {entry.name: found for entry, found in zip(methods, columns, strict=True)}

"""What to compute next: the target sets and methods that the pairs of a pool or a source allow, and the steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from chips_core.data import Row
from chips_core.store import Pool
from chips_core.store.parts import COLUMNS, HELD_OUT, TEST, TRAIN, VAL, parts_of
from chips_core.views.catalogue import MethodEntry
from chips_core.views.runs import encoder_of

Mode = Literal["audit", "paper"]
Spaces = Literal["image", "text", "joint"]
SUGGESTED = ("queue", "ecif", "chips", "clipscore", "negcliploss")  # as the score step's own default
FAMILIES = ("chips", "ecif")
DUPLICATES = "duplicates"
WORDS = {
    "intake": "bring in",
    "encode": "encode",
    "score": "score",
    "duplicates": "look for near duplicates",
    "map": "lay out the map",
    "select": "choose pairs",
    "export": "write the export",
    "measure": "measure the accuracy",
    "pretrain": "train on the selection",
}
OF_MODE = {
    "audit": "The heads are first fitted to this pool: what would happen had the model "
    "learnt from these pairs? The right question for finding wrong pairs.",
    "paper": "The formulas at the model's own heads, as published: faster, and the right question when this very "
    "model is to be trained further. On a noisy pool it misleads.",
}


@dataclass(frozen=True)
class Target:
    """A target set that can be named: how many pairs it has, and how many are then left to score."""

    name: str
    kind: Literal["split", "source", "share"]
    pairs: int
    scored: int
    labelled: bool
    scored_labelled: bool

    @property
    def words(self) -> str:
        """Returns for example `val — split, 300 pairs; 2,387 are scored`."""
        what = "a tenth, whole patients" if self.kind == "share" else self.kind
        return f"{self.name} — {what}, {self.pairs:,} pairs; {self.scored:,} are scored"


@dataclass(frozen=True)
class Facts:
    """What is known of the pairs before anything is computed.

    Attributes:
        pairs: how many there are, or were looked at.
        targets: the target sets that leave something to score, the recommended one first.
        classes: different labels.
        encoder: name of the encoder of the newest features; None when not encoded.
        spaces: of the maps that are there.
        near_known: whether near duplicates were looked for.
        whole: whether all pairs were looked at.
    """

    pairs: int
    targets: tuple[Target, ...]
    classes: int
    encoder: str | None = None
    spaces: frozenset[str] = frozenset()
    near_known: bool = False
    whole: bool = True


@dataclass(frozen=True)
class Choice:
    """What a person chose to compute."""

    model: str
    weights: str | None
    target: str | None
    mode: Mode
    methods: tuple[str, ...]
    spaces: tuple[str, ...]
    near_duplicates: bool


@dataclass(frozen=True)
class PlannedStep:
    """One step to run, with its settings as plain data."""

    step: str
    settings: Mapping[str, Any]

    @property
    def words(self) -> str:
        """What the step does, for a person."""
        return WORDS.get(self.step, self.step)


def facts_of_pool(pool: Pool) -> Facts:
    """Returns what is known of a pool."""
    pairs = pool.kept([*COLUMNS, "label"])
    sets = pool.feature_sets()
    features = sets[-1].name if sets else None
    maps = [found.record for found in pool.tables("maps") if found.record.get("features") == features]
    return Facts(
        pairs=len(pairs),
        targets=targets_of(pairs),
        classes=int((pairs["label"].unique() != "").sum()),
        encoder=encoder_of(sets[-1].record) if sets else None,
        spaces=frozenset(str(record.get("space")) for record in maps),
        near_known=bool(pool.tables(DUPLICATES)),
    )


def facts_of_rows(rows: Sequence[Row], *, whole: bool) -> Facts:
    """Returns what is known of a source from the rows that were looked at."""
    pairs = pd.DataFrame(
        [
            (row.pair_id or str(row.number), row.split, row.source, row.group, row.label)
            for row in rows
            if row.outcome is None
        ],
        columns=[*COLUMNS, "label"],
    )
    return Facts(len(rows), targets_of(pairs), int((pairs["label"].unique() != "").sum()), whole=whole)


def targets_of(pairs: pd.DataFrame) -> tuple[Target, ...]:
    """Returns what can be the target set and leaves something to score: val, else a tenth held out; splits; sources."""
    splits = sorted(set(pairs["split"]) - {"", TEST}, key=lambda name: (name != VAL, name == TRAIN, name))
    sources = sorted(set(pairs["source"]) - {"", TEST, *splits})  # a split hides a source of the same name
    found = [_target(pairs, name, kind="split") for name in splits]
    found.insert(1 if VAL in splits else 0, _target(pairs, HELD_OUT, kind="share"))
    found += [_target(pairs, name, kind="source") for name in sources]
    return tuple(target for target in found if target.scored and target.pairs)


def _target(pairs: pd.DataFrame, name: str, *, kind: Literal["split", "source", "share"]) -> Target:
    parts = parts_of(pairs, target=name)
    labelled = (pairs["label"] != "").to_numpy()
    return Target(
        name=name,
        kind=kind,
        pairs=int(parts.target.sum()),
        scored=int(parts.scored.sum()),
        labelled=bool((parts.target & labelled).any()),
        scored_labelled=bool((parts.scored & labelled).any()),
    )


def offered(methods: Sequence[MethodEntry], *, mode: Mode) -> list[MethodEntry]:
    """Returns the methods of a mode, the suggested ones first: of two-mode methods the one that fits."""
    other = "paper" if mode == "audit" else "audit"
    shown = [entry for entry in methods if not any(entry.name == f"{name}_{other}" for name in FAMILIES)]
    return sorted(shown, key=lambda entry: not is_suggested(entry))


def is_suggested(entry: MethodEntry) -> bool:
    """Whether the method is one that a first run should have."""
    return any(entry.name in (name, f"{name}_audit", f"{name}_paper") for name in SUGGESTED)


def why_not(entry: MethodEntry, facts: Facts, *, target: Target | None, mode: Mode) -> str:
    """Returns why a method cannot be computed, such as `needs class labels of the pool`; empty when it can."""
    if target is None:
        return "needs pairs to score beside a target set"
    met = {
        "two pairs or more": target.scored >= 2,
        "a target set": True,
        "a target set of two pairs or more": target.pairs >= 2,
        "class labels of the pool": target.scored_labelled,
        "class labels of the target set": target.labelled,
        "class prompts": facts.classes >= 2,
        "heads fitted to the pool": mode == "audit",
        "heads saved while they were fitted": mode == "audit",
    }
    lacking = [need for need in entry.needs if not met.get(need, True)]
    hint = "; choose audit mode" if lacking and mode == "paper" and lacking[0].startswith("heads") else ""
    return f"needs {', '.join(lacking)}{hint}" if lacking else ""


def steps_for(pool: str, choice: Choice, facts: Facts) -> list[PlannedStep]:
    """Returns the steps that are still to do for what was chosen, in their order; finished work is not done again."""
    steps = []
    if facts.encoder is None:
        model = {"model": choice.model} | ({"weights": choice.weights} if choice.weights else {})
        steps.append(PlannedStep("encode", {"pool": pool, **model}))
    if choice.methods and choice.target:
        asked = {"methods": list(choice.methods), "target": choice.target, "mode": choice.mode}
        steps.append(PlannedStep("score", {"pool": pool, **asked}))
    if choice.near_duplicates and not facts.near_known:
        steps.append(PlannedStep(DUPLICATES, {"pool": pool}))
    steps += [
        PlannedStep("map", {"pool": pool, "space": space}) for space in choice.spaces if space not in facts.spaces
    ]
    return steps

"""The candidates of a pool: its pairs, scores, verdicts and leaks as the arrays that a selection is made from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from chips_core.curate.candidates import Candidates, Embeddings, Mask, Rows, ScoreColumn, leaks
from chips_core.curate.recipe import BY_NAMES
from chips_core.errors import InputError
from chips_core.outcomes import Outcome
from chips_core.store import Features, Pool, Review, Verdict
from chips_core.store.manifest import Artifact
from chips_core.store.parts import VAL, parts_of
from chips_core.store.review_database import FILE as REVIEW

SCORES, DUPLICATES, PROMPTS = "scores", "duplicates", "prompts"
HARMLESS = (Verdict.CORRECT, Verdict.UNSURE)  # every other verdict keeps a pair out
CHUNK = 8192


@dataclass(frozen=True)
class Origin:
    """What a selection was made from, so that a later one can say what is different.

    Attributes:
        pool: the fingerprint of the pairs.
        runs: the fingerprint of every run that was used, by its name.
        target: the target set, "" for none.
        features: the features' name, "" where the pool is not encoded.
        verdicts: a fingerprint of the verdicts that keep pairs out or in.
        near: the near duplicates that were looked at, "" for none.
    """

    pool: str
    runs: dict[str, str]
    target: str
    features: str
    verdicts: str
    near: str

    def differences(self, other: "Origin") -> list[str]:
        """Returns in words what the other one has differently."""
        words = {
            "pool": "the pairs of the pool",
            "runs": "the scoring runs",
            "target": "the target set",
            "features": "the features",
            "verdicts": "the verdicts",
            "near": "the near duplicates that are known",
        }
        mine, others = asdict(self), asdict(other)
        return [text for name, text in words.items() if mine[name] != others[name]]


def candidates_of(
    pool: Pool, *, runs: Sequence[str] = (), target: str | None = None, features: bool = False
) -> tuple[Candidates, Origin]:
    """Returns the candidates of a pool and what they were made from.

    Args:
        pool: with or without scores.
        runs: whose scores; none named for the newest run and those others that share its target set and features.
        target: split or source to keep clear of, where no run says it.
        features: whether to read the features, which ClipCov needs.
    """
    used = _runs(pool, runs)
    target = str(used[-1].record["target"] if used else (target or VAL))
    pairs = pool.kept(["pair_id", "split", "image_sha256", *BY_NAMES])
    stored = _stored(pool, used)
    parts = parts_of(pairs, target=target)
    near_name, near = _near(pool, count=len(pairs))
    barred, confirmed, verdicts = _verdicts(pool, ids=pairs["pair_id"].to_numpy(object))
    scores, columns = _columns(pool, used, count=len(pairs))
    names = {name: pairs[name].to_numpy(object) for name in BY_NAMES}
    shared = leaks(
        groups=names["group"], hashes=pairs["image_sha256"].to_numpy(object), held_out=parts.kept_back, near=near
    )
    table = Candidates(
        ids=pairs["pair_id"].to_numpy(object),
        readable=parts.scored & (stored.done if stored is not None else True),
        names=names,
        scores=scores,
        columns=columns,
        barred={"judged wrong": barred, **shared},
        confirmed=confirmed,
        embeddings=_embeddings(pool, stored) if features and stored is not None else None,
    )
    found = {artifact.name: artifact.fingerprint for artifact in used}
    origin = Origin(pool.fingerprint, found, target, stored.name if stored else "", verdicts, near_name)
    return table, origin


def _runs(pool: Pool, names: Sequence[str]) -> list[Artifact]:
    """Returns the runs to read, the newest last."""
    there = pool.tables(SCORES)
    unknown = set(names) - {artifact.name for artifact in there}
    if unknown:
        listed = ", ".join(artifact.name for artifact in there) or "none"
        raise InputError(f"There is no run '{min(unknown)[:60]}'.", fix=f"the runs are: {listed}.")
    found = [artifact for artifact in there if artifact.name in names] if names else there
    keys = ("target", "features")
    if found and not found[-1].record.get("target"):
        raise InputError(
            f"The run '{found[-1].name}' does not say which target set it was made against.",
            fix="name another run with --run, or score the pool again: chips score POOL.",
        )
    alike = [a for a in found if all(a.record.get(key) == found[-1].record.get(key) for key in keys)]
    if names and len(alike) < len(found):
        raise InputError("These runs have different target sets or features.", fix="name runs of one kind.")
    return alike


def _stored(pool: Pool, runs: list[Artifact]) -> Features | None:
    if not pool.feature_sets():
        return None
    named = runs[-1].record.get("features") if runs else None
    return pool.features(named if isinstance(named, str) else None)


def _near(pool: Pool, *, count: int) -> tuple[str, Rows | None]:
    """Returns the newest near duplicates and the group of each kept pair, -1 for none."""
    there = pool.tables(DUPLICATES)
    if not there:
        return "", None
    table = pool.table(DUPLICATES, there[-1].name)
    kept = np.flatnonzero((pool.pairs(["outcome"])["outcome"] == Outcome.KEPT).to_numpy())
    place = np.full(int(kept.max(initial=-1)) + 1, -1, dtype=np.int64)
    place[kept] = np.arange(count)
    groups = np.full(count, -1, dtype=np.int64)
    rows = table["input_row"].to_numpy(np.int64)
    inside = rows < len(place)
    at = place[rows[inside]]
    groups[at[at >= 0]] = table["group"].to_numpy(np.int64)[inside][at >= 0]
    return there[-1].name, groups


def _verdicts(pool: Pool, *, ids: NDArray[Any]) -> tuple[Mask, Mask, str]:
    """Returns which pairs people judged wrong and which correct, (N,) each, and a fingerprint of both."""
    if not (pool.path / REVIEW).is_file():
        return np.zeros(len(ids), np.bool_), np.zeros(len(ids), np.bool_), ""
    with Review.open(pool.path) as review:
        given = review.current_verdicts()
    verdict = dict(zip(given["pair_id"], given["verdict"], strict=True))
    wrong = {pair_id for pair_id, word in verdict.items() if word not in HARMLESS}
    right = {pair_id for pair_id, word in verdict.items() if word == Verdict.CORRECT}
    text = "\n".join([*sorted(wrong), "", *sorted(right)])
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16] if wrong or right else ""
    masks = (np.fromiter((i in held for i in ids), dtype=np.bool_, count=len(ids)) for held in (wrong, right))
    barred, confirmed = masks
    return barred, confirmed, mark


def _columns(pool: Pool, runs: list[Artifact], *, count: int) -> tuple[dict[str, ScoreColumn], dict[str, ScoreColumn]]:
    """Returns the ranking column of every method, and every column by its own name, audit mode before paper mode."""
    scores: dict[str, ScoreColumn] = {}
    columns: dict[str, tuple[bool, ScoreColumn]] = {}
    for artifact in runs:
        described: list[Mapping[str, Any]] = artifact.record.get("columns", [])
        table = pool.table(SCORES, artifact.name)
        rows = table["row"].to_numpy(np.int64)
        leading: set[str] = set()
        for entry in sorted(described, key=lambda entry: str(entry["method"]).endswith("_audit")):
            values = np.full(count, np.nan)
            values[rows] = table[str(entry["column"])].to_numpy(dtype=np.float64, na_value=np.nan)
            higher = cast(Literal["suspect", "valuable", "neutral"], entry.get("higher_is", "neutral"))
            column = ScoreColumn(values, higher, bool(entry.get("signed", False)))
            name, audit = str(entry.get("name", entry["column"])), str(entry["method"]).endswith("_audit")
            if audit or not columns.get(name, (False,))[0]:  # a newer run in paper mode takes no audit score's place
                columns[name] = audit, column
            if entry["method"] not in leading:
                leading.add(str(entry["method"]))
                scores[str(entry["method"])] = column
    return scores, {name: column for name, (_, column) in columns.items()}


def _embeddings(pool: Pool, stored: Features) -> Embeddings:
    image, text = (
        _projected(features, head, done=stored.done)
        for features, head in ((stored.image, stored.heads.image), (stored.text, stored.heads.text))
    )
    prompts: dict[str, NDArray[np.float32]] = {}
    if stored.name in {artifact.name for artifact in pool.tables(PROMPTS)}:
        labels = pool.table(PROMPTS, stored.name, ["label"])["label"]
        vectors = np.asarray(pool.arrays(PROMPTS, stored.name)["text"], np.float32) @ stored.heads.text.T
        prompts = {str(label): vector for label, vector in zip(labels, vectors, strict=True)}
    return Embeddings(image, text, prompts)


def _projected(features: NDArray[Any], head: NDArray[np.float32], *, done: Mask) -> NDArray[np.float16]:
    """Returns unit embeddings (N, D) in half precision; zeros where there are no features."""
    out = np.zeros((len(features), len(head)), np.float16)
    for start in range(0, len(features), CHUNK):
        part = np.asarray(features[start : start + CHUNK], dtype=np.float32) @ head.T
        lengths = np.linalg.norm(part, axis=1, keepdims=True)
        unit = part / np.where(lengths > 0, lengths, 1)
        unit[~done[start : start + CHUNK]] = 0
        out[start : start + CHUNK] = unit
    return out

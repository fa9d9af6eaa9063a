"""The health of a pool: what is odd about its pairs, counted, each count with the rows behind it.

A row here is a number among all input rows, which is also the address of its image. The later copy of an exact pair
is not kept, so groups of equal images are looked for among the rows of outcome `duplicate` as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chips_core.data import Flag
from chips_core.insight.duplicates import Duplicates, Group, find_duplicates
from chips_core.outcomes import Outcome
from chips_core.store import Pool

COLUMNS = ["pair_id", "caption", "label", "split", "group", "outcome", "flags", "image_sha256"]
CUTS, NEAR = "captions", "duplicates"  # kinds of tables
Weight = Literal["look", "know"]
OF_FLAGS = {
    Flag.UNINFORMATIVE: "The caption says next to nothing about the image.",
    Flag.PATIENT_DATA: "The caption or the file's header may hold names, dates or numbers of a patient.",
    Flag.BURNED_IN: "Text may be burned into the pixels; it may name the patient.",
    Flag.ONE_COLOUR: "The image is of one colour.",
    Flag.TINY: "The shorter side has fewer than 16 pixels.",
    Flag.EXTREME_SHAPE: "One side is more than ten times the other.",
    Flag.SEVERAL_FRAMES: "Only the first frame, of a volume the middle slice, is used.",
    Flag.NOT_FINITE: "Some pixels are not numbers.",
}
LOOK = (Flag.UNINFORMATIVE, Flag.PATIENT_DATA, Flag.BURNED_IN, Flag.ONE_COLOUR, Flag.NOT_FINITE)


@dataclass(frozen=True)
class Finding:
    """One kind of oddity.

    Attributes:
        key: its name in addresses.
        title: as read in the list.
        meaning: one sentence: what it is and why it matters.
        weight: `look` where pairs are probably wrong or results are flattered, `know` for what one should know of.
        rows: the input rows, group by group.
        groups: how many groups they fall into; 0 where they stand alone.
        numbers: of each row's group, from 1; empty where they stand alone.
    """

    key: str
    title: str
    meaning: str
    weight: Weight
    rows: tuple[int, ...]
    groups: int = 0
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Health:
    """What was found, the weightiest first; `near_known` tells whether near duplicates were looked for."""

    findings: tuple[Finding, ...]
    near_known: bool
    pairs: int

    def finding(self, key: str) -> Finding | None:
        """Returns the finding of that key."""
        return next((found for found in self.findings if found.key == key), None)


@dataclass(frozen=True)
class HealthPair:
    """One pair of a finding, as a card shows it; the remark names its group, its split and its label."""

    row: int
    pair_id: str
    caption: str
    remark: str


def health_of(pool: Pool) -> Health:
    """Returns the findings of a pool; computed once for each state of its manifest."""
    return _health(pool.path, (pool.path / "pool.json").stat().st_mtime_ns)


def pairs_of(pool: Pool, finding: Finding, *, first: int = 0, count: int = 12) -> list[HealthPair]:
    """Returns some pairs of a finding, from the `first` on."""
    chosen = slice(first, first + count)
    rows, numbers = finding.rows[chosen], finding.numbers[chosen] or (0,) * count
    pairs = _columns(pool.path, (pool.path / "pool.json").stat().st_mtime_ns).iloc[list(rows)]
    with_label = finding.key == "labels" or not finding.groups
    return [
        HealthPair(row, str(pair_id), str(caption), _remark(number, split, label if with_label else ""))
        for row, number, pair_id, caption, split, label in zip(
            rows, numbers, pairs["pair_id"], pairs["caption"], pairs["split"], pairs["label"], strict=False
        )
    ]


def _remark(number: int, *parts: object) -> str:
    return " · ".join(text for text in (f"group {number:,}" if number else "", *map(str, parts)) if text)


def finding_table(health: Health) -> pd.DataFrame:
    """Returns one line a finding: finding, pairs, groups (none where all stand alone), meaning."""
    lines = [
        {
            "finding": found.title,
            "pairs": len(found.rows),
            "groups": f"{found.groups:,}" if found.groups else "",
            "what it means": found.meaning,
        }
        for found in health.findings
    ]
    table = pd.DataFrame(lines, columns=["finding", "pairs", "groups", "what it means"])
    return table if (table["groups"] != "").any() else table.drop(columns="groups")


@lru_cache(maxsize=4)
def _columns(folder: Path, _version: int) -> pd.DataFrame:
    return Pool.open(folder).pairs(COLUMNS)


@lru_cache(maxsize=4)
def _health(folder: Path, version: int) -> Health:
    pool, pairs = Pool.open(folder), _columns(folder, version)
    near, near_known = _near_groups(pool)
    kept = int((pairs["outcome"] == Outcome.KEPT).sum())
    found = [*_of_copies(pairs, near), *_of_captions(pool, pairs), *_of_flags(pairs), *_of_outcomes(pairs)]
    there = [finding for finding in found if finding.rows]
    return Health(tuple(sorted(there, key=lambda finding: finding.weight == "know")), near_known, kept)


def _near_groups(pool: Pool) -> tuple[tuple[Group, ...], bool]:
    tables = pool.tables(NEAR)
    if not tables:
        return (), False
    table = pool.table(NEAR, tables[-1].name)
    groups = table.groupby("group", sort=True)["input_row"]
    return tuple(Group(tuple(sorted(int(row) for row in rows)), "near") for _, rows in groups), True


def _of_copies(pairs: pd.DataFrame, near: Sequence[Group]) -> list[Finding]:
    """Returns what equal and nearly equal images tell: leaks between splits, contradictions, repetitions."""
    found = _duplicates(pairs, near)
    same = "the same image or nearly the same" if near else "the same image"
    return [
        _grouped(
            "leaks",
            "Image in several splits",
            f"Pairs of different splits show {same}: tests are flattered.",
            found.leaks,
        ),
        _grouped(
            "patients",
            "Patient in several splits",
            "Pairs of one patient lie in different splits: tests are flattered.",
            found.patients,
        ),
        _grouped("labels", "Same image, other label", f"Pairs with {same} carry different labels.", found.other_labels),
        _grouped(
            "captions",
            "Same image, other caption",
            f"Pairs with {same} have different captions: often one of them is wrong.",
            found.other_captions,
        ),
        _grouped("exact", "Exact duplicates", "The very same image file, several times.", found.exact, weight="know"),
        _grouped(
            "near",
            "Near duplicates",
            "Nearly the same picture: saved, cropped or annotated anew.",
            found.near,
            weight="know",
        ),
    ]


def _duplicates(pairs: pd.DataFrame, near: Sequence[Group]) -> Duplicates:
    """Returns the groups by input row; rows that were neither kept nor copies of kept ones do not count."""
    counted = pairs["outcome"].isin([str(Outcome.KEPT), str(Outcome.DUPLICATE)]).to_numpy()

    def column(name: str) -> list[str]:
        return list(np.where(counted, pairs[name].to_numpy(object), ""))

    return find_duplicates(
        sha256=column("image_sha256"),
        captions=column("caption"),
        labels=column("label"),
        splits=column("split"),
        patients=column("group"),
        near=near,
    )


def _grouped(key: str, title: str, meaning: str, groups: Sequence[Group], *, weight: Weight = "look") -> Finding:
    rows = tuple(row for group in groups for row in group.rows)
    numbers = tuple(number for number, group in enumerate(groups, 1) for _ in group.rows)
    return Finding(key, title, meaning, weight, rows, groups=len(groups), numbers=numbers)


def _of_captions(pool: Pool, pairs: pd.DataFrame) -> list[Finding]:
    """Returns the captions that are missing and those that the model sees only in part."""
    empty = _rows(pairs["outcome"] == Outcome.EMPTY_CAPTION)
    found = [Finding("empty", "Missing captions", "There is an image but no caption; not kept.", "look", empty)]
    tables = pool.tables(CUTS)
    if tables:
        cut = set(pool.table(CUTS, tables[-1].name, ["pair_id"])["pair_id"])
        rows = _rows(pairs["pair_id"].isin(cut) & (pairs["outcome"] == Outcome.KEPT))
        length = int(tables[-1].record.get("context_length", 0))
        words = f"The model reads {length:,} tokens; the rest of these captions is lost on it."
        found.append(Finding("cut", "Captions cut", words, "know", rows))
    return found


def _of_flags(pairs: pd.DataFrame) -> list[Finding]:
    kept = np.flatnonzero((pairs["outcome"] == Outcome.KEPT).to_numpy())
    flags = pairs["flags"].to_numpy(object)
    rows: dict[str, list[int]] = {}
    for row in kept.tolist():
        for flag in flags[row]:
            rows.setdefault(str(flag), []).append(row)
    return [
        Finding(
            f"flag-{flag.name.lower()}",
            str(flag).capitalize(),
            OF_FLAGS.get(flag, "Noted when the image was read; it was converted for the model."),
            "look" if flag in LOOK else "know",
            tuple(rows.get(str(flag), ())),
        )
        for flag in Flag
    ]


def _of_outcomes(pairs: pd.DataFrame) -> list[Finding]:
    meanings = {
        Outcome.BROKEN: ("Broken images", "The file is there and cannot be read whole; not kept."),
        Outcome.MISSING: ("Missing images", "The file is not there; not kept."),
        Outcome.REFUSED: ("Refused rows", "Unsafe or ambiguous; the reason stands with the outcomes. Not kept."),
    }
    return [
        Finding(f"outcome-{outcome.name.lower()}", title, words, "know", _rows(pairs["outcome"] == outcome))
        for outcome, (title, words) in meanings.items()
    ]


def _rows(mask: "pd.Series[bool]") -> tuple[int, ...]:
    found: NDArray[np.int64] = np.flatnonzero(mask.to_numpy())
    return tuple(found.tolist())

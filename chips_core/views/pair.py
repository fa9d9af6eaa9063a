"""Everything that is known about one pair, as plain tables and sentences; no sentence holds text of the data set."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from chips_core.data import ImageLimits, ImageOpener
from chips_core.errors import ChipsError
from chips_core.insight.duplicates import NEAR, image_hash
from chips_core.outcomes import Outcome
from chips_core.store import Pool
from chips_core.views.nearby import Near
from chips_core.views.queue import Ranking, Scored

NOTABLE = 0.8  # a share of the pool from which a part is worth a sentence
AGREEING = 3  # of the nearest images, to be worth a sentence
MOST_PARTS = 6
LISTED = 24  # other pairs of a patient, or copies of an image, that are shown
DUPLICATES = "duplicates"  # the kind of table that the duplicates step writes
LIKELY = 0.9  # cosine from which two images are worth comparing pixel by pixel

PHRASES: Mapping[str, str] = MappingProxyType(
    {
        "peer_loss": "For pairs like this one, captions fit their own images better than here.",
        "influence": "Without it, the loss on the target set and on the other pairs would fall.",
        "label_contradiction": "Its caption speaks for another label than the one it has.",
        "delta_loss_if_removed": "Without it, the loss on the target set would fall: it does harm.",
        "clipscore": "Image and caption are less alike than in most pairs.",
        "negcliploss": "Other captions win its image, or other images win its caption.",
        "loss_residual": "Its loss is higher than that of pairs with similar captions.",
        "self_confidence": "Its image hardly looks like its label.",
        "label_quality": "Its image looks like another label than the one it has.",
        "shapley_value": "Its label disagrees with those of similar images.",
    }
)
"""By column: what to say when a pair stands out by it."""
SIGNED = MappingProxyType(
    {"peer_loss": 1, "influence": 1, "label_contradiction": 1, "loss_residual": 1, "delta_loss_if_removed": -1}
)  # the sign without which the sentence would not be true


@dataclass(frozen=True)
class Part:
    """One score of a pair as a reason: `suspicion` is the share of the pool that is less suspect by it."""

    column: str
    title: str
    value: float
    suspicion: float
    sentence: str  # "" when the pair does not stand out by it


@dataclass(frozen=True)
class Whole:
    """A pair of the pool, kept or not.

    Attributes:
        row: its row among the kept pairs; None when it was not kept.
        input_row: its number among all input rows, which addresses its image.
        values: every column of the pair.
    """

    row: int | None
    input_row: int
    values: Mapping[str, str]

    @property
    def pair_id(self) -> str:
        """The pair's id."""
        return self.values["pair_id"]


def parts_of(scored: Scored, row: int) -> tuple[Part, ...]:
    """Returns the scores behind a pair's place in the queue, the most telling first."""
    found = [part for ranking in scored.rankings if (part := _part(scored, ranking, row)) is not None]
    unique = {_short(part.column): part for part in reversed(found)}  # the first ranking of a kind speaks for it
    return tuple(sorted(unique.values(), key=lambda part: -part.suspicion)[:MOST_PARTS])


def reasons(scored: Scored, row: int, *, near: Near | None) -> tuple[str, ...]:
    """Returns why a pair is worth a look, in plain words, the strongest reason first; at least one sentence."""
    said = [part.sentence for part in parts_of(scored, row) if part.sentence]
    if near is not None:
        said += _by_captions(near)
        said += _by_neighbours(scored.pairs, row, near)
    return tuple(said) or ("Nothing about this pair stands out by the scores of this run.",)


def find_pair(pool: Pool, pair_id: str) -> Whole | None:
    """Returns the pair of that id, a kept one before one that was not kept; None when there is none."""
    pairs = pool.pairs()
    found = np.flatnonzero((pairs["pair_id"] == pair_id).to_numpy())
    if not len(found):
        return None
    kept = (pairs["outcome"] == Outcome.KEPT).to_numpy()
    at = int(next((row for row in found if kept[row]), found[0]))
    values = {
        str(name): ", ".join(map(str, value)) if isinstance(value, list | np.ndarray) else str(value)
        for name, value in pairs.iloc[at].items()
    }
    return Whole(int(kept[:at].sum()) if kept[at] else None, at, values)


def facts_table(whole: Whole) -> pd.DataFrame:
    """Returns every column of the pair that says something, but its caption."""
    shown = {name: value for name, value in whole.values.items() if value not in ("", "0") and name != "caption"}
    return pd.DataFrame({"column": list(shown), "value": list(shown.values())})


def score_table(scored: Scored, row: int) -> pd.DataFrame:
    """Returns every score of the pair in a run: score, value, share, how to read it, meaning.

    The share of the scored pairs that are less suspect; of those below it where a score says nothing of suspicion.
    """
    lines = []
    for ranking in scored.rankings:
        below = scored.standing(ranking.column, row)
        if below is not None:
            lines.append(
                {
                    "score": ranking.title,
                    "value": float(scored.scores[ranking.column][row]),
                    "share": 1 - below if ranking.suspect == "low" else below,
                    "suspect": ranking.suspect,
                    "meaning": ranking.meaning,
                }
            )
    return pd.DataFrame(lines, columns=["score", "value", "share", "suspect", "meaning"])


def same_patient(pairs: pd.DataFrame, row: int, *, most: int = LISTED) -> tuple[int, ...]:
    """Returns the rows of the patient's other pairs."""
    return _others_with(pairs, row, column="group", most=most)


def same_image(pairs: pd.DataFrame, row: int, *, most: int = LISTED) -> tuple[int, ...]:
    """Returns the rows of the other pairs with exactly this image."""
    return _others_with(pairs, row, column="image_sha256", most=most)


def nearly_same_image(
    pool: Pool, pairs: pd.DataFrame, row: int, *, near: Near | None, skip: Sequence[int] = ()
) -> tuple[int, ...]:
    """Returns the rows whose images are nearly this picture.

    Args:
        pool: where the groups of the duplicates step are read, if it ran.
        pairs: the kept pairs, from `kept_pairs`.
        row: the pair.
        near: its neighbours; where the step did not run, the likely ones among them are opened and compared.
        skip: rows that are known to be the same picture.
    """
    stored = pool.tables(DUPLICATES)
    found = _stored_group(pool, pairs, row, name=stored[-1].name) if stored else _by_hash(pool, row, near=near)
    return tuple(other for other in found if other not in skip)[:LISTED]


def history_table(events: pd.DataFrame) -> pd.DataFrame:
    """Returns the pair's events for reading, the newest first: when, who, verdict, note, and as what it stands."""
    said = events["verdict"].where(
        events["verdict"].notna(), events["kind"].where(events["kind"] == "note", "taken back")
    )
    table = pd.DataFrame(
        {
            "when": pd.to_datetime(events["created"], utc=True, errors="coerce"),
            "who": events["reviewer"],
            "verdict": said,
            "note": events["note"].where(events["note"].notna(), ""),
        }
    )
    return table.iloc[::-1].assign(**{"stands as": _standing(events.iloc[::-1])}).reset_index(drop=True)


def _standing(events: pd.DataFrame) -> list[str]:
    """Returns as what each event stands, the newest first: of each reviewer's verdicts the last, the pair's of them."""
    found: list[str] = []
    judged: set[str] = set()
    noted = False
    columns = (events[name] for name in ("kind", "reviewer", "verdict", "note", "undone"))
    for kind, who, verdict, note, undone in zip(*columns, strict=True):
        if undone:
            found.append("taken back")
            continue
        if kind == "note":
            found.append("replaced" if noted else "the pair's note")
        elif who in judged or verdict is None:
            found.append("replaced" if who in judged else "")
        else:
            found.append("the reviewer's own" if "the pair's verdict" in found else "the pair's verdict")
        judged |= {who} if kind == "verdict" else set()
        noted |= bool(note)
    return found


def _short(column: str) -> str:
    """Returns a column's name without the method's."""
    return column.rsplit(".", 1)[-1]


def _part(scored: Scored, ranking: Ranking, row: int) -> Part | None:
    short = _short(ranking.column)
    below = scored.standing(ranking.column, row) if short in PHRASES else None
    if below is None:
        return None
    if scored.is_constant(ranking.column):  # such as label contradiction where there are no labels
        return None
    value = float(scored.scores[ranking.column][row])
    suspicion = below if ranking.high_first else 1 - below
    stands_out = suspicion >= NOTABLE and value * SIGNED.get(short, 0) >= 0
    return Part(ranking.column, ranking.title, value, suspicion, PHRASES[short] if stands_out else "")


def _by_captions(near: Near) -> list[str]:
    if not near.better:
        return []
    drawn = " looked at" if near.drawn else ""
    verb = "fits" if near.better == 1 else "fit"
    return [f"{near.better:,} of {near.captions:,} different captions{drawn} {verb} its image better than its own."]


def _by_neighbours(pairs: pd.DataFrame, row: int, near: Near) -> list[str]:
    """Returns what the nearest images agree on against this pair: a caption, else a label."""
    for column, words in (("caption", "share one caption, and it is not this one"), ("label", "share another label")):
        own = pairs[column].iloc[row]
        values = Counter(pairs[column].iloc[list(near.rows)])
        value, count = values.most_common(1)[0] if values else ("", 0)
        if value and own and value != own and count >= AGREEING:
            return [f"{count} of its {len(near.rows)} nearest images {words}."]
    return []


def _stored_group(pool: Pool, pairs: pd.DataFrame, row: int, *, name: str) -> list[int]:
    table = pool.table(DUPLICATES, name)
    inputs = pairs["input_row"].to_numpy()
    own = table["group"][table["input_row"] == inputs[row]]
    members = table["input_row"][table["group"].isin(own)]
    return [int(other) for other in np.flatnonzero(np.isin(inputs, members)) if other != row]


def _by_hash(pool: Pool, row: int, *, near: Near | None) -> list[int]:
    """Returns which of the nearest images have nearly the same perceptual hash; opens only the likely ones."""
    both = zip(near.rows, near.similarity, strict=True) if near is not None else ()
    likely = [other for other, similarity in both if similarity >= LIKELY]
    locators = pool.kept(["image"])["image"] if likely else None
    if locators is None:
        return []
    opener = ImageOpener(pool.source_root, limits=ImageLimits())
    hashes = {}
    for other in (row, *likely):
        try:
            hashes[other] = image_hash(opener.read(str(locators.iloc[other])).image)
        except ChipsError:
            continue  # an image that cannot be read is told where it is shown
    if row not in hashes:
        return []
    own = hashes.pop(row)
    return [other for other, found in hashes.items() if int(np.bitwise_count(own ^ found).sum()) <= NEAR]


def _others_with(pairs: pd.DataFrame, row: int, *, column: str, most: int) -> tuple[int, ...]:
    value = pairs[column].iloc[row]
    if not value:
        return ()
    found = np.flatnonzero((pairs[column] == value).to_numpy())
    return tuple(int(other) for other in found if other != row)[:most]

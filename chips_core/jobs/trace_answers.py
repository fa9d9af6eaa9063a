"""What a trace answers: the wrong predictions, the pairs behind one of them, and what their removal would do."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from chips_core.errors import InputError
from chips_core.influence.endpoint import Heads, embed
from chips_core.influence.passes import Tick
from chips_core.jobs.trace_pool import Prepared
from chips_core.store import Pool
from chips_core.verify import zero_shot
from chips_core.verify.trace_search import Mode, Ranked, Way, answered

TOLD = 50  # answers whose probabilities are told: the likeliest, and the right ones
NEAR_COPIES = "duplicates"  # the kind of table with the groups of nearly equal images


def place_of(ready: Prepared, pair_id: str) -> int:
    """Returns the place of a test image in the split."""
    places = np.flatnonzero((ready.test.pairs["pair_id"] == pair_id).to_numpy())
    if not len(places):
        raise InputError("No test image has that id.", fix="run `chips trace POOL` without --image to list the errors.")
    return int(places[0])


def explain(
    ready: Prepared, places: Sequence[int], *, mode: Mode, top: int, way: Way = "exact", tick: Tick | None = None
) -> pd.DataFrame:
    """Returns the most harmful and the most helpful pairs for one test image, or for all errors of a cell.

    Columns: place (in the tracer), row (of the kept pairs), pair_id, label, caption, influence, pos, neg,
    delta_loss_if_removed, similarity (to the nearest of the images), same_patient, same_image, near_copy, role. The
    most harmful pair comes first, the most helpful one last.

    Args:
        ready: the pool.
        places: of the test images.
        mode: what ranks.
        top: pairs of either kind.
        way: `exact`, at the heads that came of the fit; `fit`, through the whole fit, in the time of a fit; `quick`,
            only the pairs that a first look at all of them puts first.
        tick: told of the pairs of each step of the fit.
    """
    if mode == "relative" and ready.sizes is None:
        raise InputError("The sizes of the removals are not measured yet.", fix="use the plain mode, or prepare first.")
    images, labels = _images(ready, places)
    found = answered(ready.tracer, images, labels, sizes=ready.sizes, mode=mode, top=top, way=way, tick=tick)
    return _lines(ready, places, found)


def role(pos: float, neg: float) -> str:
    """Returns in words by which of its roles a pair moved the prediction."""
    wrong = pos + neg < 0
    mine, both = abs(pos) >= abs(neg), min(abs(pos), abs(neg)) > 0.5 * max(abs(pos), abs(neg)) and pos * neg > 0
    if both:
        return (
            f"as a partner and as a wrong answer of others, it pushed {'away from' if wrong else 'towards'} the truth"
        )
    if mine:
        return f"as a partner: its caption pulled such images {'away from' if wrong else 'towards'} the truth"
    return f"as a wrong answer of others: it pushed such images {'away from' if wrong else 'towards'} the truth"


def what_if(ready: Prepared, places: Sequence[int], removed: Sequence[int], *, retrain: bool) -> dict[str, Any]:
    """Returns the probabilities of the answers before, as predicted without some pairs, and as really refitted.

    Where there are many answers, those of the right one and of the likeliest ones.

    Args:
        ready: the pool.
        places: test images; probabilities and losses are their means.
        removed: places of the pairs in the tracer.
        retrain: whether to really fit the heads again.
    """
    members = torch.zeros(len(ready.found.rows), dtype=torch.bool)
    members[torch.tensor(list(removed), dtype=torch.int64)] = True
    models: dict[str, Heads] = {"before": ready.tracer.heads, "predicted": ready.tracer.edited(members)}
    if retrain:
        models["retrained"] = ready.tracer.retrained(members)
    images, labels = _images(ready, places)
    found = {name: torch.softmax(ready.tracer.logits(images, heads).double(), 1) for name, heads in models.items()}
    told = _told(torch.stack([each.mean(0) for each in found.values()]), labels)
    seen = {
        name: {
            "loss": float(ready.tracer.losses(images, labels, models[name]).mean()),
            "right": int((each.argmax(1) == labels).sum()),
            "probabilities": {ready.classes[code]: float(each[:, code].mean()) for code in told},
        }
        for name, each in found.items()
    }
    return {"removed": int(members.sum()), **seen}


def image_facts(ready: Prepared, place: int) -> dict[str, Any]:
    """Returns what is known of a test image and what the model makes of it."""
    code, guess = int(ready.test.labels[place]), int(ready.predicted[place])
    probabilities = torch.softmax(ready.logits[place].double(), 0)
    told = _told(probabilities[None], torch.tensor([code]))
    return {
        "pair_id": str(ready.test.pairs["pair_id"].iloc[place]),
        "label": ready.classes[code] if code >= 0 else None,
        "predicted": ready.classes[guess],
        "probabilities": {ready.classes[code]: float(probabilities[code]) for code in told},
        "also_in_training": bool(ready.test.leaked[place]),
    }


def errors_table(ready: Prepared) -> pd.DataFrame:
    """Returns one line a wrong prediction, the surest first: place, row, pair_id, label, predicted, confidence."""
    places = np.flatnonzero(ready.wrong)
    confidence = torch.softmax(ready.logits.double(), 1).max(1).values.numpy()[places]
    names = np.asarray(ready.classes, dtype=object)
    table = pd.DataFrame(
        {
            "place": places,
            "row": ready.test.rows[places],
            "pair_id": ready.test.pairs["pair_id"].iloc[places].astype(str).to_numpy(),
            "label": names[ready.test.labels[places]],
            "predicted": names[ready.predicted[places]],
            "confidence": confidence,
            "also_in_training": ready.test.leaked[places],
        }
    )
    return table.sort_values(["confidence", "pair_id"], ascending=[False, True], ignore_index=True)


def accuracy_of(ready: Prepared) -> dict[str, Any]:
    """Returns what the fitted model gets right, by class and source, its calibration and intervals, as plain data."""
    groups, sources = (ready.test.pairs[name].astype(str).tolist() for name in ("group", "source"))
    found = zero_shot.measured(ready.logits, ready.test.labels, classes=ready.classes, groups=groups, sources=sources)
    return found.as_dict()


def plain_lines(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns lines of plain Python values."""
    return [
        {str(key): value.item() if isinstance(value, np.generic) else value for key, value in line.items()}
        for line in table.to_dict(orient="records")
    ]


def _lines(ready: Prepared, places: Sequence[int], found: Ranked) -> pd.DataFrame:
    chosen = found.places.numpy()
    pairs = ready.found.pairs.iloc[ready.found.rows[chosen]]
    test = ready.test.pairs.iloc[list(places)]
    head = ready.tracer.heads.image
    asked, _ = embed(ready.test.features.image[list(places)], head)
    answers, _ = embed(ready.found.inputs.pool.image[found.places], head)
    similarity = (answers @ asked.T).double()
    table = pd.DataFrame(
        {
            "place": chosen,
            "row": ready.found.rows[chosen],
            "pair_id": pairs["pair_id"].astype(str).to_numpy(),
            "label": pairs["label"].astype(str).to_numpy(),
            "caption": pairs["caption"].astype(str).to_numpy(),
            "influence": found.influence.numpy(),
            "pos": found.pos.numpy(),
            "neg": found.neg.numpy(),
            "delta_loss_if_removed": (found.pos + found.neg).numpy(),
            "similarity": similarity.max(1).values.numpy(),
            "same_patient": pairs["group"].isin(set(test["group"]) - {""}).to_numpy(),
            "same_image": pairs["image_sha256"].isin(set(test["image_sha256"]) - {""}).to_numpy(),
            "near_copy": _near_copies(ready.pool, pairs.index.to_numpy(), asked=ready.test.rows[list(places)]),
            "role": [role(pos, neg) for pos, neg in zip(found.pos.tolist(), found.neg.tolist(), strict=True)],
        }
    )
    return table.sort_values(["influence", "pair_id"], kind="stable", ignore_index=True)


def _near_copies(pool: Pool, rows: Any, *, asked: Any) -> Any:
    """Returns which kept pairs show nearly the same picture as the images asked about, as the duplicates step found."""
    stored = pool.tables(NEAR_COPIES)
    if not stored:
        return np.zeros(len(rows), np.bool_)
    groups = pool.table(NEAR_COPIES, stored[-1].name)
    inputs = np.flatnonzero((pool.pairs(["outcome"])["outcome"] == "kept").to_numpy())
    mine = set(groups.loc[groups["input_row"].isin(inputs[asked]), "group"])
    near = set(groups.loc[groups["group"].isin(mine), "input_row"])
    return np.isin(inputs[rows], list(near))


def _images(ready: Prepared, places: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.from_numpy(ready.test.labels[list(places)])
    if not len(places) or bool((labels < 0).any()):
        raise InputError("A test image without a label cannot be traced.", fix="choose one that has a label.")
    return ready.test.features.image[list(places)], labels


def _told(probabilities: torch.Tensor, labels: torch.Tensor) -> list[int]:
    """Returns the codes of the right answers and of the likeliest ones of any model (M, C), in order."""
    likeliest = torch.argsort(probabilities.amax(0), descending=True, stable=True)[:TOLD]
    return sorted({*likeliest.tolist(), *labels[labels >= 0].tolist()})

"""What the reviewer in the browser is told: one pair, why it is here, what lies near it, and how the queue stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chips_core.numbers import number
from chips_core.views import pair as pairs
from chips_core.views import queue as queues
from chips_core.views.nearby import Near
from chips_core.views.queue import Codes
from chips_core.views.verdicts import CHOICES, FIRST, WRONG_MEANS, Answer, Held, tally
from chips_core.views.walk import Walk, place_of
from pages.parts.images import image_url
from pages.parts.pair_address import pair_address
from pages.parts.review.desk import Desk

LONGEST, LONGEST_ALONE = 4_000, 100_000  # characters of the pair's caption in the queue, and in its own view
NEAR_TEXT = 180  # of other captions beside it
ALMOST = 0.999  # a share is never told as all
AHEAD = 3  # pairs whose images are fetched in advance
KEY_OF = {str(choice.verdict): choice.key for choice in CHOICES}
FACTS = ("label", "modality", "split", "group", "source")


@dataclass(frozen=True)
class Screen:
    """What is on screen: where the person is, the verdicts, the pair's note, and what came of the last act."""

    walk: Walk
    codes: Codes
    note: str
    told: Answer | None = None
    reply: int = 0


def payload(desk: Desk, screen: Screen) -> tuple[dict[str, Any], list[int]]:
    """Returns the message for the browser, and the rows of the pairs that come next."""
    data: dict[str, Any] = {
        "list": desk.name,
        "reply": screen.reply,
        "told": {"text": screen.told.text, "ok": screen.told.saved} if screen.told else None,
        "progress": _progress(desk, screen),
        "precision": [] if desk.hide or desk.stays else _precision(desk),
        "stays": desk.stays,
        "pair": None,
        "seen": 0,
        "preload": [],
    }
    row = screen.walk.row
    if row is None:
        return {**data, "done": _finished(desk, screen)}, []
    given, near = desk.given(row), desk.nearby.of(row) if desk.nearby else None
    held = given[0] if given else None
    hidden = desk.hide and held is None
    ahead = _ahead(desk, screen)
    shown = {
        "pair": _pair(desk, row),
        "seen": held.event if held else 0,
        "verdict": {"key": KEY_OF.get(held.verdict, ""), "words": _given(given)} if held else None,
        "note": screen.note,
        "why": _HIDDEN if hidden else _why(desk, row, near=near),
        "better": _better(desk, near) if near and not hidden else None,
        "near": _near(desk, row, near),
        "preload": [_image(desk, other) for other in ahead],
    }
    return {**data, **shown}, ahead


_HIDDEN = {"title": "Scores are hidden until the verdict", "sentences": [], "parts": []}


def _image(desk: Desk, row: int, *, size: int = 1024) -> str:
    return image_url(desk.scored.pool_id, int(desk.scored.pairs["input_row"].iloc[row]), size=size)


def _pair(desk: Desk, row: int) -> dict[str, Any]:
    line, most = desk.scored.pairs.iloc[row], LONGEST_ALONE if desk.stays else LONGEST
    return {
        "id": line["pair_id"],
        "caption": line["caption"][:most],
        "more": len(line["caption"]) > most,
        "facts": [["pair", line["pair_id"]], *[[name, line[name][:300]] for name in FACTS if line[name]]],
        "url": _image(desk, row),
        "open": pair_address(desk.pool, line["pair_id"]),
    }


def _given(given: Sequence[Held]) -> str:
    """Returns whose verdicts a pair has; where people differ, the last is the pair's."""
    last, *others = (f"{one.verdict}, by {one.reviewer}" for one in given)
    return f"Verdict: {last}" + (f" (before: {'; '.join(others)})" if others else "")


def _why(desk: Desk, row: int, *, near: Near | None) -> dict[str, Any]:
    parts = [
        {
            "title": part.title,
            "share": round(part.suspicion, 4),
            "text": f"{min(part.suspicion, ALMOST):.1%}",
            "loud": part.suspicion >= pairs.NOTABLE,
            "help": f"More suspect than {part.suspicion:.1%} of the pool. Its value is {number(part.value)}.",
        }
        for part in pairs.parts_of(desk.scored, row)
    ]
    if not desk.scored.rankings:
        return {"title": "Not scored yet", "sentences": [], "parts": []}
    title = "What stands out" if desk.stays else "Why it is here"
    return {"title": title, "sentences": pairs.reasons(desk.scored, row, near=near), "parts": parts}


def _better(desk: Desk, near: Near) -> dict[str, Any]:
    captions = desk.scored.pairs["caption"]
    items = [
        {"text": _cut(captions.iloc[found.row]), "count": f"{found.pairs:,} pair{'s' * (found.pairs != 1)}"}
        for found in near.best
    ]
    title = "Captions of the pool that fit this image better" if items else "No caption of the pool fits it better"
    return {"title": title, "items": items}


def _cut(caption: str) -> str:
    return caption if len(caption) <= NEAR_TEXT else caption[:NEAR_TEXT].rstrip() + "…"


def _near(desk: Desk, row: int, near: Near | None) -> dict[str, Any]:
    table = desk.scored.pairs
    items = []
    for other, cosine in zip(near.rows, near.similarity, strict=True) if near else ():
        line = table.iloc[other]
        same = bool(line["image_sha256"]) and line["image_sha256"] == table["image_sha256"].iloc[row]
        items.append(
            {
                "id": line["pair_id"],
                "url": _image(desk, other, size=192),
                "text": _cut(line["caption"]),
                "label": line["label"][:80],
                "badge": "same image" if same else f"{cosine:.2f}",
                "same": same,
                "open": pair_address(desk.pool, line["pair_id"]),
            }
        )
    return {"title": "Nearest images and their captions", "items": items}


def _progress(desk: Desk, screen: Screen) -> dict[str, Any]:
    count = len(desk.queue)
    judged = int((screen.codes[desk.queue] >= 0).sum())
    text = f"{judged:,} judged · you review as {desk.reviewer}"
    if desk.stays:
        return {"place": "", "text": "", "share": 0.0}
    place = place_of(desk.queue, screen.walk.row)
    if screen.walk.row is None:
        words = f"{count:,} of {count:,}" if count and desk.state == queues.OPEN else "No pair"
    else:
        words = f"{place + 1:,} of {count:,}" if place is not None else "Outside this list"
    return {"place": words, "text": text, "share": round(judged / max(count, 1), 4)}


def _precision(desk: Desk) -> list[dict[str, str]]:
    mine = queues.codes_of(desk.scored, desk.ledger.own(desk.reviewer))
    depths = [*[depth for depth in FIRST if depth < len(desk.queue)], None]
    found = []
    for one in queues.precisions(desk.queue, mine, places=depths):
        depth = f"first {one.places}:" if one.places else "all:"
        text = f"{one.wrong:,} of {one.decided:,} wrong"
        if one.decided:
            found.append({"depth": depth, "text": text, "help": f"By your verdicts. {WRONG_MEANS}"})
    return found


def _ahead(desk: Desk, screen: Screen) -> list[int]:
    """Returns the rows of the next open places."""
    place = place_of(desk.queue, screen.walk.row)
    is_open = queues.open_places(screen.codes, desk.queue, desk.state)
    behind = -1 if place is None else place
    return [int(row) for row in desk.queue[behind + 1 :][is_open[behind + 1 :]][:AHEAD]]


def _finished(desk: Desk, screen: Screen) -> dict[str, Any]:
    codes = screen.codes[desk.queue]
    counts = tally(str(CHOICES[code].verdict) for code in codes.tolist() if code >= 0)
    if not len(desk.queue):
        title, text = "No pair matches", "Widen the filters above."
    elif desk.state == queues.OPEN:
        title = "Every pair of this list has a verdict"
        text = "Z takes the last one back, ← goes back. Choose another order above, or show all pairs."
    else:
        title, text = "No pair of this list is in that state", "Choose another state above."
    return {"title": title, "text": text, "counts": [[word, f"{count:,}"] for word, count in counts]}

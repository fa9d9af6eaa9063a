"""Finding pairs for a page: by id, by words of the caption, by meaning, by likeness to a pair.

Meaning is what the audited model makes of a text. The model needs torch, which no page may wait for: it is loaded by a
process of its own at the first question (`chips_core.views.text_tower`), stays there for the next, and ends with this
one or after a while without questions.
"""

import json
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chips_core.clip import ModelSpec
from chips_core.errors import EncoderMismatch, InputError
from chips_core.insight import search
from chips_core.insight.vectors import Space, embeddings_of
from chips_core.store import Features, Pool
from chips_core.views.map import Floats, PairColumns, Rows

Way = Literal["words", "meaning", "id"]
WAYS: Mapping[Way, str] = {"words": "Words", "meaning": "Meaning", "id": "Id"}
HITS = 100  # of a search by meaning, which has no end of its own
SECONDS = 300.0  # a model that has not answered by then never will
LONGEST_QUERY = 500


@dataclass(frozen=True, eq=False)
class Hits:
    """What a search found.

    Attributes:
        rows: (k,) best first; in the order of the pool where none is better than another.
        sentence: how many, and of what kind, in our own words.
        ranked: whether the order says something.
    """

    rows: Rows
    sentence: str
    ranked: bool = False


def find(pairs: PairColumns, query: str, *, way: Literal["words", "id"]) -> Hits:
    """Returns the pairs whose captions hold every word, or whose ids are, begin with or hold the query."""
    wanted = query.strip()[:LONGEST_QUERY]
    column = "caption" if way == "words" else "pair_id"
    texts = pa.array(pairs.texts(column))
    rows = search.by_words(texts, wanted) if way == "words" else search.by_id(texts, wanted)
    return Hits(rows, _found(way, len(rows)), ranked=way == "id")


def find_meaning(pool: Pool, query: str, *, spec: ModelSpec, k: int = HITS) -> Hits:
    """Returns the pairs whose images are nearest to a text, by the model that the pool was encoded with.

    Args:
        pool: encoded.
        query: what the images should show.
        spec: that model, as `spec_of` or the encode step names it.
        k: how many.
    """
    features = pool.features(verify=False)
    answer = _tower(spec).embedding(query.strip()[:LONGEST_QUERY])
    held = str(features.record.get("encoder_fingerprint", ""))
    if answer.fingerprint != held:
        raise EncoderMismatch(
            f"The model '{spec.title}' on this disk ({answer.fingerprint[:6]}) is not the one that pool "
            f"'{pool.path.name}' was encoded with ({held[:6]}).",
            fix="search by words, or put the model's weights back.",
        )
    vectors, rows = embeddings_of(features, space="image")
    found = search.by_meaning(answer.vector, vectors, k=k)
    return Hits(rows[found.rows], f"The {len(found.rows):,} images nearest to that text.", ranked=True)


def find_similar(pool: Pool, row: int, *, space: Space, k: int = HITS) -> Hits:
    """Returns the pairs most like one pair, by image, by caption or by both; no model is needed for that."""
    features: Features = pool.features(verify=False)
    vectors, rows = embeddings_of(features, space=space)
    place = int(np.searchsorted(rows, row))
    if place == len(rows) or rows[place] != row:
        raise InputError("That pair is not encoded, so nothing can be compared with it.", fix="choose another pair.")
    found = search.similar_to(place, vectors, k=k)
    words = {"image": "images", "text": "captions", "joint": "pairs"}[space]
    return Hits(rows[found.rows], f"The {len(found.rows):,} {words} most like those of this pair.", ranked=True)


@dataclass(frozen=True, eq=False)
class _Embedded:
    """A text as the model sees it, and which model that is."""

    vector: Floats
    fingerprint: str


class TextTower:
    """A model in a process of its own that answers texts with vectors; begun at the first question."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._fingerprint = ""

    def embedding(self, text: str) -> _Embedded:
        """Returns the unit embedding of a text, (d,)."""
        with self._lock:
            if self._child is None or self._child.poll() is not None:
                self._begin()
            try:
                answer = self._ask({"text": text})
            except InputError:
                self._end()
                raise
        vector: NDArray[np.float32] = np.asarray(answer["vector"], dtype=np.float32)
        return _Embedded(vector, self._fingerprint)

    def _begin(self) -> None:
        command = [sys.executable, "-m", "chips_core.views.text_tower"]
        self._child = subprocess.Popen(  # noqa: S603 -- an argument list of our own words, no shell
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            self._fingerprint = str(self._ask(asdict(self._spec))["fingerprint"])
        except InputError:
            self._end()
            raise

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        child = self._child
        assert child is not None  # noqa: S101 -- begun above
        assert child.stdin is not None  # noqa: S101 -- pipes were asked for
        assert child.stdout is not None  # noqa: S101
        try:
            child.stdin.write(json.dumps(question).encode() + b"\n")
            child.stdin.flush()
        except OSError as error:
            raise _silent() from error
        answer: dict[str, Any] = json.loads(_line(child.stdout))
        if "what" in answer:
            raise InputError(answer["what"], fix=answer["fix"])
        return answer


@lru_cache(maxsize=1)
def _tower(spec: ModelSpec) -> TextTower:
    return TextTower(spec)


def _line(stream: IO[bytes]) -> bytes:
    """Returns the next line of a pipe, waiting for it no longer than SECONDS."""
    end = time.monotonic() + SECONDS
    ready, _, _ = select.select([stream], [], [], max(0.0, end - time.monotonic()))
    line = stream.readline() if ready else b""  # an answer is written in one piece
    if not line.endswith(b"\n"):
        raise _silent()
    return line


def _silent() -> InputError:
    return InputError("The model gave no answer; there may be too little memory for it.", fix="search by words.")


def _found(way: Literal["words", "id"], count: int) -> str:
    what, sought = {"words": ("caption", "every word"), "id": ("id", "it")}[way]
    number = f"{count:,}" if count else "No"
    return f"{number} {what}s hold {sought}." if count > 1 else f"{number} {what} holds {sought}."

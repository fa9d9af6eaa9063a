"""A tokenizer for small own models: every word is one number, found by hashing, so that no vocabulary file is needed.

A caption of any language becomes words, numbers and the few signs that mean something in medicine (`HER2+`, `<5`,
`30%`); each is hashed into a table of a few thousand places. Two words may share a place: with the 4,096 places of
the default and the 2,000 different words of a large set of captions, a rare word shares its place two times in five.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from chips_core.clip.encoder import Tokens
from chips_core.errors import InputError

KIND = "hashed-words"
PAD, START, FIRST_WORD = 0, 1, 2
# words and numbers; one token for each sign of a script that is written without spaces; a minus only after a word
PIECES = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|[+<>=%≤≥±]|(?<=\w)-(?!\w)"
)


class HashedWords:
    """Turns captions into hashed words: start, words, end, then padding.

    The end is the highest number, where a native CLIP text tower reads its answer (`pool_type` argmax).

    Args:
        vocab_size: the number of places, those of padding, start and end included.
        context_length: the number of tokens a caption may have, start and end included.
    """

    def __init__(self, *, vocab_size: int = 4096, context_length: int = 48) -> None:
        if vocab_size < 16 or context_length < 3:
            raise InputError(
                f"A tokenizer of {vocab_size} places and {context_length} tokens is too small.",
                fix="give it at least 16 places and 3 tokens.",
            )
        self._vocab_size = vocab_size
        self._context_length = context_length
        self._known: dict[str, int] = {}

    @property
    def context_length(self) -> int:
        """The number of tokens a caption may have, start and end included."""
        return self._context_length

    @property
    def identity(self) -> dict[str, Any]:
        """Plain data that differs when the numbers would."""
        return {"kind": KIND, "vocab_size": self._vocab_size, "context_length": self._context_length}

    def __call__(self, captions: Sequence[str]) -> Tokens:
        """Returns the tokens of every caption."""
        import torch

        room = self._context_length - 2
        words = [PIECES.findall(caption.casefold()) for caption in captions]
        ids = torch.full((len(words), self._context_length), PAD, dtype=torch.long)
        for row, found in zip(ids, words, strict=True):
            line = [START, *map(self._place, found[:room]), self._vocab_size - 1]
            row[: len(line)] = torch.tensor(line)
        return Tokens(ids, tuple(max(0, len(found) - room) for found in words))

    def _place(self, word: str) -> int:
        place = self._known.get(word)
        if place is None:
            digest = hashlib.blake2s(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            place = FIRST_WORD + int.from_bytes(digest, "little") % (self._vocab_size - FIRST_WORD - 1)
            self._known[word] = place
        return place

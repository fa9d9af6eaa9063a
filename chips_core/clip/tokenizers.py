"""open_clip's tokenizers, made to say how many tokens of a caption they cut, and to cut the same ones every time."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from chips_core import fingerprint
from chips_core.clip.architecture import Architecture, beside, own_tokenizer
from chips_core.clip.encoder import Tokenizer, Tokens
from chips_core.clip.library import network, open_clip_module
from chips_core.errors import InputError

LONGEST_CAPTION = 20_000  # characters looked at; what is beyond never reaches a model of up to a thousand tokens
LONG_WORD = re.compile(r"(\S{400})\S+")  # byte-pair encoding takes the square of a word's length
PASSED_ON = ("clean", "strip_sep_token")  # the settings in a description that reach a tokenizer; never code or paths


def tokenizer_for(architecture: Architecture, *, allow_network: bool = False) -> Tokenizer:
    """Returns the tokenizer that a model was trained with."""
    own = own_tokenizer(architecture)
    if own is not None:
        return own
    open_clip = open_clip_module()
    text: Mapping[str, Any] = architecture.model["text_cfg"]
    settings = {key: value for key, value in (text.get("tokenizer_kwargs") or {}).items() if key in PASSED_ON}
    length = int(text.get("context_length", 77))
    name = text.get("hf_tokenizer_name")
    if not name:
        return BytePairs(open_clip.SimpleTokenizer(context_length=length, **settings))
    source = beside(name, folder=architecture.folder)
    mode = text.get("tokenizer_mode")
    from open_clip.tokenizer import HFTokenizer

    try:
        with network(allowed=allow_network):
            wrapped = HFTokenizer(
                source, context_length=length, tokenizer_mode=mode, trust_remote_code=False, **settings
            )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise InputError(
            f"The tokenizer '{name}' of this model is not on this disk, or cannot be read.",
            fix="put its files (tokenizer.json, tokenizer_config.json, vocab.txt) in a folder of that name beside the "
            "model's JSON file, or allow the network once.",
        ) from error
    return HuggingFaceTokens(wrapped)


class BytePairs:
    """CLIP's own byte-pair encoding (49,408 tokens), which comes with open_clip.

    Unlike open_clip's call it always keeps the beginning of a caption that is too long: the random cuts with which
    some models are trained would give a pair different features every time.
    """

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped
        self._table = fingerprint.of(dict(wrapped.encoder))

    @property
    def context_length(self) -> int:
        """The number of tokens a caption may have, start and end included."""
        return int(self._wrapped.context_length)

    @property
    def identity(self) -> dict[str, Any]:
        """Plain data that differs when the numbers would."""
        clean = getattr(self._wrapped.clean_fn, "__name__", "")
        return {"kind": "clip-bpe", "table": self._table, "clean": clean, "context_length": self.context_length}

    def __call__(self, captions: Sequence[str]) -> Tokens:
        """Returns the tokens of every caption."""
        import torch

        room = self.context_length - 2
        start, end = self._wrapped.sot_token_id, self._wrapped.eot_token_id
        coded = [self._wrapped.encode(within_reason(caption)) for caption in captions]
        ids = torch.zeros(len(coded), self.context_length, dtype=torch.long)
        for row, codes in zip(ids, coded, strict=True):
            line = [start, *codes[:room], end]
            row[: len(line)] = torch.tensor(line)
        return Tokens(ids, tuple(max(0, len(codes) - room) for codes in coded))


class HuggingFaceTokens:
    """A tokenizer of a Hugging Face text tower, through open_clip's wrapper."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped
        backend = getattr(wrapped.tokenizer, "backend_tokenizer", None)
        described = backend.to_str() if backend is not None else sorted(wrapped.tokenizer.get_vocab().items())
        self._table = fingerprint.of(described)  # now, because a call changes the backend's own truncation

    @property
    def context_length(self) -> int:
        """The number of tokens a caption may have, special ones included."""
        return int(self._wrapped.context_length)

    @property
    def identity(self) -> dict[str, Any]:
        """Plain data that differs when the numbers would."""
        return {
            "kind": "hugging-face",
            "table": self._table,
            "clean": getattr(self._wrapped.clean_fn, "__name__", ""),
            "mode": self._wrapped.tokenizer_mode,
            "strip_sep_token": bool(self._wrapped.strip_sep_token),
            "context_length": self.context_length,
        }

    def __call__(self, captions: Sequence[str]) -> Tokens:
        """Returns the tokens of every caption."""
        import torch

        if not captions:
            return Tokens(torch.zeros(0, self.context_length, dtype=torch.long), ())
        texts = [within_reason(caption) for caption in captions]
        return Tokens(self._wrapped(texts), tuple(self._lost(texts)))

    def _lost(self, texts: list[str]) -> list[int]:
        """Returns how many tokens of each text do not fit."""
        special = self._wrapped.tokenizer_mode != "clips"
        room = self.context_length if special else self.context_length - 3
        whole = self._wrapped.tokenizer(
            [self._wrapped.clean_fn(text) for text in texts],
            add_special_tokens=special,
            padding=False,
            truncation=False,
            verbose=False,
        )
        return [max(0, len(ids) - room) for ids in whole["input_ids"]]


def within_reason(caption: str) -> str:
    """Returns a caption without what no model reads: beyond 20,000 characters, and beyond 400 of a single word.

    Half of a surrogate pair, which no tokenizer takes, becomes the sign for an unreadable character.
    """
    text = LONG_WORD.sub(r"\1", caption[:LONGEST_CAPTION])
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text

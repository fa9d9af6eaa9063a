"""Runs a text tower on no more tokens than the longest caption of a batch has.

A caption of ten tokens is padded to 77 for CLIP and to 256 for BiomedCLIP, and the padding costs as much as words. It
can be left out where it cannot reach the answer: in a causal tower that reads its answer at the end of the text, since
what follows is masked; and in a Hugging Face tower, where padding is masked for every token. The features are the same
up to rounding.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from chips_core.clip.library import open_clip_module

STEP = 8  # lengths are rounded up to this many tokens
AT_THE_END = ("argmax", "eos")


def text_tower(model: Any) -> Callable[[Tensor], Any]:
    """Returns what computes the features of captions, (B, context_length) -> (B, width), of a headless model."""
    open_clip_module()
    from open_clip.hf_model import HFTextEncoder

    tower = getattr(model, "text", model)
    if isinstance(tower, HFTextEncoder):
        padding = tower.config.pad_token_id
        return lambda ids: tower(ids[:, : _length(ids, padding=padding)])
    pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
    if pool in AT_THE_END and tower.attn_mask is not None and getattr(tower, "cls_emb", None) is None:
        eos = getattr(tower, "text_eos_id", getattr(tower, "eos_id", None))
        return lambda ids: _causal(tower, ids[:, : _length(ids, padding=0)], pool=pool, eos=eos)
    return model.encode_text if tower is model else tower  # type: ignore[no-any-return]


def _causal(tower: Any, ids: Tensor, *, pool: str, eos: int | None) -> Tensor:
    """Returns the features of captions as open_clip's own text tower computes them, for ids of any length."""
    from open_clip.transformer import text_global_pool

    length = ids.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(ids).to(dtype) + tower.positional_embedding[:length].to(dtype)
    x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
    pooled: Tensor = text_global_pool(tower.ln_final(x), ids, pool, eos_token_id=eos)
    return pooled


def _length(ids: Tensor, *, padding: int | None) -> int:
    """Returns the number of columns that hold more than padding, rounded up."""
    if padding is None or not ids.numel():
        return ids.shape[1]
    used = torch.nonzero((ids != padding).any(dim=0))
    last = int(used[-1]) + 1 if len(used) else 1
    return min(ids.shape[1], -(-last // STEP) * STEP)

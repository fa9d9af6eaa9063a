"""CLIP models behind one protocol: the features before the last linear layers, and those two layers.

    encoder = load_encoder(parse_model("ViT-B-32", weights="laion2b_s34b_b79k"))

Importing this package is quick; torch and open_clip are imported when a model is asked for.
"""

from typing import TYPE_CHECKING, Any

from chips_core.clip.encoder import Encoder, Heads, Tokenizer, Tokens
from chips_core.clip.library import open_clip_module
from chips_core.clip.spec import ModelSpec, parse_model

if TYPE_CHECKING:
    from chips_core.clip.loading import encoder_from_model, load_encoder, require_same_encoder

__all__ = [
    "Encoder",
    "Heads",
    "ModelSpec",
    "Tokenizer",
    "Tokens",
    "encoder_from_model",
    "load_encoder",
    "open_clip_module",
    "parse_model",
    "require_same_encoder",
]


def __getattr__(name: str) -> Any:
    """Imports what needs torch on first use."""
    if name in ("encoder_from_model", "load_encoder", "require_same_encoder"):
        from chips_core.clip import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

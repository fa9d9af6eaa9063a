"""From a model's JSON description to the model of open_clip: checked, built with random weights, reproducible.

A description is what open_clip itself uses (`embed_dim`, `vision_cfg`, `text_cfg`), either alone or as the
`model_cfg` of a hub model's `open_clip_config.json`, with two more keys beside it: `preprocess_cfg`, and our own
`tokenizer` for models whose captions are not cut up by open_clip's tokenizers.
"""

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chips_core.clip.hashed_words import KIND, HashedWords
from chips_core.clip.library import network, open_clip_module
from chips_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

NEEDED = ("embed_dim", "vision_cfg", "text_cfg")
DESCRIPTION_LIMIT = 1 << 20  # bytes; the longest of open_clip's own is under 3 kB


@dataclass(frozen=True)
class Architecture:
    """What a model is made of, without its weights.

    Attributes:
        model: open_clip's `model_cfg`.
        preprocess: settings of the image preprocessing that differ from open_clip's defaults.
        tokenizer: our own tokenizer's settings, or None where open_clip's tokenizer for the model is used.
        folder: the folder of the description, for tokenizer files beside it; None for open_clip's own models.
    """

    model: dict[str, Any]
    preprocess: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] | None = None
    folder: Path | None = None


def read_architecture(path: Path) -> Architecture:
    """Returns the architecture described by a JSON file."""
    try:
        if path.stat().st_size > DESCRIPTION_LIMIT:
            raise InputError(f"{path} is too large to describe a model.", fix="give the JSON file, not the weights.")
        described = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", fix="check the path.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}.", fix="give the JSON description of a model.") from error
    return architecture_of(described, where=str(path), folder=path.parent)


def architecture_of(described: Any, *, where: str, folder: Path | None = None) -> Architecture:
    """Returns the architecture of a description already read; `where` names its source in a message.

    Refused here, before anybody looks for weights: what describes no CLIP, and a model with the sigmoid loss.
    """
    model = described.get("model_cfg", described) if isinstance(described, Mapping) else None
    lacking = [key for key in NEEDED if not isinstance(model, Mapping) or key not in model]
    if model is None or lacking:
        raise InputError(
            f"{where} does not describe a CLIP model: no {', '.join(lacking)}.",
            fix="it needs the keys embed_dim, vision_cfg and text_cfg, as in open_clip's model configs.",
        )
    _refuse_sigmoid(model)
    own = ("preprocess_cfg", "tokenizer")
    plain = {key: value for key, value in model.items() if key not in own}
    preprocess, tokenizer = described.get("preprocess_cfg"), described.get("tokenizer")
    return Architecture(deepcopy(plain), dict(preprocess or {}), dict(tokenizer) if tokenizer else None, folder)


def build_model(architecture: Architecture, *, seed: int = 0, allow_network: bool = False) -> Any:
    """Returns the model of an architecture with random weights, the same ones for the same seed."""
    open_clip = open_clip_module()
    settings = deepcopy(architecture.model)
    text, vision = settings["text_cfg"], settings["vision_cfg"]
    hugging = bool(text.get("hf_model_name"))
    if hugging:
        text["hf_model_pretrained"] = False
        text["hf_model_name"] = beside(text["hf_model_name"], folder=architecture.folder)
    if vision.get("timm_model_name"):
        vision["timm_model_pretrained"] = False
    custom = settings.pop("custom_text", False) or hugging
    kind = open_clip.CLIP if not custom else open_clip.CustomTextCLIP
    if custom and "multimodal_cfg" in settings:
        kind = open_clip.CoCa
    try:
        with network(allowed=allow_network), scoped_seed(seed):
            if hugging:
                importlib.import_module("transformers").AutoConfig.from_pretrained(
                    text["hf_model_name"], trust_remote_code=False
                )  # raises where the tower would bring code of its own; open_clip does not ask
            return kind(**settings).eval()
    except (TypeError, ValueError, KeyError, AttributeError, AssertionError, RuntimeError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"open_clip cannot build the model as described: {first}",
            fix="check the description; a text tower from Hugging Face needs its config.json on this disk.",
        ) from error


def _refuse_sigmoid(model: Mapping[str, Any]) -> None:
    if model.get("init_logit_bias") is not None:
        raise InputError(
            "This model was trained with the sigmoid loss (SigLIP): its logits have a bias and no softmax over a "
            "batch, so the scores here are not defined for it.",
            fix="use a CLIP trained with the softmax loss, such as ViT-B-32 or BiomedCLIP.",
        )


def own_tokenizer(architecture: Architecture) -> HashedWords | None:
    """Returns our own tokenizer where the description names one, else None."""
    settings = architecture.tokenizer
    if settings is None:
        return None
    known = {"kind", "vocab_size", "context_length"}
    if settings.get("kind") != KIND or set(settings) - known:
        raise InputError(
            f"The description's tokenizer {settings.get('kind')!r} with the settings {', '.join(sorted(settings))} "
            "is not known.",
            fix=f"the kind is '{KIND}', its settings are vocab_size and context_length.",
        )
    text = architecture.model["text_cfg"]
    tokenizer = HashedWords(**{key: int(value) for key, value in settings.items() if key != "kind"})
    expected = (text.get("vocab_size", 49408), text.get("context_length", 77))
    if expected != (tokenizer.identity["vocab_size"], tokenizer.context_length):
        raise InputError(
            "The description's tokenizer and text_cfg disagree on vocab_size or context_length.",
            fix="give both the same numbers.",
        )
    return tokenizer


def preprocessing_of(architecture: Architecture) -> dict[str, Any]:
    """Returns the full preprocessing as plain data: open_clip's defaults, what differs from them, the model's size."""
    open_clip_module()
    from open_clip.transform import PreprocessCfg

    defaults = asdict(PreprocessCfg())
    unknown = set(architecture.preprocess) - set(defaults)
    if unknown:
        raise InputError(
            f"Unknown preprocessing setting {', '.join(sorted(unknown))}.",
            fix=f"the settings are {', '.join(defaults)}.",
        )
    merged = defaults | {key: value for key, value in architecture.preprocess.items() if value is not None}
    size = architecture.model["vision_cfg"].get("image_size", 224)
    merged["size"] = [size, size] if isinstance(size, int) else size
    return {key: list(value) if isinstance(value, tuple) else value for key, value in merged.items()}


def transform_of(preprocessing: Mapping[str, Any]) -> Callable[[Any], "Tensor"]:
    """Returns open_clip's own image transform for settings from `preprocessing_of`, without augmentation."""
    open_clip_module()
    from open_clip.transform import PreprocessCfg, image_transform_v2

    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in preprocessing.items()}
    transform: Callable[[Any], Tensor] = image_transform_v2(PreprocessCfg(**settings), is_train=False)
    return transform


def beside(name: str, *, folder: Path | None) -> str:
    """Returns a hub name as the path of a folder of that name beside a description, where there is one."""
    if folder is not None:
        inside = folder.resolve()
        for path in ((folder / name).resolve(), inside / Path(name).name):
            if path.is_relative_to(inside) and path.is_dir():
                return str(path)
    return name


@contextmanager
def scoped_seed(seed: int) -> Iterator[None]:
    """Runs its block with torch's generator in the state of `seed`, then puts the caller's state back.

    open_clip's constructors draw from the global generator and take no other; this keeps their draws reproducible
    without anybody else noticing.
    """
    import torch

    before = torch.get_rng_state()
    torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
    try:
        yield
    finally:
        torch.set_rng_state(before)

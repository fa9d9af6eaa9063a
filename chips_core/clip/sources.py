"""Finds a model's description and weights on this disk; fetches them only where the user allowed the network.

Looked for in this order: the path that was given; the models folder (`CHIPS_MODELS`, else `~/.cache/chips-lens`); the
caches of Hugging Face and of open_clip.
"""

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chips_core.clip.architecture import Architecture, architecture_of, read_architecture
from chips_core.clip.library import network, open_clip_module
from chips_core.clip.spec import DESCRIPTION, HUB, RANDOM, ModelSpec
from chips_core.errors import InputError, UsageError

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
TAGS_TOLD = 8  # of the tags of a model, in a message
OF_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class Located:
    """A model found.

    Attributes:
        architecture: what it is made of.
        weights: the file with its weights; None for random ones.
    """

    architecture: Architecture
    weights: Path | None


def models_folder() -> Path:
    """Returns the folder where a user puts models by hand."""
    given = os.environ.get("CHIPS_MODELS")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "chips-lens"


def locate(spec: ModelSpec, *, allow_network: bool = False) -> Located:
    """Returns the description and the weights of a model; raises InputError with the place to put what is not here."""
    if spec.config is not None:
        return _own(spec, Path(spec.config).expanduser())
    if spec.name.startswith(HUB):
        return _from_hub(spec, allow_network=allow_network)
    return _built_in(spec, allow_network=allow_network)


def _own(spec: ModelSpec, path: Path) -> Located:
    """Finds a model of one's own: a JSON description, and the weights beside it unless they were named."""
    if not path.is_file():
        raise InputError(f"No model description at {path}.", fix="check the path of the JSON file.")
    architecture = read_architecture(path)
    beside = [path.with_suffix(suffix) for suffix in SUFFIXES] + [path.parent / name for name in HUB_WEIGHTS]
    return Located(architecture, _given(spec) if spec.weights else _first_file(beside, of=str(path)))


def _built_in(spec: ModelSpec, *, allow_network: bool) -> Located:
    """Finds one of open_clip's models by name and tag."""
    open_clip = open_clip_module()
    described = open_clip.get_model_config(spec.name)
    if described is None:
        near = difflib.get_close_matches(spec.name, open_clip.list_models(), n=3)
        raise UsageError(
            f"open_clip has no model '{spec.name}'" + (f"; near: {', '.join(near)}." if near else "."),
            fix="name one of open_clip's models, hf-hub:org/name, or the path of a JSON description.",
        )
    architecture = architecture_of(described, where=spec.name)
    tags: Sequence[str] = open_clip.list_pretrained_tags_by_model(spec.name)
    if spec.weights is None:
        raise UsageError(
            f"{spec.name} needs weights.",
            fix=f"with --weights, name the file of a checkpoint or one of the tags {_listed(tags)}.",
        )
    tag = spec.weights.lower().replace("-", "_")
    if tag not in tags:
        if spec.weights != RANDOM and not Path(spec.weights).expanduser().is_file():
            near = difflib.get_close_matches(spec.weights, tags, n=1)
            raise InputError(
                f"'{spec.weights}' is neither a file nor weights of {spec.name}"
                + (f"; near: {near[0]}." if near else "."),
                fix=f"check the path; the tags are {_listed(tags)}.",
            )
        return Located(architecture, _given(spec))
    return _tagged(replace(spec, weights=tag), architecture, allow_network=allow_network)


def _tagged(spec: ModelSpec, architecture: Architecture, *, allow_network: bool) -> Located:
    """Finds the weights of a tag, with the preprocessing and the activation they were trained with."""
    open_clip = open_clip_module()
    about: dict[str, Any] = open_clip.get_pretrained_cfg(spec.name, spec.weights)
    preprocess = {key: about[key] for key in OF_PREPROCESSING if about.get(key) is not None}
    # open_clip only warns when the name says GELU and the weights were trained with QuickGELU; then features are wrong
    quick = bool(about.get("quick_gelu") or architecture.model.get("quick_gelu"))
    model = architecture.model | {"quick_gelu": quick}
    by_hand = models_folder() / spec.name.replace("/", "-")
    places = [by_hand / f"{spec.weights}{suffix}" for suffix in SUFFIXES] + _cached(about)
    found = next((path for path in places if path.is_file()), None)
    if found is None and allow_network:
        with network(allowed=True):
            found = _fetched(lambda: open_clip.download_pretrained(about), what=spec.title)
    if found is None:
        raise InputError(
            f"The weights '{spec.weights}' of {spec.name} are not on this disk, and the network is not used.",
            fix=f"put the file at {by_hand / f'{spec.weights}.safetensors'} (or .pt), "
            "or allow the network once (--allow-network).",
        )
    return Located(Architecture(model, preprocess), found)


def _from_hub(spec: ModelSpec, *, allow_network: bool) -> Located:
    """Finds a model of the Hugging Face hub in the models folder or in the hub's cache."""
    hub_name = spec.name.removeprefix(HUB)
    by_hand = models_folder() / hub_name.replace("/", "--")
    description = next(
        (path for path in (by_hand / DESCRIPTION, *_hub_cache(hub_name, DESCRIPTION)) if path.is_file()), None
    )
    if description is None and allow_network:
        description = _from_hub_now(hub_name, DESCRIPTION)
    if description is None:
        raise InputError(
            f"The model {spec.name} is not on this disk, and the network is not used.",
            fix=f"put its {DESCRIPTION} and its weights into {by_hand}, or allow the network once (--allow-network).",
        )
    architecture = read_architecture(description)
    if spec.weights:
        return Located(architecture, _given(spec))
    places = [description.parent / name for name in HUB_WEIGHTS]
    places += [path for name in HUB_WEIGHTS for path in _hub_cache(hub_name, name)]
    found = next((path for path in places if path.is_file()), None)
    if found is None and allow_network:
        found = _from_hub_now(hub_name, None)
    if found is None:
        raise InputError(
            f"The weights of {spec.name} are not on this disk, and the network is not used.",
            fix=f"put {HUB_WEIGHTS[0]} into {by_hand}, or allow the network once (--allow-network).",
        )
    return Located(architecture, found)


def _listed(tags: Sequence[str]) -> str:
    more = f" and {len(tags) - TAGS_TOLD} more" if len(tags) > TAGS_TOLD else ""
    return (", ".join(tags[:TAGS_TOLD]) or "(there are none)") + more


def _given(spec: ModelSpec) -> Path | None:
    return None if spec.weights in (None, RANDOM) else Path(str(spec.weights)).expanduser()


def _first_file(places: Sequence[Path], *, of: str) -> Path:
    for path in places:
        if path.is_file():
            return path
    raise InputError(f"No weights beside {of}.", fix=f"put them at {places[0]}, or name their file.")


def _cached(about: dict[str, Any]) -> list[Path]:
    """Returns where the caches of Hugging Face and open_clip would hold the weights of a tag."""
    places = []
    if about.get("hf_hub"):
        hub_name, _, file = about["hf_hub"].rpartition("/")
        safe = [str(Path(file).with_suffix(".safetensors")), file] if file else list(HUB_WEIGHTS)
        places += [path for name in safe for path in _hub_cache(hub_name, name)]
    if about.get("url"):
        places.append(Path.home() / ".cache" / "clip" / Path(about["url"]).name)
    return places


def _hub_cache(hub_name: str, file: str) -> list[Path]:
    """Returns the path of a hub's file in the cache, if it is there; reads the disk only."""
    open_clip_module()
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(hub_name, file)
    except HFValidationError as error:
        raise UsageError(f"'{hub_name}' is no name of a hub model.", fix="it reads hf-hub:org/name.") from error
    return [Path(found)] if isinstance(found, str) else []


def _from_hub_now(hub_name: str, file: str | None) -> Path:
    """Fetches a file of the hub; only called where the user allowed the network."""
    open_clip_module()
    from open_clip.pretrained import download_pretrained_from_hf

    with network(allowed=True):
        return _fetched(lambda: download_pretrained_from_hf(hub_name, filename=file), what=hub_name)


def _fetched(fetch: Any, *, what: str) -> Path:
    try:
        return Path(fetch())
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"Fetching {what} failed: {error}", fix="check the network, or put the file by hand."
        ) from error

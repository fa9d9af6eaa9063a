"""From the name of a model to an encoder that is ready to use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chips_core.clip.adapter import OpenClipEncoder, encoder_of
from chips_core.clip.architecture import Architecture, architecture_of, build_model
from chips_core.clip.encoder import Encoder, Tokenizer
from chips_core.clip.precision import choose_device, choose_precision
from chips_core.clip.sources import locate
from chips_core.clip.spec import ModelSpec
from chips_core.clip.tokenizers import tokenizer_for
from chips_core.clip.weights import fit_weights, read_weights
from chips_core.errors import EncoderMismatch


@dataclass(frozen=True)
class LoadedModel:
    """A whole model in memory, and what is needed to look at it as an encoder."""

    model: Any
    architecture: Architecture
    tokenizer: Tokenizer
    name: str

    def encoder(self, *, device: str = "auto", precision: str = "auto") -> OpenClipEncoder:
        """Returns the encoder of a copy of the model, as it is now."""
        place = choose_device(device)
        return encoder_of(
            self.model,
            self.architecture,
            tokenizer=self.tokenizer,
            name=self.name,
            device=place,
            precision=choose_precision(precision, device=place),
        )

    def description(self) -> dict[str, Any]:
        """Returns the JSON description that open_clip, and `parse_model`, read beside the weights."""
        found: dict[str, Any] = {"model_cfg": self.architecture.model, "preprocess_cfg": self.architecture.preprocess}
        return found | ({"tokenizer": self.architecture.tokenizer} if self.architecture.tokenizer else {})


def load_model(spec: ModelSpec, *, allow_network: bool = False) -> LoadedModel:
    """Returns a model that is on this disk, whole, such as to train it.

    Args:
        spec: the model, from `parse_model`.
        allow_network: whether what is not on this disk may be fetched; nothing is ever fetched without.
    """
    located = locate(spec, allow_network=allow_network)
    # the weights before the model: a file that is refused costs no time
    weights = read_weights(located.weights) if located.weights is not None else None
    model = build_model(located.architecture, allow_network=allow_network)
    if weights is not None and located.weights is not None:
        fit_weights(model, weights, name=located.weights.name)
    tokenizer = tokenizer_for(located.architecture, allow_network=allow_network)
    return LoadedModel(model, located.architecture, tokenizer, spec.title)


def load_encoder(
    spec: ModelSpec, *, device: str = "auto", precision: str = "auto", allow_network: bool = False
) -> OpenClipEncoder:
    """Returns the encoder of a model that is on this disk.

    Args:
        spec: the model, from `parse_model`.
        device: `auto`, `cpu`, `cuda`, ...
        precision: `auto` (bf16 where the device computes with it, else fp32), `fp32`, `bf16` or `fp16`.
        allow_network: whether what is not on this disk may be fetched; nothing is ever fetched without.
    """
    place = choose_device(device)
    arithmetic = choose_precision(precision, device=place)
    found = load_model(spec, allow_network=allow_network)
    return OpenClipEncoder(
        found.model, found.architecture, tokenizer=found.tokenizer, name=found.name, device=place, precision=arithmetic
    )


def encoder_from_model(
    model: Any, config: Mapping[str, Any], *, name: str, device: str = "auto", precision: str = "auto"
) -> OpenClipEncoder:
    """Returns the encoder of a model in memory as it is now, such as one that is being trained; a copy is taken.

    Args:
        model: a model built from `config`.
        config: its description, as `small_config` makes it.
        name: how to name it to a person.
        device: as in `load_encoder`.
        precision: as in `load_encoder`.
    """
    architecture = architecture_of(config, where="the description")
    place = choose_device(device)
    return encoder_of(
        model,
        architecture,
        tokenizer=tokenizer_for(architecture),
        name=name,
        device=place,
        precision=choose_precision(precision, device=place),
    )


def require_same_encoder(encoder: Encoder, *, name: str, fingerprint: str, where: str) -> None:
    """Raises EncoderMismatch unless `encoder` is the one that made the features of `where`, such as `pool 'chest'`."""
    if encoder.fingerprint != fingerprint:
        raise EncoderMismatch(
            f"{where} holds features of {name} ({fingerprint[:6]}), but this run uses {encoder.name} "
            f"({encoder.fingerprint[:6]}): other weights, preprocessing or tokenizer.",
            fix=f"use {name}, or encode into a new pool.",
        )

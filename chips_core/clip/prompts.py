"""Class prompts: the sentences that stand for a label when an encoder classifies images without training.

Labels and templates are a user's text: `{}` in a template is replaced by the label, and nothing else means anything.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chips_core.clip.encoder import Encoder
from chips_core.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

PLACE = "{}"
FILE_LIMIT = 16 << 20  # bytes
BATCH = 256  # prompts a forward pass

Prompts = Mapping[str, Sequence[str]]  # label -> its prompts


@dataclass(frozen=True)
class PromptFeatures:
    """The features of all prompts, and whose they are.

    Attributes:
        labels: the classes, in order.
        features: (P, dt) float32, one line per prompt.
        owner: (P,) int64, the index of each prompt's label.
    """

    labels: tuple[str, ...]
    features: "Tensor"
    owner: "Tensor"


def class_prompts(labels: Sequence[str], templates: Sequence[str] = ("a medical image of {}",)) -> dict[str, list[str]]:
    """Returns the prompts of every label: each template with its `{}` replaced by the label, literally."""
    if isinstance(labels, str) or isinstance(templates, str):
        raise UsageError("Labels and templates are lists.", fix="put the one text into a list.")
    plain = [template for template in templates if PLACE not in template]
    if not templates or plain:
        raise UsageError(
            "A template without {} gives every class the same prompt." if plain else "There is no template.",
            fix="write {} where the label belongs, for example 'a chest X-ray showing {}'.",
        )
    return {label: [template.replace(PLACE, label) for template in templates] for label in labels}


def load_prompts(path: Path) -> dict[str, list[str]]:
    """Returns the prompts of a file.

    JSON: an object of label -> prompt, or label -> list of prompts. CSV: the columns `label` and `prompt`, a line for
    each prompt.
    """
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise InputError(f"{path.name} is too large for a list of prompts.", fix="give the prompts file.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", fix="check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8 (byte {error.start}).", fix="save it as UTF-8.") from error
    found = _from_json(text, path=path) if path.suffix.lower() == ".json" else _from_csv(text, path=path)
    hollow = [label for label, prompts in found.items() if not prompts or not all(prompt.strip() for prompt in prompts)]
    if not found or hollow:
        what = f"{len(hollow)} labels have an empty prompt." if hollow else "There is no prompt."
        raise InputError(f"{path.name}: {what}", fix="give every label at least one prompt.")
    return found


def prompt_features(encoder: Encoder, prompts: Prompts) -> PromptFeatures:
    """Returns the features of all prompts of all labels."""
    import torch

    if not prompts or not all(prompts.values()):
        raise InputError("A label without a prompt cannot be told from the others.", fix="give every label a prompt.")
    texts = [prompt for group in prompts.values() for prompt in group]
    owner = [index for index, group in enumerate(prompts.values()) for _ in group]
    batches = [
        encoder.text_features(encoder.tokenize(texts[start : start + BATCH]).ids)
        for start in range(0, len(texts), BATCH)
    ]
    return PromptFeatures(tuple(prompts), torch.cat(batches), torch.tensor(owner))


def class_embeddings(encoder: Encoder, prompts: Prompts) -> "Tensor":
    """Returns one unit embedding per label, (C, d) float32: the mean of its prompts' unit embeddings, as a unit.

    The same as open_clip's zero-shot classifier, transposed.
    """
    import torch
    from torch.nn.functional import normalize

    found = prompt_features(encoder, prompts)
    embeddings = normalize(found.features @ encoder.heads.text.T, dim=-1)
    sums = torch.zeros(len(found.labels), embeddings.shape[1]).index_add_(0, found.owner, embeddings)
    return normalize(sums / torch.bincount(found.owner)[:, None], dim=-1)


def _from_json(text: str, *, path: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, path=path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path.name} is not JSON: {error}.", fix="check the file.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path.name} is not an object of label -> prompts.", fix='write {"label": ["prompt"]}.')
    listed = {label: [given] if isinstance(given, str) else given for label, given in found.items()}
    for prompts in listed.values():
        if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
            raise InputError(f"{path.name}: a prompt is not a text.", fix='write {"label": ["prompt"]}.')
    return listed


def _once(pairs: list[tuple[str, Any]], *, path: Path) -> dict[str, Any]:
    """Returns pairs as a dict; a label that is given twice is refused, where JSON would forget the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InputError(f"{path.name} names a label twice.", fix="put all prompts of a label into one list.")
    return found


def _from_csv(text: str, *, path: Path) -> dict[str, list[str]]:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        lines = list(reader)
    except csv.Error as error:
        raise InputError(f"{path.name} is not CSV: {error}.", fix="check the quotes.") from error
    columns = reader.fieldnames or []
    if not {"label", "prompt"} <= set(columns):
        raise InputError(
            f"{path.name} has the columns {', '.join(columns) or '(none)'}.",
            fix="it needs the columns label and prompt.",
        )
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault(line["label"] or "", []).append(line["prompt"] or "")
    return found

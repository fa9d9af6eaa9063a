"""How a model is named: one of open_clip's, one of the Hugging Face hub's, or a JSON description of one's own."""

from dataclasses import dataclass
from pathlib import Path

from chips_core.errors import UsageError

HUB = "hf-hub:"
LOCAL = "local-dir:"
RANDOM = "random"  # weights of a fixed seed, for tests and for measuring speed
DESCRIPTION = "open_clip_config.json"


@dataclass(frozen=True)
class ModelSpec:
    """A model and where its weights are.

    Attributes:
        name: open_clip's name, `hf-hub:org/name`, or the name of one's own description.
        weights: a pretrained tag, the path of a file, `random`, or None for those that come with the model.
        config: the path of a JSON description of one's own, else None.
    """

    name: str
    weights: str | None = None
    config: str | None = None

    @property
    def title(self) -> str:
        """How to name it to a person."""
        if self.weights is None:
            return self.name
        return f"{self.name} ({Path(self.weights).name})"


def parse_model(name: str, *, weights: str | None = None) -> ModelSpec:
    """Returns the model that a user named.

    Args:
        name: `ViT-B-32`, `hf-hub:org/name`, the path of a `.json` description, or of a folder with an
            `open_clip_config.json`.
        weights: a tag such as `laion2b_s34b_b79k`, or the path of a checkpoint.
    """
    name = name.strip()
    if not name or name in (HUB, LOCAL):
        raise UsageError("No model was named.", fix="for example --model ViT-B-32 --weights laion2b_s34b_b79k.")
    if name.startswith(HUB):
        if weights is not None and not _is_file(weights):
            raise UsageError(
                f"{name} brings its own weights; '{weights}' is no file.", fix="leave the weights out, or give a file."
            )
        return ModelSpec(name, weights)
    path = Path(name.removeprefix(LOCAL)).expanduser()
    if path.suffix == ".json":
        return ModelSpec(path.stem, weights, str(path))
    if name.startswith(LOCAL) or path.is_dir():
        return ModelSpec(path.name, weights, str(path / DESCRIPTION))
    return ModelSpec(name, weights)


def _is_file(text: str) -> bool:
    return text == RANDOM or Path(text).expanduser().is_file()

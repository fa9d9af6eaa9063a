"""The model that ships with the product, beside those that clip knows by name."""

from pathlib import Path

from chips_core.clip import ModelSpec, parse_model

DEMO = "demo"
DEMO_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "demo_model"


def model_named(name: str, *, weights: str | None = None) -> ModelSpec:
    """Returns the model that a user named; `demo` is the small one of our own that ships with the product."""
    if name == DEMO:
        return parse_model(str(DEMO_FOLDER), weights=weights)
    return parse_model(name, weights=weights)

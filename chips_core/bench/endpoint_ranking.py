"""Headline result (e): do the last layers rank pairs as all parameters of the model do?

∇ℓ_n·u for every pair n of a block at once is the derivative of its loss along u: two forward passes of the whole model
a little way up and down u (float64) give it for all parameters; along the endpoint's part of u, for the endpoint.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from chips_core.bench.noisy_pool import NoisyCase
from chips_core.clip.loading import load_model
from chips_core.clip.spec import parse_model
from chips_core.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

BLOCK, QUICK_BLOCK = 256, 32
BLOCKS = 2
STEP = 1e-6  # along u, as a share of the parameters' length
ENDPOINT = ("visual.attnpool.c_proj", "text_projection", "logit_scale")


def measured(case: NoisyCase, *, quick: bool, progress: Progress) -> dict[str, Any]:
    """Returns Spearman's correlation of both rankings within blocks of the pool, mean over the blocks.

    Args:
        case: the data set.
        quick: one small block.
        progress: told of every block.
    """
    from chips_core.influence.ranks import spearman

    size, blocks = (QUICK_BLOCK, 1) if quick else (BLOCK, BLOCKS)
    size = min(size, len(case.parts.pool), len(case.parts.target))
    model = load_model(parse_model(str(case.encoder_file))).model.double().eval()
    batch = _Batches(case, model)
    captions = case.swapped(0).captions
    targets = np.random.default_rng(0).permutation(len(case.parts.target))[:size]
    u = batch.gradient([case.parts.target[t] for t in targets], None)
    progress.start("rank by all parameters", total=blocks, unit="blocks")
    found = []
    order = np.random.default_rng(1).permutation(len(case.parts.pool))
    for block in range(blocks):
        places = order[block * size : (block + 1) * size].tolist()
        rows, texts = [case.parts.pool[p] for p in places], [captions[p] for p in places]
        everything, endpoint = (batch.along(u, rows, texts, only=only) for only in ((), ENDPOINT))
        found.append(spearman(everything, endpoint))
        progress.advance()
    total, heads = (sum(v.numel() for n, v in model.named_parameters() if n.startswith(p)) for p in ("", ENDPOINT))
    return {"spearman": float(np.mean(found)), "blocks": found, "block": size, "parameters": total, "endpoint": heads}


def table(result: Mapping[str, Any]) -> str:
    """Returns the result as lines to print."""
    return (
        f"(e) ranking by {result['endpoint']:,} endpoint against all {result['parameters']:,} parameters, blocks of "
        f"{result['block']}: Spearman {result['spearman']:.3f}"
    )


class _Batches:
    """The losses of pairs as a function of all of a model's parameters."""

    def __init__(self, case: NoisyCase, model: Any) -> None:
        self._case, self._model = case, model
        self._parameters = dict(model.named_parameters())

    def losses(self, places: list[int], captions: list[str] | None) -> "Tensor":
        """Returns the loss of each pair, the others of the list being its negatives, (B,)."""
        from torch.nn.functional import normalize

        from chips_core.influence.loss import pair_losses

        case, settings = self._case, self._case.encoder.preprocessing
        texts = case.data.column("caption", places=places) if captions is None else captions
        mean, std = (torch.tensor(settings[key], dtype=torch.float64).view(1, 3, 1, 1) for key in ("mean", "std"))
        pictures = (case.data.images[places].double() / 255 - mean) / std
        image = normalize(self._model.encode_image(pictures), dim=1)
        text = normalize(self._model.encode_text(case.encoder.tokenize(texts).ids), dim=1)
        return pair_losses(self._model.logit_scale.exp() * image @ text.T)

    def gradient(self, places: list[int], captions: list[str] | None) -> dict[str, "Tensor"]:
        """Returns the gradient of the mean loss by parameter."""
        found = torch.autograd.grad(self.losses(places, captions).mean(), list(self._parameters.values()))
        return dict(zip(self._parameters, found, strict=True))

    def along(
        self, u: Mapping[str, "Tensor"], places: list[int], captions: list[str], *, only: tuple[str, ...]
    ) -> "Tensor":
        """Returns each pair's derivative along u, or along the part of it whose names begin with one of `only`."""
        part = {name: value for name, value in u.items() if not only or name.startswith(only)}
        length, size = (
            float(torch.cat([value.detach().reshape(-1) for value in some]).norm())
            for some in (list(part.values()), [self._parameters[name] for name in part])
        )
        step = STEP * size / length
        with torch.no_grad():
            ends = []
            for way in (step, -2 * step):
                for name, value in part.items():
                    self._parameters[name].add_(value, alpha=way)
                ends.append(self.losses(places, captions))
            for name, value in part.items():
                self._parameters[name].add_(value, alpha=step)
        return (ends[0] - ends[1]) / (2 * step)

"""Other people's ways to the same per-pair gradients, on the same features: the package traker, and per-pair autograd.

Neither is a requirement of the product: `trak` is imported when it is asked for. Both see the endpoint as a module of
two linear heads and a scale. traker holds the other pairs' embeddings fixed, as TRAK's own CLIP output does; autograd
goes through the whole block, as our scores do.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from chips_core.influence.blocks import Features
from chips_core.influence.endpoint import Heads
from chips_core.influence.loss import pair_losses

Weights = dict[str, Tensor]
RUNS = 3  # of each way; the best one counts


class Endpoint(nn.Module):
    """The endpoint as a module: the features of some pairs to unit embeddings and the scale."""

    def __init__(self, heads: Heads) -> None:
        super().__init__()
        self.image = nn.Parameter(heads.image.clone())
        self.text = nn.Parameter(heads.text.clone())
        self.log_scale = nn.Parameter(heads.log_scale.clone())

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns unit image embeddings, unit text embeddings and s."""
        unit = nn.functional.normalize
        return unit(image @ self.image.T, dim=-1), unit(text @ self.text.T, dim=-1), self.log_scale.exp()


@dataclass(frozen=True)
class PairLoss:
    """ℓ_n with all other embeddings held fixed, in the form that traker calls a task and functorch can vectorise."""

    images: Tensor  # (B, D) unit
    texts: Tensor  # (B, D) unit

    @classmethod
    def at(cls, module: Endpoint, pairs: Features) -> "PairLoss":
        """Returns the loss terms of one block."""
        with torch.no_grad():
            images, texts, _ = module(pairs.image, pairs.text)
        return cls(images, texts)

    def get_output(
        self, module: nn.Module, weights: Weights, buffers: Weights, image: Tensor, text: Tensor, place: Tensor
    ) -> Tensor:
        """Returns ℓ_n of the pair at `place`, ()."""
        x, y, scale = torch.func.functional_call(module, (weights, buffers), (image, text))
        own = scale * (x * y).sum()
        mine = torch.arange(len(self.images)) == place
        row = torch.where(mine, own, scale * (self.texts @ x))
        column = torch.where(mine, own, scale * (self.images @ y))
        loss: Tensor = (row.logsumexp(0) + column.logsumexp(0)) / 2 - own
        return loss

    def get_out_to_loss_grad(
        self, module: nn.Module, weights: Weights, buffers: Weights, batch: tuple[Tensor, ...]
    ) -> Tensor:
        """Returns 1 for every pair, (n, 1): the output is the loss already."""
        del module, weights, buffers
        return torch.ones(len(batch[0]), 1)


def autograd_pairs_per_s(pairs: Features, heads: Heads, *, sample: int, at_once: int) -> float:
    """Returns how many gradients of ℓ_n a second vectorised autograd makes through a block, in its negatives too.

    Args:
        pairs: the block; all its pairs are negatives of each other.
        heads: the endpoint.
        sample: pairs whose gradients are made.
        at_once: pairs vectorised together.
    """
    block = _in_precision(pairs, heads)

    def run() -> None:
        for some in torch.split(torch.arange(sample), at_once):
            whole_gradients(block, heads, rows=some)

    return sample / _best_seconds(run)


def whole_gradients(pairs: Features, heads: Heads, *, rows: Tensor) -> Weights:
    """Returns ∇ℓ_n of some pairs of a block by vectorised autograd through the whole block, (n, …) by parameter."""
    module = Endpoint(heads)
    weights = {name: value.detach() for name, value in module.named_parameters()}

    def losses(given: Weights) -> Tensor:
        x, y, scale = torch.func.functional_call(module, (given,), (pairs.image, pairs.text))
        return pair_losses(scale * x @ y.T)

    pull_back = torch.func.vjp(losses, weights)[1]
    gradients: Weights = torch.func.vmap(pull_back)(torch.eye(len(pairs), dtype=pairs.image.dtype)[rows])[0]
    return gradients


def trak_pairs_per_s(pairs: Features, heads: Heads, *, folder: Path, width: int = 512, at_once: int = 64) -> float:
    """Returns how many pairs a second the package traker featurises on this machine (gradients, then its projection).

    Args:
        pairs: the block; all its pairs are negatives of each other.
        heads: the endpoint.
        folder: an empty folder for what traker stores.
        width: numbers in a projected gradient.
        at_once: pairs featurised together.
    """
    block, projector = _in_precision(pairs, heads), _block_projector(heads, width=width)

    def seconds(number: int) -> float:  # in a folder of its own: traker does not featurise the same pairs twice
        traker = _traker(pairs, heads, folder=folder / str(number), projector=projector)
        return _seconds(lambda: _featurize(traker, block, at_once=at_once))

    return len(pairs) / min(seconds(number) for number in range(RUNS))


def trak_scores(pairs: Features, heads: Heads, *, folder: Path, damping: float) -> Tensor:
    """Returns traker's scores of every pair for every pair of one block, gradients not projected, (B, B): [i, t].

    For small heads and tests only: it shows that our words for TRAK mean what the package computes.
    """
    from trak.projectors import NoOpProjector

    traker = _traker(pairs, heads, folder=folder, projector=NoOpProjector(device="cpu"), damping=damping)
    block = _in_precision(pairs, heads)
    _featurize(traker, block, at_once=len(block))
    traker.finalize_features()
    module = Endpoint(heads)
    traker.start_scoring_checkpoint("targets", module.state_dict(), 0, num_targets=len(block))
    traker.score(batch=_batch(block, torch.arange(len(block))), num_samples=len(block))
    return torch.as_tensor(traker.finalize_scores("targets"))


def _traker(pairs: Features, heads: Heads, *, folder: Path, projector: Any, damping: float = 0.0) -> Any:
    from trak import TRAKer

    module = Endpoint(heads)
    traker = TRAKer(
        model=module,
        task=PairLoss.at(module, _in_precision(pairs, heads)),
        train_set_size=len(pairs),
        save_dir=str(folder),
        device="cpu",
        projector=projector,
        proj_dim=projector.proj_dim,
        use_half_precision=False,
        logging_level=logging.ERROR,
        lambda_reg=damping,
    )
    traker.load_checkpoint(module.state_dict(), model_id=0)
    return traker


def _block_projector(heads: Heads, *, width: int) -> Any:
    from trak.projectors import BasicProjector, ProjectionType

    return BasicProjector(
        grad_dim=heads.zeros().size, proj_dim=width, seed=0, proj_type=ProjectionType.rademacher, device="cpu"
    )


def _featurize(traker: Any, block: Features, *, at_once: int) -> None:
    for some in torch.split(torch.arange(len(block)), at_once):
        traker.featurize(batch=_batch(block, some), num_samples=len(some))


def _batch(block: Features, some: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return block.image[some], block.text[some], some


def _in_precision(pairs: Features, heads: Heads) -> Features:
    dtype = heads.image.dtype
    return Features(pairs.image.to(dtype), pairs.text.to(dtype))


def _best_seconds(run: Callable[[], None]) -> float:
    """Returns the best of a few runs: the first one also pays for fresh memory and for what torch sets up."""
    return min(_seconds(run) for _ in range(RUNS))


def _seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return max(time.perf_counter() - began, 1e-9)

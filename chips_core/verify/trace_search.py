"""The most harmful and the most helpful pairs behind an error, in one of three ways.

exact  every pair against the reference, at the heads that came of the fit
quick  for a large pool: the screen looks at every pair roughly, and those that it puts first are measured as the exact
       answer measures everybody. So what is shown is exact, and only a pair that was not looked at can be missed; how
       often that happens `measured` says
fit    every pair through the whole fit: truer, and as slow as fitting again; plain influence only, since the sizes of
       the removals are those at the end of the fit
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from chips_core.errors import UsageError
from chips_core.influence.passes import Tick
from chips_core.influence.relative import Sizes
from chips_core.verify.tracer import Traced, Tracer

CANDIDATES = 500  # of either kind, measured against the reference
ANCHORS = 128  # pairs with which the screen compares everybody

Mode = Literal["relative", "plain"]
Way = Literal["quick", "exact", "fit"]


@dataclass(frozen=True)
class Ranked:
    """The most harmful pairs and the most helpful ones, the strongest of each kind first.

    Attributes:
        places: (M,) of the pool's pairs; no pair twice.
        influence: (M,) what ranks them: negative pushed towards the error.
        pos: (M,) plain influence as a partner.
        neg: (M,) plain influence as a wrong answer of others.
    """

    places: Tensor
    influence: Tensor
    pos: Tensor
    neg: Tensor


@dataclass(frozen=True)
class Agreement:
    """How the quick answer compares with the exact one, over some images, both kinds of pairs.

    Attributes:
        recall: share of the exact `top` of either kind among the quick one's `top`.
        images: how many.
        top: of either kind.
    """

    recall: float
    images: int
    top: int


def ranked(traced: Traced, places: Tensor, *, theta: Tensor | None, top: int) -> Ranked:
    """Returns the strongest of either kind among some places; equal ones in the order of their places.

    Args:
        traced: the influence of the pairs at `places`.
        places: (M,) in ascending order.
        theta: (N,) sizes of the removals, for relative influence.
        top: of either kind.
    """
    value = traced.plain if theta is None else _per_size(traced.plain, theta[places])
    order = torch.argsort(value, stable=True)
    harmful = order[value[order] < 0][:top]
    helpful = torch.argsort(-value, stable=True)
    helpful = helpful[value[helpful] > 0][:top]
    chosen = torch.cat([harmful, helpful])
    return Ranked(places[chosen], value[chosen], traced.pos[chosen], traced.neg[chosen])


def answered(
    tracer: Tracer,
    images: Tensor,
    labels: Tensor,
    *,
    sizes: Sizes | None,
    mode: Mode,
    top: int,
    way: Way,
    tick: Tick | None = None,
) -> Ranked:
    """Returns the `top` most harmful and most helpful pairs for the mean loss of one image or of several.

    Args:
        tracer: the pool and its model.
        images: (T, dv) test images.
        labels: (T,) their classes.
        sizes: of the removals; needed for relative influence.
        mode: what ranks.
        top: of either kind.
        way: how it is measured.
        tick: told of the pairs of each step of the fit.
    """
    if way == "fit" and mode == "relative":
        raise UsageError("Through the whole fit, influence is not relative.", fix="use the plain mode.")
    theta = sizes.theta if mode == "relative" and sizes is not None else None
    if way == "quick":
        return _quickly(tracer, images, labels, theta=theta, top=top)
    found = tracer.through_fit(images, labels, tick=tick) if way == "fit" else tracer.trace(images, labels, sizes=None)
    return ranked(found, torch.arange(len(tracer.pool)), theta=theta, top=top)


def _quickly(tracer: Tracer, images: Tensor, labels: Tensor, *, theta: Tensor | None, top: int) -> Ranked:
    reference, anchors = tracer.reference(images, labels), tracer.blocks[0][:ANCHORS]
    roughly = tracer.screen.totals(reference.v, anchors=anchors)
    value = roughly if theta is None else _per_size(roughly, theta)
    count = min(CANDIDATES, len(value))
    likely = (value.topk(count, largest=largest).indices for largest in (True, False))
    places = torch.from_numpy(np.unique(torch.cat([anchors, *likely]).numpy()))
    return ranked(tracer.of_pairs(reference, places), places, theta=theta, top=top)


def measured(
    tracer: Tracer, images: Tensor, labels: Tensor, *, sizes: Sizes | None, top: int = 20, tick: Tick | None = None
) -> Agreement:
    """Returns how the quick answer agrees with the exact one on some images."""
    mode: Mode = "plain" if sizes is None else "relative"
    compared: tuple[Way, Way] = ("exact", "quick")
    total = found = 0
    for row in range(len(labels)):
        exact, quick = (
            answered(tracer, images[[row]], labels[[row]], sizes=sizes, mode=mode, top=top, way=way) for way in compared
        )
        total, found = total + len(exact.places), found + int(torch.isin(exact.places, quick.places).sum())
        if tick is not None:
            tick(1)
    return Agreement(found / max(1, total), len(labels), top)


def _per_size(value: Tensor, theta: Tensor) -> Tensor:
    return torch.where(theta > 0, value / torch.where(theta > 0, theta, 1.0), 0.0)

"""Takes the two last linear layers out of a model of open_clip, so that its towers end in the features before them.

The layer is taken away rather than watched: the tower then returns its features itself, nothing is computed twice, and
the product with the head is left to whoever wants embeddings. What counts as the last linear layer:

| tower | last layer |
|---|---|
| ViT | `visual.proj` |
| ModifiedResNet | `visual.attnpool.c_proj`, of the pooled token alone |
| timm | `head.proj`, the second layer of `head.mlp`, the projection of an attention pool, or the trunk's classifier |
| text transformer | `text_projection`, a matrix or a layer with a bias |
| Hugging Face | `proj`, or the last layer of its MLP (BiomedCLIP) |
| none at all | the identity: the features are the embeddings |
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from chips_core.clip.library import open_clip_module
from chips_core.errors import InputError


@dataclass(frozen=True)
class Layer:
    """A linear layer: x -> weight x + bias."""

    weight: Tensor  # (d, width)
    bias: Tensor | None = None  # (d,)

    def as_head(self) -> Tensor:
        """Returns (d, width), or (d, width + 1) where there is a bias, which the features' constant 1 meets."""
        columns = [self.weight] if self.bias is None else [self.weight, self.bias[:, None]]
        return torch.cat([column.detach().float().cpu() for column in columns], dim=1).contiguous()


@dataclass(frozen=True)
class Endpoint:
    """The last layers of both towers; the model they are from no longer has them."""

    image: Layer
    text: Layer


def take_endpoint(model: Any) -> Endpoint:
    """Removes the last linear layer of both towers of `model`, in place, and returns the two."""
    width = int(model.visual.output_dim) if hasattr(model.visual, "output_dim") else None
    text = _take_text(model)
    image = _take_image(model.visual)
    size = next((len(layer.weight) for layer in (image, text) if layer is not None), width)
    if size is None:
        raise InputError("This model has no last linear layer in either tower.", fix="use a CLIP with projections.")
    return Endpoint(image or Layer(torch.eye(size)), text or Layer(torch.eye(size)))


def _take_image(visual: Any) -> Layer | None:
    """Takes the last layer of an image tower; None where it has none."""
    open_clip_module()
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, VisionTransformer):
        return _take_matrix(visual, "proj")
    if isinstance(visual, ModifiedResNet):
        pool = visual.attnpool
        visual.attnpool = PooledAttention(pool)
        return Layer(pool.c_proj.weight, pool.c_proj.bias)
    if isinstance(visual, TimmModel):
        return _take_timm(visual)
    raise InputError(
        f"Image towers of the kind {type(visual).__name__} are not supported.",
        fix="use a model whose image tower is a ViT, a ResNet or from timm.",
    )


def _take_timm(visual: Any) -> Layer | None:
    """Takes the last layer of open_clip's wrapper round a timm model."""
    head = visual.head
    if "proj" in head._modules:
        return _take_linear(head, "proj")
    if "mlp" in head._modules:
        return _take_linear(head.mlp, "fc2")
    if "pool" in head._modules:
        # an attention pool projects every token and then picks or averages them: the order does not matter
        return _take_linear(head.pool, "proj")
    name = next((name for name, layer in visual.trunk.named_modules() if layer is visual.trunk.get_classifier()), "")
    classifier = visual.trunk.get_submodule(name) if name else None
    if not isinstance(classifier, nn.Linear):
        return None
    owner, _, last = name.rpartition(".")
    return _take_linear(visual.trunk.get_submodule(owner), last)


def _take_text(model: Any) -> Layer | None:
    """Takes the last layer of a text tower; None where it has none."""
    tower = getattr(model, "text", model)
    if hasattr(tower, "text_projection"):
        if isinstance(tower.text_projection, nn.Linear):
            layer = tower.text_projection
            tower.text_projection = None
            return Layer(layer.weight, layer.bias)
        return _take_matrix(tower, "text_projection")
    projection = getattr(tower, "proj", None)
    if isinstance(projection, nn.Linear):
        return _take_linear(tower, "proj")
    if isinstance(projection, nn.Sequential) and isinstance(projection[-1], nn.Linear):
        return _take_linear(projection, str(len(projection) - 1))
    if isinstance(projection, nn.Identity):
        return None
    raise InputError(
        f"The text tower {type(tower).__name__} has no projection that is known here.",
        fix="use a model whose text tower ends in a linear layer or an MLP.",
    )


def _take_matrix(owner: Any, name: str) -> Layer | None:
    """Takes a matrix that multiplies from the right."""
    matrix = getattr(owner, name)
    setattr(owner, name, None)
    return None if matrix is None else Layer(matrix.T)


def _take_linear(owner: Any, name: str) -> Layer:
    """Takes a linear layer and leaves the identity in its place."""
    layer = getattr(owner, name)
    setattr(owner, name, nn.Identity())
    return Layer(layer.weight, layer.bias)


class PooledAttention(nn.Module):
    """open_clip's `AttentionPool2d` up to its last layer, and for the pooled token alone.

    The original computes an answer for every position and keeps the first; here only the first asks.
    """

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.positional_embedding = pool.positional_embedding
        self.q_proj, self.k_proj, self.v_proj = pool.q_proj, pool.k_proj, pool.v_proj
        self.num_heads = int(pool.num_heads)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the pooled features of a grid, (B, width, H, W) -> (B, width)."""
        x = x.flatten(2).transpose(1, 2)  # (B, H W, width)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        x = x + self.positional_embedding.to(x.dtype)
        query, key, value = self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x)
        query, key, value = self._by_head(query), self._by_head(key), self._by_head(value)
        answer = functional.scaled_dot_product_attention(query, key, value)
        return answer.transpose(1, 2).flatten(1)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.num_heads, -1).transpose(
            1, 2
        )  # (B, heads, tokens, width / heads)

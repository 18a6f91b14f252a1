"""DeepFM: a factorisation machine and a deep network on the same vectors.

Guo, Tang, Ye, Li, He, "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction",
IJCAI 2017. The fields are the user, the item (with its features), the mean of the newest liked
items and minus the mean of the newest disliked items:

    head = sum over pairs of fields <v_f, v_g>  +  perceptron([v_1, ..., v_4])

The histories are fields so that unknown users are served. The vectors of their items are those of
the candidates, hence the minus: an item like the disliked ones has a negative product. Without
hidden layers this is a factorisation machine. By default the log-odds of a rate regression
are added, which the paper does not do (see ``network``).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from warmstart.backbones.click.network import NetworkConfig, NetworkModel, Perceptron
from warmstart.backbones.click.tables import Fields


class DeepFmConfig(NetworkConfig):
    """Settings of DeepFM; see ``NetworkConfig``. ``hidden = ()`` gives a factorisation machine."""

    kind: Literal["deepfm"] = "deepfm"


class DeepFm(NetworkModel):
    """DeepFM, or a factorisation machine."""

    name = "deepfm"
    config_type = DeepFmConfig

    def _new_head(self) -> nn.Module:
        return DeepFmHead(self.config.width, self.config.hidden)


class DeepFmHead(nn.Module):
    """Products of all pairs of fields, and a perceptron if there are hidden layers."""

    def __init__(self, width: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.deep = Perceptron(4 * width, hidden) if hidden else None

    def forward(self, fields: Fields) -> Tensor:
        """Compute log-odds: shape (batch,)."""
        liked = mean_item(fields.liked, fields.liked_given)
        disliked = -mean_item(fields.disliked, fields.disliked_given)
        vectors = [fields.user, fields.item, liked, disliked]
        total = torch.stack(vectors).sum(dim=0)
        squares = torch.stack([vector * vector for vector in vectors]).sum(dim=0)
        products = (total * total - squares).sum(dim=1) / 2
        if self.deep is None:
            return products
        return products + self.deep(torch.cat(vectors, dim=1))[:, 0]


def mean_item(items: Tensor, given: Tensor) -> Tensor:
    """Sum of the vectors of a list over its length + 1, so that short lists count less.

    Args:
        items: shape (batch, length, width), 0 for padding.
        given: shape (batch, length, 1).

    Returns:
        Shape (batch, width).
    """
    return items.sum(dim=1) / (given.sum(dim=1) + 1)

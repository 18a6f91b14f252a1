"""DIN, the deep interest network: the history as the candidate item sees it.

Zhou, Zhu, Song, Fan, Zhu, Ma, Yan, Jin, Li, Gai, "Deep Interest Network for Click-Through Rate
Prediction", KDD 2018. An interest is a sum of the items of the history, weighted by how much each
has to do with the candidate. Here there are two, of liked and of disliked items:

    interest(H) = sum_j a_j h_j,   a = softmax_j <h_j, v>
    head        = <v_user + l + d, v>  +  perceptron([v_user, v, l, d, l * v, d * v])
    l, d        = interest(liked items), - interest(disliked items)

with v the candidate and h_j the items of a history. The paper computes a_j by a small network of
(h_j, v) and does not normalise it; on MovieLens-100K that was about six times as slow and no better
on validation. The products stand outside the perceptron because without them the validation AUC
fell (.806 to .799). By default the log-odds of a rate regression are added, which the paper does
not do (see ``network``).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from warmstart.backbones.click.network import NetworkConfig, NetworkModel, Perceptron
from warmstart.backbones.click.tables import Fields

_MINUS_INFINITY = -1e9  # a list without items then has equal weights, not NaN


class DinConfig(NetworkConfig):
    """Settings of DIN; see ``NetworkConfig``."""

    kind: Literal["din"] = "din"


class Din(NetworkModel):
    """The deep interest network, over liked and disliked items."""

    name = "din"
    config_type = DinConfig

    def _new_head(self) -> nn.Module:
        return DinHead(self.config.width, self.config.hidden)


class DinHead(nn.Module):
    """Products of the candidate with the other fields, and a perceptron if it has hidden layers."""

    def __init__(self, width: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.deep = Perceptron(6 * width, hidden) if hidden else None

    def forward(self, fields: Fields) -> Tensor:
        """Compute log-odds: shape (batch,)."""
        item = fields.item
        liked = interest(item, fields.liked, fields.liked_given)
        disliked = -interest(item, fields.disliked, fields.disliked_given)
        products = ((fields.user + liked + disliked) * item).sum(dim=1)
        if self.deep is None:
            return products
        inputs = [fields.user, item, liked, disliked, liked * item, disliked * item]
        return products + self.deep(torch.cat(inputs, dim=1))[:, 0]


def interest(candidate: Tensor, items: Tensor, given: Tensor) -> Tensor:
    """Weight the items of a history by their likeness to the candidate.

    Args:
        candidate: shape (batch, width).
        items: shape (batch, length, width), 0 for padding.
        given: shape (batch, length, 1).

    Returns:
        Shape (batch, width); 0 for an empty history.
    """
    likeness = (items * candidate[:, None]).sum(dim=2, keepdim=True)
    weights = torch.softmax(likeness.masked_fill(given == 0, _MINUS_INFINITY), dim=1)
    return (weights * items).sum(dim=1)

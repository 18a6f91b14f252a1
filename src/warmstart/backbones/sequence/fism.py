"""FISM: the state of a history is the sum of its items' vectors, divided by a power of its length.

Kabbur, Ning, Karypis, "FISM: Factored Item Similarity Models for Top-N Recommender Systems", KDD
2013. After t events with items i_1 .. i_t the state is W (p_1 + .. + p_t) / t^alpha + c, and an
item scores state . p.

- Published are two tables: P of the items that are read, Q of those that are scored. Here one table
  serves for both, and the map W makes them different (Q = P W). So an item has one vector, and a
  new item whose vector is given can be read as well as scored (``SequenceBackbone.encode``); it
  would have no row in a second table.
- c takes the place of the published bias of each item: p . c.
- Published, an item is predicted from all others of its user, later ones too. Here from those
  before it, as in every sequence backbone: the item to predict is never in the sum.
- The loss is that of ``SequenceTrainee``. With a temperature vectors are normalised before they are
  summed, and the state afterwards; ``alpha`` then sets how much a longer history outweighs c.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from warmstart.backbones.sequence.base import SequenceBackbone
from warmstart.backbones.sequence.network import Dropout, SequenceNetwork
from warmstart.backbones.sequence.settings import SequenceSettings


class FismConfig(SequenceSettings):
    """Settings of FISM.

    Attributes:
        alpha: the sum over t events is divided by t to this power: 0 is a sum, 1 a mean.
    """

    kind: Literal["fism"] = "fism"
    alpha: float = Field(default=0.5, ge=0, le=1)


class Fism(SequenceBackbone):
    """The sum of the vectors of a history, in any order."""

    name = "fism"
    config_type = FismConfig

    def _network(self, n_items: int) -> SequenceNetwork:
        return _FismNetwork(n_items, self.config)


class _FismNetwork(SequenceNetwork):
    """Running sums of the vectors, and a linear map from them to item vectors."""

    def __init__(self, n_items: int, config: FismConfig) -> None:
        super().__init__(n_items, config.width, config.temperature)
        self.alpha = config.alpha
        self.output = nn.Linear(config.width, config.width)
        self.input_dropout = Dropout(config.input_dropout)
        self.dropout = Dropout(config.dropout)

    def read(self, vectors: torch.Tensor) -> torch.Tensor:
        counts = torch.arange(1, vectors.shape[1] + 1, device=vectors.device)
        # A running sum holds no place after its own, so none of those after the end of a history.
        sums = self.input_dropout(vectors).cumsum(dim=1) / counts[:, None] ** self.alpha
        return self.output(self.dropout(sums))

"""GRU4Rec: a recurrent network over the history.

Hidasi, Karatzoglou, Baltrunas, Tikk, "Session-based Recommendations with Recurrent Neural
Networks", ICLR 2016. The loss is the softmax over all items instead of a ranking loss over the
items of the batch.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from warmstart.backbones.sequence.base import SequenceBackbone
from warmstart.backbones.sequence.network import Dropout, SequenceNetwork
from warmstart.backbones.sequence.settings import SequenceSettings


class Gru4RecConfig(SequenceSettings):
    """Settings of GRU4Rec.

    Attributes:
        layers: number of recurrent layers.
    """

    kind: Literal["gru4rec"] = "gru4rec"
    layers: int = Field(default=1, ge=1)


class Gru4Rec(SequenceBackbone):
    """A recurrent network over the history."""

    name = "gru4rec"
    config_type = Gru4RecConfig

    def _network(self, n_items: int) -> SequenceNetwork:
        return _GruNetwork(n_items, self.config)


class _GruNetwork(SequenceNetwork):
    """Gated recurrent layers, and a linear map from their states to item vectors."""

    def __init__(self, n_items: int, config: Gru4RecConfig) -> None:
        super().__init__(n_items, config.width, config.temperature)
        self.recurrent = nn.GRU(config.width, config.width, config.layers, batch_first=True)
        self.output = nn.Linear(config.width, config.width)
        self.input_dropout = Dropout(config.input_dropout)
        self.dropout = Dropout(config.dropout)

    def read(self, vectors: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(self.input_dropout(vectors))
        return self.output(self.dropout(states))

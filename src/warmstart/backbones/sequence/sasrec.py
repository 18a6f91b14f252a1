"""SASRec: self-attention over the history.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018.
"""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from warmstart.backbones.sequence.base import SequenceBackbone
from warmstart.backbones.sequence.network import Dropout, SequenceNetwork
from warmstart.backbones.sequence.settings import SequenceSettings


class SasRecConfig(SequenceSettings):
    """Settings of SASRec.

    Attributes:
        layers: number of blocks of attention and feed-forward layers.
        heads: attention heads; divides ``width``.
    """

    kind: Literal["sasrec"] = "sasrec"
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _heads_must_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads must divide width = {self.width}, got {self.heads}")
        return self


class SasRec(SequenceBackbone):
    """Self-attention over the history."""

    name = "sasrec"
    config_type = SasRecConfig

    def _network(self, n_items: int) -> SequenceNetwork:
        return _SasRecNetwork(n_items, self.config)


class _SasRecNetwork(SequenceNetwork):
    """Adds a vector for each place of the history, then blocks with normalised inputs."""

    def __init__(self, n_items: int, config: SasRecConfig) -> None:
        super().__init__(n_items, config.width, config.temperature)
        self.places = nn.Parameter(torch.randn(config.max_length, config.width) * 0.02)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.dropout = Dropout(config.input_dropout)
        self.norm = nn.LayerNorm(config.width)

    def read(self, vectors: torch.Tensor) -> torch.Tensor:
        states = self.dropout(vectors + self.places[: vectors.shape[1]])
        for block in self.blocks:
            states = block(states)
        return self.norm(states)


class _Block(nn.Module):
    """Attention to the same and earlier places, then a feed-forward layer, each added to x."""

    def __init__(self, config: SasRecConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.inputs, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout, self.rate = Dropout(config.dropout), config.dropout
        for layer in (self.inputs, self.output, self.up, self.down):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.dropout(self._attention(self.norms[0](x)))
        # torch computes the exact GELU by oneDNN, whose kernel and buffers for each of the
        # thousands of shapes of a batch fragment the heap: 100 MB more in each epoch.
        inner = functional.gelu(self.up(self.norms[1](x)), approximate="tanh")
        return x + self.dropout(self.down(self.dropout(inner)))

    def _attention(self, x: torch.Tensor) -> torch.Tensor:
        histories, length, width = x.shape
        parts = self.inputs(x).view(histories, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, dropout_p=rate
        )
        return self.output(mixed.transpose(1, 2).reshape(histories, length, width))

"""Settings that all sequence backbones share."""

from typing import Literal

from pydantic import Field

from warmstart.backbones.base import EpochConfig


class SequenceSettings(EpochConfig):
    """Settings of every sequence backbone.

    Attributes:
        width: length of item vectors and states.
        max_length: newest events of a history that a state depends on.
        loss: "softmax" (cross-entropy over all items) or "bce" (one sampled item per position, as
            published for SASRec).
        temperature: divides cosines; None uses dot products.
        dropout: fraction of the numbers that training sets to zero, in each layer.
        learning_rate: learning rate of Adam.
        weight_decay: decoupled weight decay.
        batch_size: approximate events per step.
    """

    width: int = Field(default=128, ge=1)
    max_length: int = Field(default=50, ge=1)
    loss: Literal["softmax", "bce"] = "softmax"
    temperature: float | None = Field(default=0.07, gt=0)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    learning_rate: float = Field(default=0.002, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=1024, ge=1)

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
        initial: item vectors at the start: "svd" (principal directions of the histories as sets of
            items) or "random".
        dropout: fraction of the numbers that training sets to zero, in each layer.
        input_dropout: the same for the vectors of the items that are read.
        learning_rate: learning rate of Adam in the first step; it falls linearly to zero over
            ``epochs``.
        batch_size: approximate events per step.
        half_precision: compute the logits of the softmax in bfloat16: faster on processors that
            multiply matrices of it (CUDA, CPUs with AMX), slower on others.
        fold_in_l2: regulariser of the direction of a new item, in units of the mean variance of
            the states.
    """

    width: int = Field(default=128, ge=1)
    epochs: int = Field(default=10, ge=1)
    validate_every: int = Field(default=2, ge=1)
    max_length: int = Field(default=50, ge=1)
    loss: Literal["softmax", "bce"] = "softmax"
    temperature: float | None = Field(default=0.07, gt=0)
    initial: Literal["svd", "random"] = "svd"
    dropout: float = Field(default=0.5, ge=0, lt=1)
    input_dropout: float = Field(default=0.3, ge=0, lt=1)
    learning_rate: float = Field(default=0.004, gt=0)
    batch_size: int = Field(default=1024, ge=1)
    half_precision: bool = False
    fold_in_l2: float = Field(default=1.0, gt=0)

"""What all sequence networks share: the item table, dropout, the scale of the states."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import nn
from torch.nn import functional

_BYTES = 8  # random bytes of one draw
_LENGTH = 0.2  # of the item vectors before training


class SequenceNetwork(nn.Module, ABC):
    """Reads item vectors in order; its states predict the item that follows.

    The input vectors of the items are the vectors that score them. If normalised, these vectors
    have unit length and a state has length 1 / temperature.

    Args:
        n_items: number of items that can be read and predicted.
        width: length of item vectors and states.
        temperature: divides cosines; None uses dot products of vectors of any length.
    """

    def __init__(self, n_items: int, width: int, temperature: float | None) -> None:
        super().__init__()
        self.width, self.temperature = width, temperature
        self.items = nn.Parameter(torch.randn(n_items, width) * _LENGTH / width**0.5)

    @abstractmethod
    def read(self, vectors: torch.Tensor) -> torch.Tensor:
        """Compute a state after each item, from it and earlier items only.

        Args:
            vectors: float32, shape (histories, length, width); places after the end of a history
                may hold anything.

        Returns:
            float32, shape (histories, length, width).
        """

    def start_from(self, vectors: np.ndarray) -> None:
        """Replace random item vectors by given ones of the same length; zero vectors are skipped.

        Args:
            vectors: float32, shape (n_items, at most width); their lengths do not matter.
        """
        found = functional.normalize(torch.from_numpy(vectors), dim=1)
        given = found.any(dim=1)
        with torch.no_grad():
            self.items[given, : vectors.shape[1]] = _LENGTH * found[given]

    def table(self) -> torch.Tensor:
        """Compute the vectors that score the items: float32, shape (n_items, width)."""
        return self.items if self.temperature is None else functional.normalize(self.items, dim=1)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Compute a state after each item.

        Args:
            items: rows of the item table, int64, shape (histories, length).

        Returns:
            float32, shape (histories, length, width); state @ ``table().T`` are the logits of the
            next item.
        """
        return self.states(functional.embedding(items, self.items))

    def states(self, vectors: torch.Tensor) -> torch.Tensor:
        """Compute a state after each item, as ``forward``, from the items' vectors.

        Args:
            vectors: float32, shape (histories, length, width).
        """
        if self.temperature is None:
            return self.read(vectors)
        states = self.read(functional.normalize(vectors, dim=2) * self.width**0.5)
        return functional.normalize(states, dim=2) / self.temperature


class Dropout(nn.Module):
    """Dropout with probabilities in steps of 1/256, three times as fast as torch's on a CPU.

    A random byte decides for each number, where torch draws four times as many.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropped = round(256 * probability)  # bytes below it drop their number

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or self.dropped == 0:
            return values
        draws = torch.empty(-(-values.numel() // _BYTES), dtype=torch.int64, device=values.device)
        kept = draws.random_(-(2**63), None).view(torch.uint8)[: values.numel()] >= self.dropped
        return values * kept.view(values.shape) * (256 / (256 - self.dropped))

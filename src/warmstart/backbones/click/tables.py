"""The vectors and biases of users and items, and the fields of a batch of pairs.

Row ``n_users``, or ``n_items``, of a table stands for an unknown user, an unknown item or the
padding of a short history. It is 0, and so are the rows of all users and items without training
pairs, which no gradient reaches.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.backbones.base import required_arrays
from warmstart.backbones.click.data import ClickData

_DEVIATION = 0.01  # of the vectors at the start: products are then close to 0


@dataclass(frozen=True)
class Fields:
    """The vectors of a batch of pairs, the input of a network's head.

    Attributes:
        user: shape (batch, width).
        item: shape (batch, width).
        liked, disliked: items of the history, shape (batch, length, width); 0 for padding.
        liked_given, disliked_given: 1 where a place holds an item, shape (batch, length, 1).
    """

    user: Tensor
    item: Tensor
    liked: Tensor
    disliked: Tensor
    liked_given: Tensor
    disliked_given: Tensor


@dataclass(frozen=True)
class Vectors:
    """Learned vectors and biases; the last row is that of the unknown user or item.

    Attributes:
        users: shape (n_users + 1, width).
        items: shape (n_items + 1, width), features included.
        user_biases: shape (n_users + 1,).
        item_biases: shape (n_items + 1,), features included.
        content: shape (n_features, width), the part of an item's vector that a feature adds.
        content_bias: shape (n_features,), the same of its bias.
    """

    users: Tensor
    items: Tensor
    user_biases: Tensor
    item_biases: Tensor
    content: Tensor
    content_bias: Tensor

    def extended(self, features: np.ndarray) -> "Vectors":
        """Insert items without ratings before the last row: float32, (new_items, n_features)."""
        given = torch.from_numpy(features).to(self.items.device)
        grown = [
            torch.cat([table[:-1], given @ content, table[-1:]])
            for table, content in (
                (self.items, self.content),
                (self.item_biases, self.content_bias),
            )
        ]
        return replace(self, items=grown[0], item_biases=grown[1])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``from_arrays`` needs, by name."""
        return {field.name: getattr(self, field.name).cpu().numpy() for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], device: torch.device) -> "Vectors":
        """Load the arrays of ``arrays``.

        Raises:
            ArtefactError: an array is missing.
        """
        names = [field.name for field in fields(cls)]
        found = required_arrays("click network", arrays, *names)
        return cls(*(torch.from_numpy(array.copy()).to(device) for array in found))


class Tables(nn.Module):
    """The trainable vectors and biases: rows of users and items, and linear maps of features."""

    def __init__(self, pairs: ClickData, width: int) -> None:
        super().__init__()
        self.pairs = pairs
        self.users = _table(pairs.n_users, width, pairs.users)
        self.items = _table(pairs.n_items, width, pairs.items)
        self.user_biases = _table(pairs.n_users, 1)
        self.item_biases = _table(pairs.n_items, 1)
        self.content = self.content_bias = None
        if pairs.n_features:
            self.content = nn.Linear(pairs.n_features, width, bias=False)
            self.content_bias = nn.Linear(pairs.n_features, 1, bias=False)
            nn.init.normal_(self.content.weight, 0, _DEVIATION)
            nn.init.zeros_(self.content_bias.weight)

    def of_content(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """The parts of vectors and biases that come from features: (rows, width) and (rows,)."""
        weight = self.items.weight
        if self.content is None or self.content_bias is None:
            return weight.new_zeros(len(rows), weight.shape[1]), weight.new_zeros(len(rows))
        features = np.zeros((len(rows), self.pairs.n_features), np.float32)
        known = rows < self.pairs.n_items
        features[known] = self.pairs.item_features(rows[known])
        inputs = torch.from_numpy(features).to(weight.device)
        return self.content(inputs), self.content_bias(inputs)[:, 0]

    @torch.no_grad()
    def vectors(self) -> Vectors:
        """Return the present vectors and biases of all users and items."""
        vectors, biases = self.of_content(np.arange(self.pairs.n_items + 1))
        weight = self.items.weight
        content, content_bias = weight.new_zeros(0, weight.shape[1]), weight.new_zeros(0)
        if self.content is not None and self.content_bias is not None:
            content = self.content.weight.T.clone(memory_format=torch.contiguous_format)
            content_bias = self.content_bias.weight[0].clone()
        return Vectors(
            self.users.weight.clone(),
            weight + vectors,
            self.user_biases.weight[:, 0].clone(),
            self.item_biases.weight[:, 0] + biases,
            content,
            content_bias,
        )


def _table(rows: int, width: int, trained: np.ndarray | None = None) -> nn.Embedding:
    """Create a table with one more row; only ``trained`` rows are drawn, the others are 0."""
    table = nn.Embedding(rows + 1, width, padding_idx=rows)
    drawn = torch.zeros(rows + 1, 1)
    if trained is not None:
        drawn[torch.from_numpy(np.unique(trained).astype(np.int64))] = _DEVIATION
    table.weight.data.normal_().mul_(drawn)
    return table

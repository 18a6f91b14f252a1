"""Aggregators: from the vectors of a title's tokens to one vector of the width of the LM.

The vectors are rows of the LM's OUTPUT table (``CausalLM.head``), since the result meets the state
of the LM in a product, as these rows do. The paper does not say which table it takes; where the two
are tied, as in SmolLM2, there is no difference.

The public code of "Reindex-Then-Adapt" (arXiv 2405.12119) has three faults that are not repeated
here: its GRU reads padding before a title when it goes backwards, its transformer attends to
padding, and its sum of raw vectors ignores their scale.
"""

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from warmstart.errors import ConfigError

AggregatorKind: TypeAlias = Literal["mean", "sum", "weighted", "gru", "transformer"]
"""How the vectors of a title's tokens become one."""

_HEADS, _DROPOUT = 8, 0.1  # of the transformer, as published


class _Mean(nn.Module):
    """The mean; nothing is trained."""

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        return _valid(vectors, lengths).sum(dim=1) / lengths[:, None]


class _Sum(nn.Module):
    """The sum times a trained number, which begins at one over the expected number of tokens."""

    def __init__(self, tokens: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1 / tokens))

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        return _valid(vectors, lengths).sum(dim=1) * self.scale


class _Weighted(nn.Module):
    """A linear map of the mean, weighted by the softmax of one trained number per position."""

    def __init__(self, width: int, longest: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(longest))
        self.output = nn.Linear(width, width)

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        logits = self.places[: vectors.shape[1]].masked_fill(~_mask(vectors, lengths), -torch.inf)
        return self.output((logits.softmax(dim=1)[:, :, None] * vectors).sum(dim=1))


class _Gru(nn.Module):
    """A linear map of the state of a bidirectional GRU at the last token.

    Packed sequences: the backward direction begins at the last token, not on padding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(width // 4, 1)
        self.gru = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * hidden, width)

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            vectors, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, states = self.gru(packed)
        return self.output(torch.cat([states[0], states[1]], dim=1))


class _Transformer(nn.Module):
    """One transformer layer, read at the last token; padding is masked."""

    def __init__(self, width: int) -> None:
        super().__init__()
        if width % _HEADS:
            raise ConfigError(
                f"aggregator 'transformer' has {_HEADS} heads, but the LM has width {width}; "
                f"allowed: a multiple of {_HEADS}; take 'gru'"
            )
        self.layer = nn.TransformerEncoderLayer(width, _HEADS, dropout=_DROPOUT, batch_first=True)

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        read = self.layer(vectors, src_key_padding_mask=~_mask(vectors, lengths))
        return read[torch.arange(len(read), device=read.device), lengths - 1]


class Aggregator(nn.Module):
    """One vector for each title.

    "mean" and "sum" take the rows of the table as they are. The others get them with a mean square
    of one, and their results are divided by the square root of the width, so that scores begin near
    zero and the learning rate does not depend on the LM. (Undivided, training begins at scores of
    tens and ends worse: docs/log.md.)

    Args:
        kind: "mean" (untrained), "sum", "weighted", "gru" or "transformer".
        width: length of the vectors.
        longest: largest number of tokens of a title.
        tokens: mean number of tokens of a title.
        input_scale: root mean square of the entries of the table.

    Raises:
        ConfigError: the width does not allow this kind.
    """

    def __init__(
        self, kind: AggregatorKind, width: int, longest: int, tokens: float, input_scale: float
    ) -> None:
        super().__init__()
        self.kind: AggregatorKind = kind
        self.input_scale = nn.Buffer(torch.tensor(1.0 if self.is_plain else input_scale))
        self.own: nn.Module
        if kind == "mean":
            self.own = _Mean()
        elif kind == "sum":
            self.own = _Sum(tokens)
        elif kind == "weighted":
            self.own = _Weighted(width, longest)
        elif kind == "gru":
            self.own = _Gru(width)
        else:
            self.own = _Transformer(width)

    @property
    def is_plain(self) -> bool:
        """Whether its vectors are in the space of the table, to be met by raw states of the LM."""
        return self.kind in ("mean", "sum")

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Aggregate.

        Args:
            vectors: of the tokens, float32, padded at the end, shape (titles, tokens, width).
            lengths: number of tokens of each title, int64, shape (titles,), at least 1.

        Returns:
            float32, shape (titles, width).
        """
        found = self.own(vectors / self.input_scale, lengths)
        return found if self.is_plain else found / vectors.shape[2] ** 0.5


def _mask(vectors: Tensor, lengths: Tensor) -> Tensor:
    """Which places hold tokens: bool, shape (titles, tokens)."""
    return torch.arange(vectors.shape[1], device=vectors.device) < lengths[:, None]


def _valid(vectors: Tensor, lengths: Tensor) -> Tensor:
    return vectors * _mask(vectors, lengths)[:, :, None]

"""The loss of reindexing: the LM's own recommendations, as pairs of a query and an item.

    L = -log exp(q . e_c) / (exp(q . e_c) + sum of exp(q . e_n) over items n drawn uniformly)

(Section "reindex" of arXiv 2405.12119.) Drawn items that are the positive item of a pair do not
count for it; in the public code they may.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from warmstart.conversation.title_index import TitleTokens, all_vectors
from warmstart.train import TorchTrainee
from warmstart.train.seed import torch_seed
from warmstart.train.torch_trainee import StepConfig

CLIP_NORM = 5.0  # as published


@dataclass(frozen=True)
class Pairs:
    """Queries with items that answer them.

    Attributes:
        queries: row of the query's state, int64, shape (pairs,).
        items: row of the item, int64, shape (pairs,).
    """

    queries: np.ndarray
    items: np.ndarray

    def __len__(self) -> int:
        return len(self.items)

    def where(self, keep: np.ndarray) -> "Pairs":
        """Select pairs by position or boolean mask."""
        return Pairs(self.queries[keep], self.items[keep])


def sampled_loss(states: Tensor, vectors: Tensor, positives: Tensor, drawn: Tensor) -> Tensor:
    """Compute the mean loss of some pairs: a scalar.

    Args:
        states: queries, float32, shape (pairs, width).
        vectors: of some items, float32, shape (items, width).
        positives: the item of each pair, int64, shape (pairs,).
        drawn: whether an item was drawn, bool, shape (items,).
    """
    logits = states @ vectors.T
    own = functional.one_hot(positives, len(vectors)).bool()
    return functional.cross_entropy(logits.masked_fill(~(own | drawn), -torch.inf), positives)


class ReindexTrainee(TorchTrainee):
    """Trains an aggregator; the LM and the states do not change.

    Args:
        aggregator: trained in place; called with vectors and lengths of titles.
        tokens: of the titles of all items.
        states: queries, float32, shape (queries, width).
        pairs: of training.
        negatives: items drawn for a batch; all of them if there are no more.
        batch_size: pairs of a batch.
        learning_rate, weight_decay: of AdamW.
    """

    def __init__(
        self,
        aggregator: nn.Module,
        tokens: TitleTokens,
        states: np.ndarray,
        pairs: Pairs,
        *,
        negatives: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        self.aggregator, self.tokens, self.pairs = aggregator, tokens, pairs
        own = dict(aggregator.named_parameters())
        self._device = next(iter(own.values())).device
        self.states = torch.from_numpy(states).to(self._device)
        self._negatives, self._batch_size = min(negatives, len(tokens)), batch_size
        optimiser = torch.optim.AdamW(own.values(), lr=learning_rate, weight_decay=weight_decay)
        super().__init__(own, optimiser, StepConfig(clip_norm=CLIP_NORM))

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        order = rng.permutation(len(self.pairs))
        self.aggregator.train()
        with torch_seed(rng):
            for begin in range(0, len(order), self._batch_size):
                batch = self.pairs.where(order[begin : begin + self._batch_size])
                yield self.step(self.loss(batch, rng))
        self.aggregator.eval()

    def loss(self, batch: Pairs, rng: np.random.Generator) -> Tensor:
        """Compute the loss of some pairs: a scalar."""
        drawn = rng.choice(len(self.tokens), self._negatives, replace=False)
        rows = np.union1d(drawn, batch.items)
        vectors = self.aggregator(*self.tokens.vectors(torch.from_numpy(rows).to(self._device)))
        positives = np.searchsorted(rows, batch.items)
        return sampled_loss(
            self.states[torch.from_numpy(batch.queries).to(self._device)],
            vectors,
            torch.from_numpy(positives).to(self._device),
            torch.from_numpy(np.isin(rows, drawn)).to(self._device),
        )

    def recall(self, pairs: Pairs, k: int = 10) -> float:
        """Share of pairs whose item is among the k best of all items for its query."""
        vectors = torch.from_numpy(all_vectors(self.aggregator, self.tokens)).to(self._device)
        hits = 0
        for begin in range(0, len(pairs), self._batch_size):
            some = pairs.where(np.arange(begin, min(begin + self._batch_size, len(pairs))))
            scores = self.states[torch.from_numpy(some.queries).to(self._device)] @ vectors.T
            own = scores.gather(1, torch.from_numpy(some.items).to(self._device)[:, None])
            hits += int(((scores > own).sum(dim=1) < k).sum())
        return hits / len(pairs)

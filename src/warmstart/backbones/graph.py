"""Shared parts of the graph backbones: settings, batches and training.

Every step propagates over nearly the whole graph, whatever the batch (``propagation``), so batches
are big: a batch consists of whole users, and their scores against one shared sample of items are
the negatives of all their interactions.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal

import numba
import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch.nn import functional

from warmstart.backbones.base import FactorTrainee, shape_of
from warmstart.backbones.losses import bpr_loss, sampled_softmax_loss
from warmstart.backbones.propagation import Batch, Graph, adjacency, pair_scores
from warmstart.backbones.sampled_factor import SampledFactorConfig
from warmstart.train import TorchTrainee


class GraphConfig(SampledFactorConfig):
    """Settings of a graph backbone.

    Attributes:
        layers: number of propagation layers.
        loss: "softmax" (over ``negatives`` sampled items) or "bpr" (one sampled item per pair).
        negatives: items sampled per batch and shared by its users.
        batch_size: approximate interactions per step; a batch consists of whole users.
        learning_rate: learning rate of Adam.
        l2: weight of the squared norm of the batch's vectors in the loss.
        normalised: train on cosines instead of dot products; vectors then have unit length.
    """

    epochs: int = Field(default=40, ge=1)
    layers: int = Field(default=2, ge=0)
    loss: Literal["softmax", "bpr"] = "softmax"
    negatives: int = Field(default=2048, ge=1)
    batch_size: int = Field(default=32768, ge=1)
    learning_rate: float = Field(default=0.02, gt=0)
    l2: float = Field(default=1e-4, ge=0)
    temperature: float = Field(default=0.12, gt=0)
    normalised: bool = True


class GraphTrainee(TorchTrainee, FactorTrainee):
    """Trains the parameters behind ``propagate`` with Adam on a ranking loss.

    Args:
        train: canonical CSR.
        config: loss, sampling and optimiser settings.
        parameters: trainable tensors by name.
        device: device of the parameters.
        rates: learning rates by parameter name; other parameters use ``config.learning_rate``.
    """

    def __init__(
        self,
        train: sparse.csr_matrix,
        config: GraphConfig,
        parameters: dict[str, torch.Tensor],
        device: torch.device,
        rates: dict[str, float] | None = None,
    ) -> None:
        groups = [
            {"params": [parameter], "lr": (rates or {}).get(name, config.learning_rate)}
            for name, parameter in parameters.items()
        ]
        super().__init__(parameters, torch.optim.Adam(groups, fused=True))
        self.train, self.config, self.device = train, config, device
        self.warm = np.unique(train.indices)
        matrix = adjacency(train)
        self.isolated = np.diff(matrix.indptr) == 0
        self.graph = Graph(matrix, shape_of(train)[0], device)

    @abstractmethod
    def propagate(self, batch: Batch) -> torch.Tensor:
        """Compute the final vectors of a batch: shape (batch users + items, width)."""

    def final(self, users: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the vectors to score with, of some users and of all items.

        They are those of ``propagate``, normalised if ``config.normalised``.
        """
        vectors = self.propagate(Batch(self.graph, users))
        if self.config.normalised:
            vectors = functional.normalize(vectors, dim=1)
        return vectors[: len(users)], vectors[len(users) :]

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        n_users, _ = shape_of(self.train)
        with torch.no_grad():
            users, items = (part.cpu().numpy() for part in self.final(np.arange(n_users)))
        users[self.isolated[:n_users]] = 0
        items[self.isolated[n_users:]] = 0
        return users.copy(), items.copy()

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        counts = np.diff(self.train.indptr)
        users = rng.permutation(np.flatnonzero(counts))
        batches = max(1, round(self.train.nnz / self.config.batch_size))
        for batch in np.array_split(users, min(batches, len(users))):
            yield self.step(self._loss(np.sort(batch), rng))

    def _loss(self, users: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        config, pairs = self.config, self.train[users]
        rows = np.repeat(np.arange(len(users)), np.diff(pairs.indptr))
        x, y = self.final(users)
        weights = self._tensor(pairs.data)
        positive = pair_scores(x, y, pairs)
        of_users, of_items = (np.asarray(pairs.sum(axis=axis)).ravel() for axis in (1, 0))
        squares = torch.dot(self._tensor(of_users), (x * x).sum(dim=1))
        squares = squares + torch.dot(self._tensor(of_items), (y * y).sum(dim=1))
        if config.loss == "bpr":
            sampled = sample_negatives(
                rows, pairs.indptr, pairs.indices, self.warm, int(rng.integers(2**31))
            )
            drawn = sparse.csr_matrix((pairs.data, sampled, pairs.indptr), shape=pairs.shape)
            loss = bpr_loss(positive, pair_scores(x, y, drawn), weights, config.temperature)
        else:
            size = min(config.negatives, len(self.warm))
            sampled = np.sort(rng.choice(self.warm, size, replace=False)).astype(np.int64)
            negative = x @ y.index_select(0, self._tensor(sampled)).T
            false_negatives = np.stack(pairs[:, sampled].nonzero()).astype(np.int64)
            loss = sampled_softmax_loss(
                positive, negative, self._tensor(false_negatives), self._tensor(rows), weights,
                config.temperature,
            )  # fmt: skip
        return loss + config.l2 / 2 * squares / weights.sum()

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)


@numba.njit(nogil=True, cache=True)
def sample_negatives(
    rows: np.ndarray, indptr: np.ndarray, indices: np.ndarray, pool: np.ndarray, seed: int
) -> np.ndarray:
    """Draw for each pair an item of ``pool`` that its row does not contain; int64 (pairs,).

    ``indices`` must be sorted within rows. A row that contains all of ``pool`` gets one of its own
    items.
    """
    np.random.seed(seed)  # noqa: NPY002 - numba's own stream, not numpy's global one
    found = np.empty(len(rows), np.int64)
    for k in range(len(rows)):
        seen, item = indices[indptr[rows[k]] : indptr[rows[k] + 1]], 0
        for _ in range(100):
            item = pool[np.random.randint(len(pool))]  # noqa: NPY002
            place = np.searchsorted(seen, item)
            if place == len(seen) or seen[place] != item:
                break
        found[k] = item
    return found


def default_device() -> torch.device:
    """Return CUDA if available, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")

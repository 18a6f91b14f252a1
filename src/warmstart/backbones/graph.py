"""Shared parts of the graph backbones: adjacency, propagation and training.

Propagation multiplies by a symmetric sparse matrix, so its gradient is the same product; the
autograd functions use this instead of letting torch build a transpose. Every step propagates over
the whole graph, whatever the batch, so batches are big: a batch consists of whole users, and their
scores against one shared sample of items are the negatives of all their interactions.
"""

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

import numba
import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch.nn import functional

from warmstart.backbones.base import FactorTrainee, shape_of
from warmstart.backbones.losses import bpr_loss, sampled_softmax_loss, weighted_mean
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


def adjacency(train: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return D^-1/2 (0 R; R' 0) D^-1/2 as float32 CSR, users first; isolated rows stay empty."""
    graph = sparse.block_array([[None, train], [train.T, None]], format="csr", dtype=np.float32)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    return sparse.csr_matrix(graph.multiply(scale[:, None]).multiply(scale), dtype=np.float32)


def to_torch(matrix: sparse.csr_matrix, device: torch.device) -> torch.Tensor:
    """Copy a scipy CSR matrix to a torch CSR tensor on ``device``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        warnings.filterwarnings("ignore", "Sparse invariant checks are implicitly disabled")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data),
            matrix.shape,
            device=device,
        )


class Propagate(torch.autograd.Function):
    """Product of a symmetric sparse matrix and vectors; backward is the same product."""

    @staticmethod
    def forward(ctx: Any, vectors: torch.Tensor, graph: torch.Tensor) -> torch.Tensor:
        ctx.graph = graph
        return graph @ vectors

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.graph @ gradients[0], None


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
        graph = adjacency(train)
        self.isolated = np.diff(graph.indptr) == 0
        self.graph = to_torch(graph, device)

    @abstractmethod
    def propagate(self) -> torch.Tensor:
        """Compute the final vectors, users first: shape (n_users + n_items, width)."""

    def final(self) -> torch.Tensor:
        """Compute the vectors to score with: ``propagate``, normalised if ``config.normalised``."""
        vectors = self.propagate()
        return functional.normalize(vectors, dim=1) if self.config.normalised else vectors

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            vectors = self.final().cpu().numpy()
        vectors[self.isolated] = 0
        users, items = np.split(vectors, [shape_of(self.train)[0]])
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
        vectors = self.final()
        weights = torch.from_numpy(pairs.data).to(self.device)
        of_users = vectors.index_select(0, self._index(users))
        x = of_users.index_select(0, self._index(rows))
        y = vectors.index_select(0, self._index(pairs.indices, items=True))
        positive = (x * y).sum(dim=1)
        squared_norm = weighted_mean((x * x + y * y).sum(dim=1), weights) / 2
        if config.loss == "bpr":
            sampled = sample_negatives(
                rows, pairs.indptr, pairs.indices, self.warm, int(rng.integers(2**31))
            )
            z = vectors.index_select(0, self._index(sampled, items=True))
            loss = bpr_loss(positive, (x * z).sum(dim=1), weights, config.temperature)
        else:
            size = min(config.negatives, len(self.warm))
            sampled = np.sort(rng.choice(self.warm, size, replace=False))
            negative = of_users @ vectors.index_select(0, self._index(sampled, items=True)).T
            false_negatives = torch.from_numpy(
                np.stack(pairs[:, sampled].nonzero()).astype(np.int64)
            )
            loss = sampled_softmax_loss(
                positive, negative, false_negatives.to(self.device), self._index(rows), weights,
                config.temperature,
            )  # fmt: skip
        return loss + config.l2 * squared_norm

    def _index(self, numbers: np.ndarray, *, items: bool = False) -> torch.Tensor:
        shift = shape_of(self.train)[0] if items else 0
        return torch.from_numpy(numbers.astype(np.int64) + shift).to(self.device)


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

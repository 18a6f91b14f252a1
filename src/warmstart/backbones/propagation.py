"""Products of the normalised interaction graph and vectors, and scores of pairs.

A step of training needs the final vectors of its batch: of a few users and of all items. So the
last layer is computed for these rows only, and its gradient, which is zero for all other users, is
multiplied by their rows only: with two layers 3 instead of 4 products with the whole graph, with
one layer 1 instead of 2.

On the CPU the products are kernels of numba. torch's needs 64-bit indices, and at width 512 three
times as long; a kernel adds each row up in the order of its entries, so results do not depend on
the number of threads. On CUDA the products are torch's.
"""

import warnings
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import sparse

from warmstart.backbones.base import shape_of
from warmstart.backbones.threads import Array, Integer, kernel, over_rows


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


class Graph:
    """A symmetric sparse matrix over users and items, users first.

    Args:
        matrix: CSR, without entries between two users or two items.
        n_users: number of users.
        device: where the vectors are.

    Attributes:
        torch_matrix: the matrix on the device, if torch multiplies; None on the CPU.
    """

    def __init__(self, matrix: sparse.csr_matrix, n_users: int, device: torch.device) -> None:
        self.matrix, self.n_users, self.device = matrix, n_users, device
        self.all = np.arange(shape_of(matrix)[0])
        self.torch_matrix = None if device.type == "cpu" else to_torch(matrix, device)

    def times(self, vectors: torch.Tensor, plus: torch.Tensor | None = None) -> torch.Tensor:
        """Compute A v, or A v + plus: shape (users + items, width)."""
        if self.torch_matrix is not None:
            product = self.torch_matrix @ vectors
            return product if plus is None else product + plus
        out = torch.zeros_like(vectors) if plus is None else plus.clone()
        _add_product(self.matrix, self.all, vectors, out)
        return out


class Batch:
    """The rows of a graph that a step needs: some users, and all items.

    Args:
        graph: the graph.
        users: row numbers, sorted.
    """

    def __init__(self, graph: Graph, users: np.ndarray) -> None:
        self.graph, self.users = graph, users
        self.rows = np.concatenate([users, graph.all[graph.n_users :]])
        self.index = torch.from_numpy(self.rows).to(graph.device)

    def select(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return these rows of ``vectors``: shape (batch users + items, width)."""
        return vectors.index_select(0, self.index)

    def spread(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return all rows, zero but for these: the transpose of ``select``."""
        full = vectors.new_zeros(len(self.graph.all), vectors.shape[1])
        return full.index_copy_(0, self.index, vectors)

    def times(self, vectors: torch.Tensor, plus: torch.Tensor | None = None) -> torch.Tensor:
        """Compute these rows of A v, or of A v + plus, from all rows of ``vectors``."""
        if self.graph.torch_matrix is not None:
            return self.select(self.graph.times(vectors, plus))
        if plus is None:
            out = vectors.new_zeros(len(self.rows), vectors.shape[1])
        else:
            out = self.select(plus)
        _add_product(self.graph.matrix, self.rows, vectors, out)
        return out

    def transposed_times(self, full: torch.Tensor, *, plus: bool = False) -> torch.Tensor:
        """Compute A v, or A v + v, for ``full`` = v, which is zero but for the rows of the batch.

        Without ``plus`` it is the gradient of ``times``.
        """
        if self.graph.torch_matrix is not None:
            return self.graph.times(full, full if plus else None)
        n_users, out = self.graph.n_users, full.clone() if plus else torch.zeros_like(full)
        _add_product(self.graph.matrix, self.graph.all[:n_users], full, out)
        _add_product(self._of_items, np.arange(len(out) - n_users), full[self.users], out[n_users:])
        return out

    @cached_property
    def _of_items(self) -> sparse.csr_matrix:
        """The entries between these users and all items, CSR, shape (items, batch users)."""
        return self.graph.matrix[self.users][:, self.graph.n_users :].T.tocsr()


class Propagate(torch.autograd.Function):
    """The rows of A v that a batch needs, or all of them if it is None."""

    @staticmethod
    def forward(ctx: Any, vectors: torch.Tensor, graph: Graph, batch: Batch | None) -> torch.Tensor:
        ctx.graph, ctx.batch = graph, batch
        return graph.times(vectors) if batch is None else batch.times(vectors)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        gradient, batch = gradients[0].contiguous(), ctx.batch
        if batch is None:
            return ctx.graph.times(gradient), None, None
        return batch.transposed_times(batch.spread(gradient)), None, None


def pair_scores(users: torch.Tensor, items: torch.Tensor, pairs: sparse.csr_matrix) -> torch.Tensor:
    """Compute x_u.y_i of the stored pairs of a CSR matrix, in their order: shape (pairs,).

    Args:
        users: the vectors of its rows.
        items: the vectors of its columns.
        pairs: the pairs; repeated columns are allowed.
    """
    if users.device.type == "cpu":
        scores = PairScores.apply(users, items, pairs)
        assert isinstance(scores, torch.Tensor)
        return scores
    rows = np.repeat(np.arange(shape_of(pairs)[0]), np.diff(pairs.indptr))
    x = users.index_select(0, torch.from_numpy(rows).to(users.device))
    y = items.index_select(0, torch.from_numpy(pairs.indices.astype(np.int64)).to(users.device))
    return (x * y).sum(dim=1)


class PairScores(torch.autograd.Function):
    """``pair_scores`` on the CPU, without a copy of each pair's vectors."""

    @staticmethod
    def forward(
        ctx: Any, users: torch.Tensor, items: torch.Tensor, pairs: sparse.csr_matrix
    ) -> torch.Tensor:
        ctx.pairs = pairs
        ctx.save_for_backward(users, items)
        scores = users.new_empty(pairs.nnz)
        x, y = users.detach().numpy(), items.detach().numpy()
        over_rows(_scores, len(x), pairs.indptr, pairs.indices, x, y, scores.numpy())
        return scores

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        users, items = ctx.saved_tensors
        slopes = sparse.csr_matrix(
            (gradients[0].numpy(), ctx.pairs.indices, ctx.pairs.indptr), shape=ctx.pairs.shape
        )
        of_users, of_items = torch.zeros_like(users), torch.zeros_like(items)
        _add_product(slopes, np.arange(len(users)), items, of_users)
        _add_product(slopes.T.tocsr(), np.arange(len(items)), users, of_items)
        return of_users, of_items, None


def _add_product(
    matrix: sparse.csr_matrix, rows: np.ndarray, vectors: torch.Tensor, out: torch.Tensor
) -> None:
    """Add ``rows`` of matrix @ vectors to ``out``, shape (rows, width); all on the CPU."""
    over_rows(
        _add_rows, len(rows), rows, matrix.indptr, matrix.indices, matrix.data,
        vectors.detach().contiguous().numpy(), out.detach().numpy(),
    )  # fmt: skip


@kernel
def _add_rows(
    first: Integer, last: Integer, rows: Array, indptr: Array, indices: Array, data: Array,
    vectors: Array, out: Array,
) -> None:  # fmt: skip
    width = vectors.shape[1]
    for n in range(first, last):
        begin, end = indptr[rows[n]], indptr[rows[n] + 1]
        whole = end - (end - begin) % 4
        for k in range(begin, whole, 4):  # four vectors in one pass over ``out``
            a, b, c, d = indices[k], indices[k + 1], indices[k + 2], indices[k + 3]
            p, q, r, s = data[k], data[k + 1], data[k + 2], data[k + 3]
            for j in range(width):
                out[n, j] += (
                    p * vectors[a, j] + q * vectors[b, j] + r * vectors[c, j] + s * vectors[d, j]
                )
        for k in range(whole, end):
            a, p = indices[k], data[k]
            for j in range(width):
                out[n, j] += p * vectors[a, j]


@kernel
def _scores(
    first: Integer, last: Integer, indptr: Array, indices: Array, users: Array, items: Array,
    scores: Array,
) -> None:  # fmt: skip
    for row in range(first, last):
        for k in range(indptr[row], indptr[row + 1]):
            item, score = indices[k], users[row, 0] * items[indices[k], 0]
            for j in range(1, users.shape[1]):
                score += users[row, j] * items[item, j]
            scores[k] = score

"""User and item vectors of any backbone."""

import numpy as np
import torch
from scipy import sparse

from warmstart.backbones.base import Backbone, FactorBackbone, shape_of
from warmstart.backbones.propagation import to_torch
from warmstart.train.seed import torch_seed


def collaborative_vectors(
    backbone: Backbone, train: sparse.csr_matrix, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of a factor backbone, else principal directions of ``train``.

    The directions come from the matrix scaled by item degree^-1/2 and user degree^-1/4, so that
    neither active users nor popular items dominate them.

    Args:
        backbone: a fitted backbone.
        train: the interactions that it was fitted on, CSR, shape (n_users, n_items).
        width: maximum number of principal directions; a factor backbone keeps its own width.

    Returns:
        float32, shapes (n_users, width) and (n_items, width).
    """
    if isinstance(backbone, FactorBackbone):
        return backbone.vectors
    return principal_directions(train, width, user_exponent=0.25)


def principal_directions(
    matrix: sparse.csr_matrix, width: int, *, user_exponent: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute truncated singular vectors of an interaction matrix, times root singular values.

    The matrix is scaled by item degree^-1/2 and user degree^-``user_exponent`` before.

    Args:
        matrix: CSR, shape (n_users, n_items).
        width: maximum number of directions; the matrix may have fewer.
        user_exponent: the bigger, the less active users count.

    Returns:
        float32, shapes (n_users, directions) and (n_items, directions). Always the same for equal
        arguments.
    """
    users = np.maximum(matrix.getnnz(axis=1), 1) ** -user_exponent
    items = np.maximum(matrix.getnnz(axis=0), 1) ** -0.5
    scaled = matrix.multiply(users[:, None]).multiply(items[None, :]).tocsr()
    width = min(width, *(n - 1 for n in shape_of(matrix)))
    rows = to_torch(scaled, torch.device("cpu")).to_sparse_coo()
    with torch_seed(np.random.default_rng(0)):
        left, values, right = torch.svd_lowrank(rows, q=width, niter=4)
    root = values.sqrt()
    return (left * root).float().numpy(), (right * root).float().numpy()

"""User and item vectors of any backbone."""

import numpy as np
import torch
from scipy import sparse

from warmstart.backbones.base import Backbone, FactorBackbone, shape_of
from warmstart.backbones.graph import to_torch
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
    users = np.maximum(train.getnnz(axis=1), 1) ** -0.25
    items = np.maximum(train.getnnz(axis=0), 1) ** -0.5
    scaled = train.multiply(users[:, None]).multiply(items[None, :]).tocsr()
    width = min(width, *(n - 1 for n in shape_of(train)))
    rows = to_torch(scaled, torch.device("cpu")).to_sparse_coo()
    with torch_seed(np.random.default_rng(0)):
        left, values, right = torch.svd_lowrank(rows, q=width, niter=4)
    root = values.sqrt()
    return (left * root).float().numpy(), (right * root).float().numpy()

"""Similarity of candidates in [-1, 1], as ``mmr`` and ``dpp`` read it: one candidate to all.

A ``Similarity`` gives a row at a time, so nobody stores candidates x candidates numbers.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from scipy import sparse

from warmstart.errors import DataError
from warmstart.rerank.candidates import checked_genres, matrix_shape

Similarity: TypeAlias = Callable[[int], np.ndarray]
"""Position of a candidate -> its similarity to every candidate, float64, shape (candidates,)."""


def matrix_similarity(matrix: np.ndarray) -> Similarity:
    """Look similarities up in a symmetric matrix, shape (candidates, candidates).

    Raises:
        DataError: the matrix is not square.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise DataError(f"matrix_similarity: the matrix must be square, got shape {matrix.shape}")

    def to(position: int) -> np.ndarray:
        return matrix[position].astype(np.float64)

    return to


def cosine_similarity(vectors: np.ndarray) -> Similarity:
    """Compute cosines of vectors, shape (candidates, width); a zero vector is similar to none.

    Raises:
        DataError: ``vectors`` have not two axes.
    """
    if vectors.ndim != 2:
        raise DataError(
            f"cosine_similarity: vectors must have two axes (candidates, width), got {vectors.ndim}"
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)

    def to(position: int) -> np.ndarray:
        return (unit @ unit[position]).astype(np.float64)

    return to


def jaccard_similarity(genres: sparse.csr_matrix) -> Similarity:
    """Compare sets of genres: size of the intersection / size of the union.

    A candidate without genres is similar to none.

    Args:
        genres: bool CSR, shape (candidates, n_genres).

    Raises:
        DataError: ``genres`` is no bool CSR matrix.
    """
    clean = checked_genres("jaccard_similarity", genres, matrix_shape(genres)[0])
    counts = clean.astype(np.float64)
    sizes = np.diff(clean.indptr)

    def to(position: int) -> np.ndarray:
        own = np.zeros(matrix_shape(clean)[1])
        own[clean.indices[clean.indptr[position] : clean.indptr[position + 1]]] = 1
        both = counts @ own
        return both / np.maximum(sizes + sizes[position] - both, 1)

    return to

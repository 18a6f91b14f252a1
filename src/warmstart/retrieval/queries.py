"""Queries whose scores are inner products with vectors."""

from dataclasses import dataclass

import numpy as np

from warmstart.errors import DataError


@dataclass(frozen=True)
class ProductQueries:
    """Queries whose scores follow from inner products.

    Attributes:
        vectors: float32, shape (queries, width).
        caps: a product above its query's cap stands for any score from the cap to the product;
            float32, shape (queries,).
    """

    vectors: np.ndarray
    caps: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> "ProductQueries":
        """Queries whose scores are the products."""
        return cls(vectors, np.full(len(vectors), np.inf, np.float32))


def checked_queries(queries: np.ndarray, width: int) -> np.ndarray:
    """The queries of a search as a float32 array in the order of C.

    Raises:
        DataError: they have another width, or are not finite.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    if queries.ndim != 2 or queries.shape[1] != width or not np.isfinite(queries).all():
        raise DataError(
            f"search: queries must be finite and of shape (queries, {width}), got shape "
            f"{queries.shape}"
        )
    return queries

"""Queries whose scores are inner products with vectors."""

from dataclasses import dataclass

import numpy as np


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

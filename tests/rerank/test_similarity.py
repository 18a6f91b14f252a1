"""Similarities against their formulas."""

import numpy as np
import pytest

from tests.rerank.inputs import genres_of
from warmstart.errors import DataError
from warmstart.rerank.similarity import cosine_similarity, jaccard_similarity, matrix_similarity


def test_jaccard_by_hand():
    similar = jaccard_similarity(genres_of({0, 1}, {1, 2}, {0, 1}, {3}, set()))
    assert similar(0).tolist() == pytest.approx([1, 1 / 3, 1, 0, 0])
    assert similar(4).tolist() == [0, 0, 0, 0, 0]


def test_cosine_by_hand():
    similar = cosine_similarity(np.array([[3, 0], [1, 1], [0, -2], [0, 0]], np.float32))
    assert similar(1).tolist() == pytest.approx([0.5**0.5, 1, -(0.5**0.5), 0], abs=1e-6)
    with pytest.raises(DataError, match="vectors must have two axes"):
        cosine_similarity(np.zeros(3))


def test_a_matrix_is_looked_up():
    matrix = np.array([[1, 0.5], [0.5, 1]], np.float32)
    assert matrix_similarity(matrix)(1).tolist() == [0.5, 1]
    with pytest.raises(DataError, match=r"must be square, got shape \(2, 3\)"):
        matrix_similarity(np.zeros((2, 3)))

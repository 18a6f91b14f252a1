"""Order by score, groups of equal genres, and refusal of wrong input."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from scipy import sparse

from tests.rerank.inputs import candidates, float32, genres_of, plain
from warmstart.errors import ConfigError, DataError
from warmstart.rerank.candidates import best_first, best_of_genre_sets, genre_shares


def test_best_first_leaves_nan_out_and_keeps_the_order_of_ties():
    order = best_first("f", float32(1, np.nan, 3, 1, 3, -2))
    assert order.tolist() == [2, 4, 0, 3, 5]
    assert order.dtype == np.int32
    assert best_first("f", float32(np.nan)).tolist() == []


@given(candidates())
def test_only_candidates_with_k_better_ones_of_the_same_genres_are_dropped(case):
    scores, genres = case
    found = best_of_genre_sets("f", scores, genres, 2)
    sets = [frozenset(genres[i].indices.tolist()) for i in range(len(scores))]
    expected, seen = [], []
    for i in plain(scores, len(scores)):
        if seen.count(sets[i]) < 2:
            expected.append(i)
        seen.append(sets[i])
    assert found.positions.tolist() == expected
    assert found.scores.tolist() == scores[expected].tolist()
    assert (found.genre_sets[found.groups] == genres.toarray()[expected]).all()
    assert len(np.unique(found.groups)) == len({sets[i] for i in expected})


def test_genres_beyond_the_bits_of_a_number_are_told_apart():
    rows = [{0, 99}, {0}, {0, 99}, {0, 68}, {31}, {62}, set()]
    found = best_of_genre_sets("f", np.zeros(7, np.float32), genres_of(*rows, n_genres=100), 1)
    assert found.positions.tolist() == [0, 1, 3, 4, 5, 6]


def test_stored_zeros_and_repeated_entries_do_not_count():
    genres = genres_of({0}, {0, 1}, {0})
    genres.data[2] = False  # genre 1 of candidate 1
    found = best_of_genre_sets("f", float32(3, 2, 1), genres, 5)
    assert found.genre_sets.tolist() == [[True, False]]
    parts = (np.ones(3, bool), np.array([0, 0, 0]), np.array([0, 2, 3]))
    twice = sparse.csr_matrix(parts, shape=(2, 1))
    assert len(best_of_genre_sets("f", float32(3, 2), twice, 5).genre_sets) == 1


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros(2), "f: scores must be float32 with one axis .*, got float64 of shape"),
        (np.zeros((1, 2), np.float32), r"got float32 of shape \(1, 2\)"),
        (float32(0, np.inf), "f: scores must be finite, or NaN"),
        (float32(0, -np.inf), "f: scores must be finite, or NaN"),
    ],
)
def test_wrong_scores_are_named(scores, message):
    with pytest.raises(DataError, match=message):
        best_of_genre_sets("f", scores, genres_of({0}, {1}), 1)


def test_wrong_genres_and_k_are_named():
    genres, scores = genres_of({0}, {1}), float32(1, 2)
    others: list[tuple[Any, str]] = [
        (genres.astype(float), "float64 CSR"),
        (genres.tocsc(), "bool CSC"),
        (genres.toarray(), "ndarray"),
    ]
    for other, message in others:
        with pytest.raises(DataError, match=f"f: genres must be a bool CSR matrix, got {message}"):
            best_of_genre_sets("f", scores, other, 1)
    with pytest.raises(DataError, match=r"a row for each of 2 candidates, got shape \(1, 2\)"):
        best_of_genre_sets("f", scores, genres[:1], 1)
    with pytest.raises(ConfigError, match="f: k must be a whole number from 1, got 0"):
        best_of_genre_sets("f", scores, genres, 0)


def test_counts_of_a_history_become_shares():
    assert genre_shares("f", np.array([1, 0, 3]), 3).tolist() == [0.25, 0, 0.75]
    with pytest.raises(DataError, match=r"shape \(n_genres,\) = \(2,\), got \(3,\)"):
        genre_shares("f", np.ones(3), 2)
    for counts in ([0, 0], [1, -1], [1, np.nan], [np.inf, 1]):
        with pytest.raises(DataError, match="f: history_genres must be finite counts from 0"):
            genre_shares("f", np.array(counts), 2)

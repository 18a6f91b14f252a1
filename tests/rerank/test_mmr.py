"""Marginal relevance against a loop of the formula, and its limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rerank.inputs import candidates, check_list, float32, genres_of, plain
from warmstart.errors import ConfigError
from warmstart.rerank.mmr import genre_count_mmr, mmr
from warmstart.rerank.similarity import jaccard_similarity, matrix_similarity


def test_a_copy_of_the_best_waits():
    scores = float32(1, 0.9, 0.5)
    similar = jaccard_similarity(genres_of({0}, {0}, {1}))
    # Second place: .5 * .9 - .5 * 1 < .5 * .5 - 0.
    assert mmr(scores, similar, 3, diversity=0.5).tolist() == [0, 2, 1]
    # .9 * .9 - .1 * 1 > .9 * .5.
    assert mmr(scores, similar, 3, diversity=0.1).tolist() == [0, 1, 2]


@given(candidates(), st.integers(1, 6), st.sampled_from([0, 0.25, 0.5, 1]))
def test_every_place_has_the_best_value_of_the_formula(case, k, diversity):
    scores, genres = case
    similar = jaccard_similarity(genres)
    found = mmr(scores, similar, k, diversity=diversity)
    check_list(found, scores, k)
    assert len(found) == min(k, np.isfinite(scores).sum())
    for place, chosen in enumerate(found.tolist()):
        listed = found[:place].tolist()

        def value(i, listed=listed):
            nearest = max((similar(j)[i] for j in listed), default=0)
            return (1 - diversity) * scores[i] - diversity * nearest

        free = [i for i in range(len(scores)) if i not in listed and not np.isnan(scores[i])]
        best = sorted(free, key=lambda i: (-round(value(i), 9), -scores[i], i))[0]
        assert chosen == best
    if diversity == 0:
        assert found.tolist() == plain(scores, k)


def test_negative_similarity_is_not_taken_for_zero():
    matrix = np.array([[1, 0, -0.5], [0, 1, 0], [-0.5, 0, 1]])
    found = mmr(float32(1, 0.5, 0.5), matrix_similarity(matrix), 2, diversity=0.5)
    assert found.tolist() == [0, 2]


def test_values_out_of_range_are_named():
    similar = jaccard_similarity(genres_of({0}))
    with pytest.raises(ConfigError, match=r"mmr: diversity must be a number from 0 to 1, got 1\.5"):
        mmr(float32(1), similar, 1, diversity=1.5)
    with pytest.raises(ConfigError, match="mmr: k must be a whole number from 1, got 0"):
        mmr(float32(1), similar, 0, diversity=0.5)
    with pytest.raises(ConfigError, match="genre_count_mmr: penalty must be a finite number above"):
        genre_count_mmr(float32(1), genres_of({0}), 1, penalty=0)


def test_a_genre_pays_for_every_place_that_it_has():
    scores = float32(10, 9, 8, 7.5, 1)
    genres = genres_of({0}, {0}, {0}, {1}, {2})
    # Values of the third place: 8 - 2 * 1 for candidate 2 would be 6 with one place of genre 0.
    assert genre_count_mmr(scores, genres, 5, penalty=1).tolist() == [0, 1, 3, 2, 4]
    assert genre_count_mmr(scores, genres, 5, penalty=4).tolist() == [0, 3, 1, 4, 2]
    assert genre_count_mmr(scores, genres, 3, penalty=100).tolist() == [0, 3, 4]


def test_several_genres_pay_their_mean():
    scores = float32(10, 9, 8.7)
    # Candidate 1 shares one of two genres with the list, so it pays half; candidate 2 pays all.
    genres = genres_of({0}, {0, 1}, {0})
    assert genre_count_mmr(scores, genres, 2, penalty=1).tolist() == [0, 1]
    genres = genres_of({0}, {0}, {0, 1})
    assert genre_count_mmr(scores, genres, 2, penalty=1).tolist() == [0, 2]


@given(candidates(), st.integers(1, 6))
def test_a_small_penalty_only_breaks_ties(case, k):
    scores, genres = case
    found = genre_count_mmr(scores, genres, k, penalty=1e-6)
    check_list(found, scores, k)
    assert scores[found].tolist() == scores[plain(scores, k)].tolist()

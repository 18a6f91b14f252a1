"""Calibration by hand, and what it guarantees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rerank.inputs import all_lists, candidates, check_list, float32, genres_of, plain
from warmstart.errors import ConfigError, DataError
from warmstart.rerank.calibrated import calibrated, genre_divergence


def test_divergence_by_hand():
    genres = genres_of({0}, {0, 1}, {2})
    # q = (3/4, 1/4, 0), p = (1/2, 1/2, 0).
    q = 0.99 * np.array([0.75, 0.25]) + 0.01 * 0.5
    expected = 0.5 * np.log(0.5 / q[0]) + 0.5 * np.log(0.5 / q[1])
    found = genre_divergence(np.array([0, 1]), genres, np.array([2, 2, 0]))
    assert found == pytest.approx(expected)
    assert genre_divergence(np.array([0, 1]), genres, np.array([3, 1, 0])) == pytest.approx(0)
    # A list without any genre of the history: q~ = .01 p.
    assert genre_divergence(np.array([2]), genres, np.array([1, 1, 0])) == pytest.approx(
        np.log(100)
    )


def test_shares_follow_the_history():
    scores = np.linspace(1, 0, 40).astype(np.float32)
    genres = genres_of(*[{0}] * 20, *[{1}] * 20)
    for counts, expected in (((7, 3), 7), ((5, 5), 5), ((0, 1), 0)):
        found = calibrated(scores, genres, 10, history_genres=np.array(counts), weight=0.99)
        assert (found < 20).sum() == expected
        # The best of each genre are taken.
        assert sorted(found.tolist()) == [*range(expected), *range(20, 30 - expected)]


@given(candidates(), st.integers(1, 5), st.sampled_from([0, 0.3, 0.9, 1]), st.integers(0, 4))
def test_the_divergence_is_never_above_that_of_the_plain_list(case, k, weight, genre):
    scores, genres = case
    history = np.array([1, 0, 2, 0, 3]) + 4 * (np.arange(5) == genre)
    found = calibrated(scores, genres, k, history_genres=history, weight=weight)
    check_list(found, scores, k)
    expected = plain(scores, k)
    assert len(found) == len(expected)
    if weight == 0:
        assert found.tolist() == expected
    elif expected:
        bound = genre_divergence(np.array(expected), genres, history)
        assert genre_divergence(found, genres, history) <= bound + 1e-9


@given(candidates(max_candidates=7), st.integers(1, 3))
def test_the_value_lies_between_those_of_the_plain_and_of_the_best_list(case, k):
    scores, genres = case
    history = np.array([1, 0, 2, 0, 3])

    def value(chosen):
        if not len(chosen):
            return 0
        divergence = genre_divergence(np.array(chosen), genres, history)
        return 0.5 * scores[chosen].astype(float).sum() - 0.5 * divergence

    found = calibrated(scores, genres, k, history_genres=history, weight=0.5)
    best = max(value(chosen) for chosen in all_lists(scores, len(found)))
    assert value(plain(scores, k)) - 1e-9 <= value(found.tolist()) <= best + 1e-9
    if k == 1:
        assert value(found.tolist()) == pytest.approx(best)


def test_the_plain_list_wins_where_the_greedy_one_is_worse():
    # Greedy takes candidate 2 first, since it has all genres of the history; then whatever follows
    # is worse than candidates 0 and 1 together.
    scores, genres = float32(1, 1, 0.9), genres_of({0}, {1}, {0, 1})
    found = calibrated(scores, genres, 2, history_genres=np.array([1, 1]), weight=0.5)
    assert sorted(found.tolist()) == [0, 1]


def test_wrong_arguments_are_named():
    with pytest.raises(DataError, match="calibrated: history_genres must be finite counts"):
        calibrated(float32(1), genres_of({0}), 1, history_genres=np.zeros(1), weight=0.5)
    with pytest.raises(ConfigError, match="calibrated: weight must be a number from 0 to 1, got 7"):
        calibrated(float32(1), genres_of({0}), 1, history_genres=np.ones(1), weight=7)

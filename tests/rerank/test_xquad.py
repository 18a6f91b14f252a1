"""xQuAD by hand and against a loop of the formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rerank.inputs import candidates, check_list, float32, genres_of, plain
from warmstart.errors import ConfigError, DataError
from warmstart.rerank.xquad import xquad

HISTORY = np.array([3, 1, 0, 2, 2])


def test_a_covered_genre_counts_no_more():
    scores, genres = float32(0.9, 0.8, 0.2), genres_of({0}, {0}, {1})
    history = np.array([6, 4])
    # Second place: .5 * .8 against .5 * .2 + .5 * .4.
    assert xquad(scores, genres, 3, history_genres=history, diversity=0.5).tolist() == [0, 1, 2]
    # .2 * .8 against .2 * .2 + .8 * .4.
    assert xquad(scores, genres, 3, history_genres=history, diversity=0.8).tolist() == [0, 2, 1]


def test_values_that_differ_by_rounding_alone_are_ties():
    """After the first item, the others with genres have the same value, in other sums."""
    scores = float32(*[-1.0] * 6)
    genres = genres_of(set(), set(), set(), {0, 1, 4}, {0, 1, 4}, {4})
    found = xquad(scores, genres, 2, history_genres=HISTORY, diversity=0.5)
    assert found.tolist() == [3, 4]


@given(candidates(), st.integers(1, 6), st.sampled_from([0, 0.5, 1]))
def test_every_place_has_the_best_value_of_the_formula(case, k, diversity):
    scores, genres = case
    found = xquad(scores, genres, k, history_genres=HISTORY, diversity=diversity)
    check_list(found, scores, k)
    assert len(found) == min(k, np.isfinite(scores).sum())
    dense = genres.toarray()
    shares = dense / np.maximum(dense.sum(axis=1, keepdims=True), 1)
    for place, chosen in enumerate(found.tolist()):
        open_ = np.prod(1 - shares[found[:place]], axis=0) * HISTORY / HISTORY.sum()
        values = (1 - diversity) * scores.astype(float) + diversity * shares @ open_
        free = [i for i in plain(scores, len(scores)) if i not in found[:place]]
        assert chosen == max(free, key=lambda i: round(values[i], 9))
    if diversity == 0:
        assert found.tolist() == plain(scores, k)


def test_wrong_arguments_are_named():
    with pytest.raises(DataError, match="xquad: history_genres must have shape"):
        xquad(float32(1), genres_of({0}), 1, history_genres=np.ones(3), diversity=0.5)
    with pytest.raises(ConfigError, match="xquad: diversity must be a number from 0 to 1, got 2"):
        xquad(float32(1), genres_of({0}), 1, history_genres=np.ones(1), diversity=2)

"""Exactly K genres: by hand, against all lists, and where it is impossible."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rerank.inputs import all_lists, candidates, check_list, float32, genres_of
from warmstart.errors import ConfigError
from warmstart.rerank import exact_k as module
from warmstart.rerank.exact_k import exact_genres, exact_k


def best_by_trying(scores, genres, k, fits):
    """The longest lists that fit, and their highest sum of scores; None without any."""
    dense = genres.toarray()
    labelled = np.where(dense.any(axis=1), scores, np.nan)
    for length in range(k, 0, -1):
        sums = [
            scores[chosen].astype(float).sum()
            for chosen in all_lists(labelled, length)
            if fits(dense[chosen].any(axis=0))
        ]
        if sums:
            return length, max(sums)
    return None


def check_optimal(found, scores, genres, k, fits):
    check_list(found, scores, k)
    assert fits(genres[found].toarray().any(axis=0))
    expected = best_by_trying(scores, genres, k, fits)
    assert expected is not None
    assert len(found) == expected[0]
    assert scores[found].astype(float).sum() == pytest.approx(expected[1])
    assert scores[found].tolist() == sorted(scores[found].tolist(), reverse=True)


@pytest.mark.parametrize("max_nodes", [300, 3, 0], ids=["search", "both", "programme"])
@pytest.mark.parametrize("max_genres", [1, 3])
@settings(max_examples=60)
@given(st.data())
def test_no_list_with_exactly_k_genres_is_better(max_nodes, max_genres, data):
    scores, genres = data.draw(candidates(max_genres=max_genres))
    k, n_genres = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))

    def fits(union):
        return union.sum() == n_genres

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_NODES", max_nodes)
        if best_by_trying(scores, genres, k, fits) is None:
            with pytest.raises(ConfigError, match=f"exactly {n_genres} genres"):
                exact_k(scores, genres, k, n_genres=n_genres)
        else:
            found = exact_k(scores, genres, k, n_genres=n_genres)
            check_optimal(found, scores, genres, k, fits)


@pytest.mark.parametrize("max_genres", [1, 3])
@given(st.data())
def test_no_list_with_exactly_the_named_genres_is_better(max_genres, data):
    scores, genres = data.draw(candidates(max_genres=max_genres))
    k = data.draw(st.integers(1, 5))
    wanted = np.array(sorted(data.draw(st.sets(st.integers(0, 4), min_size=1))))

    def fits(union):
        return np.flatnonzero(union).tolist() == wanted.tolist()

    if best_by_trying(scores, genres, k, fits) is None:
        with pytest.raises(ConfigError, match="exactly the wanted genres"):
            exact_genres(scores, genres, k, wanted=wanted)
    else:
        found = exact_genres(scores, genres, k, wanted=wanted)
        check_optimal(found, scores, genres, k, fits)


@pytest.mark.parametrize("n_genres", [1, 2, 4, 7])
def test_single_genres_against_all_sets_of_genres(n_genres):
    """At the size of a real list: the best of each genre, then the best rest, of every set."""
    rng = np.random.default_rng(n_genres)
    genre = rng.integers(0, 8, 200)
    scores = (rng.random(200) + 0.3 * rng.random(8)[genre]).astype(np.float32)
    found = exact_k(scores, genres_of(*[{g} for g in genre]), 10, n_genres=n_genres)
    best = -np.inf
    for chosen in combinations(range(8), n_genres):
        tops = [np.where(genre == g, scores, -1).argmax() for g in chosen]
        rest = np.isin(genre, chosen)
        rest[tops] = False
        filled = np.sort(scores[rest])[::-1][: 10 - n_genres]
        best = max(best, scores[tops].sum(dtype=float) + filled.sum(dtype=float))
    assert scores[found].sum(dtype=float) == pytest.approx(best)
    assert len(np.unique(genre[found])) == n_genres


def test_search_and_programme_agree_at_the_size_of_a_real_list(monkeypatch):
    rng = np.random.default_rng(3)
    rows = [set(rng.choice(15, rng.integers(1, 4), replace=False).tolist()) for _ in range(400)]
    scores, genres = rng.gamma(0.3, size=400).astype(np.float32), genres_of(*rows, n_genres=15)
    for n_genres in (3, 6, 11, 14):
        sums = []
        for max_nodes in (10_000, 0):
            monkeypatch.setattr(module, "MAX_NODES", max_nodes)
            found = exact_k(scores, genres, 10, n_genres=n_genres)
            assert genres[found].toarray().any(axis=0).sum() == n_genres
            sums.append(scores[found].sum(dtype=float))
        assert sums[0] == pytest.approx(sums[1])


def test_the_best_item_gives_way_to_the_best_list():
    scores = float32(10, 1, 9, 8, 7)
    genres = genres_of({0}, {0}, {1}, {1}, {1})
    assert exact_k(scores, genres, 3, n_genres=1).tolist() == [2, 3, 4]
    assert exact_k(scores, genres, 3, n_genres=2).tolist() == [0, 2, 3]


def test_genres_count_together():
    scores = float32(5, 4, 3, 2)
    genres = genres_of({0, 1}, {2}, {1}, {0})
    assert exact_k(scores, genres, 2, n_genres=3).tolist() == [0, 1]
    assert exact_k(scores, genres, 2, n_genres=2).tolist() == [0, 2]
    assert exact_k(scores, genres, 1, n_genres=2).tolist() == [0]


def test_ties_go_to_the_genres_and_items_that_stand_first():
    scores, genres = np.ones(6, np.float32), genres_of({3}, {1}, {3}, {2}, {1}, {2})
    assert exact_k(scores, genres, 3, n_genres=2).tolist() == [0, 1, 2]
    assert exact_k(scores, genres, 2, n_genres=1).tolist() == [0, 2]
    several = genres_of({0, 1}, {0, 1}, {0, 1}, {2})
    assert exact_k(np.ones(4, np.float32), several, 2, n_genres=2).tolist() == [0, 1]


def test_numbers_and_order_of_genres_do_not_matter():
    rng = np.random.default_rng(0)
    rows = [set(rng.choice(9, rng.integers(1, 4), replace=False).tolist()) for _ in range(60)]
    scores = rng.random(60).astype(np.float32)
    found = exact_k(scores, genres_of(*rows, n_genres=9), 8, n_genres=4)
    renamed = [{(2 * g + 5) % 9 for g in row} for row in rows]
    assert exact_k(scores, genres_of(*renamed), 8, n_genres=4).tolist() == found.tolist()
    order = rng.permutation(60)
    moved = exact_k(scores[order], genres_of(*[rows[i] for i in order]), 8, n_genres=4)
    assert order[moved].tolist() == found.tolist()


def test_candidates_without_genres_and_nan_are_never_chosen():
    scores = float32(9, 8, np.nan, 1)
    genres = genres_of(set(), {0}, {0}, {0})
    assert exact_k(scores, genres, 3, n_genres=1).tolist() == [1, 3]
    assert exact_genres(scores, genres, 3, wanted=np.array([0])).tolist() == [1, 3]


def test_a_shorter_list_where_too_few_candidates_fit():
    scores, genres = float32(5, 4, 3), genres_of({0, 1}, {0, 2}, {0, 1})
    assert exact_k(scores, genres, 3, n_genres=2).tolist() == [0, 2]


def test_what_is_impossible_is_an_error_that_says_why():
    scores, genres = float32(3, 2, np.nan), genres_of({0}, {1}, {2})
    message = r"at most 10 items has exactly 3 genres; .* have 2 genres, at most 1 each"
    with pytest.raises(ConfigError, match=message):
        exact_k(scores, genres, 10, n_genres=3)
    with pytest.raises(ConfigError, match="at most 1 items has exactly 2 genres"):
        exact_k(scores, genres, 1, n_genres=2)
    with pytest.raises(ConfigError, match="at most 2 each"):
        exact_k(float32(1, 2), genres_of({0, 1}, {0, 1}), 2, n_genres=1)
    with pytest.raises(ConfigError, match="have 0 genres"):
        exact_k(float32(np.nan), genres_of({0}), 1, n_genres=1)
    values: list[Any] = [0, -1, 1.5, True]
    for n_genres in values:
        with pytest.raises(ConfigError, match="exact_k: n_genres must be a whole number from 1"):
            exact_k(scores, genres, 10, n_genres=n_genres)


def test_named_genres_that_cannot_be_had_are_named():
    scores, genres = float32(3, 2, 1), genres_of({0}, {1, 2}, {0, 1}, n_genres=4)
    with pytest.raises(ConfigError, match=r"no candidate without other genres has \['d'\]"):
        exact_genres(scores, genres, 2, wanted=np.array([0, 1, 3]), names="abcd")
    with pytest.raises(ConfigError, match=r"has \[3\]"):
        exact_genres(scores, genres, 2, wanted=np.array([0, 3]))
    with pytest.raises(ConfigError, match="k is too small"):
        exact_genres(scores, genres_of({0}, {1}, {2}), 2, wanted=np.array([0, 1, 2]))
    for wanted in ([], [4], [-1]):
        with pytest.raises(ConfigError, match="wanted must be columns from 0 to 3, at least one"):
            exact_genres(scores, genres, 2, wanted=np.array(wanted, np.int64))

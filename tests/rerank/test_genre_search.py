"""Branch and bound: whole scores, hard inputs and the limit of nodes."""

import numpy as np
import pytest

from tests.rerank.inputs import float32, genres_of
from warmstart.rerank import exact_k as module
from warmstart.rerank.exact_k import exact_k
from warmstart.rerank.genre_programme import solve_programme
from warmstart.rerank.genre_search import OutOfNodes, search


def movies(n, n_genres, seed):
    """Sets of one to three genres, some frequent and some rare, and scores of a long tail."""
    rng = np.random.default_rng(seed)
    weight = 1 / np.arange(1, n_genres + 1)
    sets = np.zeros((n, n_genres), bool)
    for row in sets:
        row[rng.choice(n_genres, rng.integers(1, 4), replace=False, p=weight / weight.sum())] = True
    return np.sort(rng.gamma(0.3, size=n))[::-1], sets


@pytest.mark.parametrize("n_genres", [1, 4, 8, 12])
def test_few_nodes_suffice_for_lists_of_movies(n_genres):
    for seed in range(5):
        scores, sets = movies(300, 18, seed)
        found = search(scores, sets, n_genres, 10, max_nodes=100)
        assert found is not None
        assert sets[found].any(axis=0).sum() == n_genres
        groups = np.unique(sets, axis=0, return_inverse=True)[1]
        other = solve_programme(scores, sets, groups, n_genres, 10)
        assert other is not None
        assert scores[found].sum() == pytest.approx(scores[other].sum(), abs=1e-5)


@pytest.mark.parametrize("seed", range(40))
def test_no_bound_is_too_low_where_genres_must_be_added(seed):
    """Short lists with nearly all genres: items that add genres replace much better ones."""
    rng = np.random.default_rng(seed)
    scores, sets = movies(40, 9, seed)
    length, n_genres = int(rng.integers(4, 7)), int(rng.integers(6, 10))
    found = search(scores, sets, n_genres, length, max_nodes=10_000)
    groups = np.unique(sets, axis=0, return_inverse=True)[1]
    other = solve_programme(scores, sets, groups, n_genres, length)
    assert (found is None) == (other is None)
    if found is not None and other is not None:
        assert scores[found].sum() == pytest.approx(scores[other].sum(), abs=1e-5)


def test_ties_do_not_make_the_search_try_everything():
    _, sets = movies(300, 18, 0)
    for n_genres in (2, 6, 10):
        found = search(np.ones(300), sets, n_genres, 10, max_nodes=100)
        assert found is not None
        assert sets[found].any(axis=0).sum() == n_genres


def test_the_limit_of_nodes_holds_and_the_programme_takes_over(monkeypatch):
    scores, sets = movies(300, 18, 0)
    with pytest.raises(OutOfNodes):
        search(scores, sets, 6, 10, max_nodes=2)
    monkeypatch.setattr(module, "MAX_NODES", 2)
    genres = genres_of(*[set(np.flatnonzero(row).tolist()) for row in sets], n_genres=18)
    found = exact_k(scores.astype(np.float32), genres, 10, n_genres=6)
    assert genres[found].toarray().any(axis=0).sum() == 6


def test_the_programme_takes_the_earlier_of_two_alike():
    scores, sets = np.array([2.0, 1, 1, 1]), np.array([[1, 0], [0, 1], [0, 1], [0, 1]], bool)
    found = solve_programme(scores, sets, np.array([0, 1, 1, 1]), 2, 2)
    assert found is not None
    assert sorted(found.tolist()) == [0, 1]
    assert solve_programme(scores, sets, np.array([0, 1, 1, 1]), 2, 1) is None


def test_a_hard_cover_is_found():
    """Five genres that only two rare items have together, with many better items of one genre."""
    rows = [{0}] * 20 + [{1}] * 20 + [{2, 3}, {4}, {2}, {3}]
    scores = float32(*np.linspace(1, 0.5, 40), 0.1, 0.1, 0.3, 0.3)
    found = exact_k(scores, genres_of(*rows), 4, n_genres=5)
    assert found.tolist() == [0, 20, 40, 41]
    assert exact_k(scores, genres_of(*rows), 5, n_genres=5).tolist() == [0, 1, 20, 40, 41]

"""Lists that must have exactly the chosen genres: any walk through the allowed items ends so."""

import itertools

import numpy as np
import pytest

from warmstart.genre_planning.constraint import ListConstraint


def walk(constraint, length, rng, wanted=None):
    """Choose any allowed item at each place."""
    listed = np.zeros(0, np.int64)
    for place in range(length):
        open_ = constraint.next_items(listed, -1 if wanted is None else wanted[place])
        if not open_.any():
            break
        listed = np.append(listed, rng.choice(np.flatnonzero(open_)))
    return listed


def possible(genres, chosen, allowed, length):
    """By trying all lists of at most ``length`` items."""
    inside = [
        item
        for item in np.flatnonzero(allowed)
        if genres[item].any() and set(np.flatnonzero(genres[item])) <= set(chosen)
    ]
    return any(
        set(np.flatnonzero(genres[list(some)].any(axis=0))) == set(chosen)
        for n in range(1, length + 1)
        for some in itertools.combinations(inside, n)
    )


@pytest.mark.parametrize("seed", range(60))
def test_every_walk_has_exactly_the_chosen_genres(seed):
    rng = np.random.default_rng(seed)
    genres = rng.random((9, 5)) < rng.choice([0.2, 0.4])
    allowed = rng.random(9) < 0.8
    chosen = rng.choice(5, rng.integers(1, 5), replace=False)
    length = int(rng.integers(1, 5))
    constraint = ListConstraint(genres, chosen, allowed, length)
    assert constraint.possible == possible(genres, chosen, allowed, length)
    if not constraint.possible:
        return
    for _ in range(5):
        listed = walk(constraint, length, rng)
        assert allowed[listed].all()
        assert len(set(listed.tolist())) == len(listed)
        assert set(np.flatnonzero(genres[listed].any(axis=0))) == set(chosen.tolist())
        inside = allowed & genres.any(axis=1) & ~np.delete(genres, chosen, axis=1).any(axis=1)
        assert len(listed) == min(length, inside.sum())


def test_the_wanted_genre_of_a_place_is_kept_where_an_item_has_it():
    genres = np.eye(3, dtype=bool)[[0, 0, 0, 1, 1, 2]]
    constraint = ListConstraint(genres, np.array([0, 1]), np.ones(6, bool), 4)
    listed = walk(constraint, 4, np.random.default_rng(0), wanted=[1, 0, 1, 0])
    assert genres[listed].argmax(axis=1).tolist() == [1, 0, 1, 0]


def test_missing_genres_come_before_the_wanted_one():
    genres = np.eye(2, dtype=bool)[[0, 0, 0, 1]]
    constraint = ListConstraint(genres, np.array([0, 1]), np.ones(4, bool), 2)
    listed = walk(constraint, 2, np.random.default_rng(0), wanted=[0, 0])
    assert genres[listed].argmax(axis=1).tolist() == [0, 1]


def test_no_genres_and_no_items_are_impossible():
    genres = np.eye(2, dtype=bool)
    assert not ListConstraint(genres, np.zeros(0, np.int64), np.ones(2, bool), 3).possible
    assert not ListConstraint(genres, np.array([0]), np.zeros(2, bool), 3).possible
    assert not ListConstraint(genres, np.array([0, 1]), np.ones(2, bool), 1).possible

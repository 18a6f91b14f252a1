"""Augmented windows: their length, their genres and their items."""

import numpy as np
import pytest
from scipy import sparse, stats

from warmstart.data.attributes import Attribute
from warmstart.genre_planning.augmentation import (
    Priors,
    another_genre,
    items_of_other_number,
    other_items,
    other_number_of_genres,
)
from warmstart.genre_planning.windows import NO_GENRE, GenreTable, Window

N_GENRES, N_ITEMS, N_WINDOWS = 12, 240, 400


def attribute(sets):
    matrix = sparse.csr_matrix(sets)
    first = np.where(sets.any(axis=1), sets.argmax(axis=1), NO_GENRE).astype(np.int32)
    return Attribute("genres", tuple(f"g{i:02d}" for i in range(sets.shape[1])), matrix, first)


@pytest.fixture(scope="module", params=[True, False], ids=["first", "any"])
def table(request):
    sets = np.random.default_rng(0).random((N_ITEMS, N_GENRES)) < 0.15
    sets[np.arange(N_ITEMS), np.arange(N_ITEMS) % N_GENRES] = True
    return GenreTable.of(attribute(sets), first_only=request.param)


@pytest.fixture(scope="module")
def windows(table):
    rng = np.random.default_rng(1)
    found = []
    for _ in range(N_WINDOWS):
        items = rng.choice(N_ITEMS, 20, replace=False).astype(np.int32)
        found.append(Window(table.told(items[:10], rng), table.told(items[10:], rng)))
    return found


@pytest.fixture(scope="module")
def priors(windows, table):
    return Priors.of(windows, table)


def different(window):
    return len(set(window.future.genres.tolist()))


def test_every_list_keeps_its_places_and_its_history(windows, priors):
    rng = np.random.default_rng(2)
    for window in windows:
        for made in (
            another_genre(window, priors, rng),
            other_number_of_genres(window, priors, 10, rng),
            other_items(window, priors, 0.3, rng),
            items_of_other_number(window, priors, 10, rng),
        ):
            assert len(made.future.items) == len(made.future.genres) == 10
            assert made.history is window.history
            assert (made.future.genres >= 0).all()


def test_another_genre_keeps_the_number_of_genres(windows, priors):
    rng = np.random.default_rng(3)
    for window in windows:
        made = another_genre(window, priors, rng).future.genres
        before = window.future.genres
        gone, new = set(before) - set(made), set(made) - set(before)
        assert (len(gone), len(new)) == (1, 1)
        (gone,), (new,) = gone, new
        np.testing.assert_array_equal(made, np.where(before == gone, new, before))


def test_other_numbers_are_uniform_from_one_to_ten(windows, priors):
    rng = np.random.default_rng(4)
    made = [other_number_of_genres(window, priors, 10, rng) for window in windows * 5]
    counts = np.bincount([different(window) for window in made], minlength=11)[1:]
    assert counts.sum() == 5 * N_WINDOWS
    assert stats.chisquare(counts).pvalue > 1e-4


def test_fewer_genres_are_the_most_frequent_ones(windows, priors):
    rng = np.random.default_rng(5)
    for window in windows:
        before = window.future.genres
        made = other_number_of_genres(window, priors, 10, rng).future.genres
        kept = set(made.tolist())
        if len(kept) < len(set(before.tolist())):
            counts = np.bincount(before, minlength=N_GENRES)
            assert min(counts[list(kept)]) >= max(np.delete(counts, list(kept)))
            inside = np.isin(before, list(kept))
            np.testing.assert_array_equal(made[inside], before[inside])
        else:
            assert set(before.tolist()) <= kept


def test_new_items_are_new_and_have_their_genres(windows, priors, table):
    rng = np.random.default_rng(6)
    n_changed = 0
    for window in windows:
        for made in (
            other_items(window, priors, 0.3, rng),
            items_of_other_number(window, priors, 10, rng),
        ):
            items = made.future.items
            assert len(set(items.tolist()) | set(window.history.items.tolist())) == 20
            assert table.matrix[items, made.future.genres].all()
            n_changed += (items != window.future.items).sum()
    assert n_changed > 2 * N_WINDOWS


def test_the_share_of_other_items_is_the_rate(windows, priors):
    rng = np.random.default_rng(7)
    made = [other_items(window, priors, 0.3, rng) for window in windows]
    changed = np.mean(
        [a.future.items != b.future.items for a, b in zip(made, windows, strict=True)]
    )
    assert abs(changed - 0.3) < 4 * (0.3 * 0.7 / (10 * N_WINDOWS)) ** 0.5


def test_where_no_other_genre_is_known_nothing_changes():
    table = GenreTable.of(attribute(np.ones((6, 1), bool)), first_only=True)
    window = Window(table.told(np.array([0, 1], np.int32)), table.told(np.array([2, 3], np.int32)))
    priors, rng = Priors.of([window], table), np.random.default_rng(0)
    assert another_genre(window, priors, rng) is window
    assert other_number_of_genres(window, priors, 10, rng).future.genres.tolist() == [0, 0]
    assert items_of_other_number(window, priors, 10, rng).future.items.tolist() == [2, 3]

"""More training windows: with another genre or item in the list, or another number of genres.

DLCRec trains the filling of places and of titles on such windows too, since the genres that it is
asked for are often not those that follow in the log. Of the public code, the variant of the items
with another number of genres adds no items where the number is smaller; here every list keeps its
length. Genres are drawn from their distribution in the histories of training, items from theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.genre_planning.windows import (
    NO_GENRE,
    GenreTable,
    Told,
    Window,
    by_frequency,
    frequencies,
)


@dataclass(frozen=True)
class Priors:
    """How often genres and items occur in the histories of training.

    Attributes:
        genres: float64, shape (genres,).
        items: float64, shape (items,).
        table: the genres of the items.
    """

    genres: np.ndarray
    items: np.ndarray
    table: GenreTable

    @classmethod
    def of(cls, windows: Sequence[Window], table: GenreTable) -> "Priors":
        """Count over the histories of windows."""
        told = [window.history for window in windows]
        items = np.concatenate([part.items for part in told])
        counts = np.bincount(items, minlength=len(table.first)).astype(np.float64)
        return cls(frequencies(told, len(table.names)), counts, table)

    def draw_genre(self, allowed: np.ndarray, rng: np.random.Generator) -> int:
        """Draw one of the allowed genres, bool, shape (genres,); ``NO_GENRE`` if none occurs."""
        return _draw(np.where(allowed, self.genres, 0), rng)

    def draw_item(self, genre: int, taken: np.ndarray, rng: np.random.Generator) -> int:
        """Draw an item of a genre, or of any if it is ``NO_GENRE``, that is not taken; -1 if none.

        ``taken`` are int32 row numbers.
        """
        weights = self.items.copy()
        if genre != NO_GENRE:
            weights[~self.table.matrix[:, genre]] = 0
        weights[taken] = 0
        return _draw(weights, rng)


def another_genre(window: Window, priors: Priors, rng: np.random.Generator) -> Window:
    """Replace one genre of the list everywhere by one that it does not have (GF-N)."""
    genres = window.future.genres
    present = by_frequency(genres)
    new = priors.draw_genre(~np.isin(np.arange(len(priors.genres)), present), rng)
    if len(present) == 0 or new == NO_GENRE:
        return window
    replaced = np.where(genres == rng.choice(present), np.int32(new), genres)
    return Window(window.history, Told(window.future.items, replaced))


def other_number_of_genres(
    window: Window, priors: Priors, most: int, rng: np.random.Generator
) -> Window:
    """Give the places of the list 1 to ``most`` different genres, drawn uniformly (GF-D)."""
    n_genres = int(rng.integers(1, min(most, len(window.future)) + 1))
    genres = _with_number(window.future.genres, n_genres, priors, rng)
    return Window(window.history, Told(window.future.items, genres))


def other_items(window: Window, priors: Priors, rate: float, rng: np.random.Generator) -> Window:
    """Replace each item of the list with a probability, and with it its genre (IP-N)."""
    places = np.flatnonzero(rng.random(len(window.future)) < rate)
    return _with_items(window, places, np.full(len(places), NO_GENRE), priors, rng)


def items_of_other_number(
    window: Window, priors: Priors, most: int, rng: np.random.Generator
) -> Window:
    """Give the list 1 to ``most`` different genres, with items of the new ones (IP-D)."""
    wanted = other_number_of_genres(window, priors, most, rng).future.genres
    places = np.flatnonzero(wanted != window.future.genres)
    return _with_items(window, places, wanted[places], priors, rng)


def _with_number(
    genres: np.ndarray, n_genres: int, priors: Priors, rng: np.random.Generator
) -> np.ndarray:
    """Genres of the places with exactly so many different ones, as far as there are others."""
    present, found = by_frequency(genres), genres.copy()
    every = np.arange(len(priors.genres))
    if n_genres <= len(present):
        kept = np.isin(every, present[:n_genres])
        for place in np.flatnonzero(~np.isin(found, present[:n_genres])).tolist():
            new = priors.draw_genre(kept, rng)
            found[place] = present[0] if new == NO_GENRE else new
        return found
    _, first = np.unique(found, return_index=True)
    repeated = np.setdiff1d(np.arange(len(found)), first[found[first] != NO_GENRE])
    for place in repeated[: n_genres - len(present)].tolist():
        new = priors.draw_genre(~np.isin(every, found), rng)
        if new == NO_GENRE:
            break
        found[place] = new
    return found


def _with_items(
    window: Window,
    places: np.ndarray,
    wanted: np.ndarray,
    priors: Priors,
    rng: np.random.Generator,
) -> Window:
    """Put drawn items, of wanted genres, at places of the list; where there is none, nothing."""
    items, genres = window.future.items.copy(), window.future.genres.copy()
    for place, genre in zip(places.tolist(), wanted.tolist(), strict=True):
        new = priors.draw_item(genre, np.concatenate([window.history.items, items]), rng)
        if new < 0:
            continue
        items[place] = new
        own = priors.table.told(np.array([new], np.int32), rng).genres[0]
        genres[place] = own if genre == NO_GENRE else genre
    return Window(window.history, Told(items, genres))


def _draw(weights: np.ndarray, rng: np.random.Generator) -> int:
    """Draw a position by weights; -1 if all are 0."""
    total = weights.sum()
    return int(rng.choice(len(weights), p=weights / total)) if total > 0 else -1

"""Windows of histories: the items that a list follows on, the list, and the genre of each item.

An item is told with one of its genres: the first one, as DLCRec tells it, or one drawn anew each
time. MovieLens lists genres in alphabetical order, so the first one hardly ever is Thriller or War.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.data.attributes import Attribute
from warmstart.data.histories import Histories
from warmstart.data.tasks import RankingTask

NO_GENRE = -1


@dataclass(frozen=True)
class Told:
    """Items as a prompt tells them, oldest first.

    Attributes:
        items: int32 row numbers, shape (items,).
        genres: int32, shape (items,): the genre that each is told with; ``NO_GENRE`` for none.
    """

    items: np.ndarray
    genres: np.ndarray

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Window:
    """What a user had, and the list that follows.

    Attributes:
        history: at least one item.
        future: the list, at least one item.
    """

    history: Told
    future: Told


@dataclass(frozen=True)
class GenreTable:
    """The genres of the items.

    Attributes:
        matrix: bool, shape (items, genres); those that count.
        names: names of the genres.
        first: int32, shape (items,): the first genre of each item; ``NO_GENRE`` for none.
        first_only: whether only the first genre of an item counts.
    """

    matrix: np.ndarray
    names: tuple[str, ...]
    first: np.ndarray
    first_only: bool

    @classmethod
    def of(cls, attribute: Attribute, *, first_only: bool) -> "GenreTable":
        """Read the table off an attribute of a catalogue."""
        counted = attribute.first_matrix if first_only else attribute.matrix
        matrix = np.asarray(counted.toarray(), bool)
        return cls(matrix, attribute.values, attribute.first, first_only)

    def told(self, items: np.ndarray, rng: np.random.Generator | None = None) -> Told:
        """Tell each item with its first genre or, with ``rng``, with one of those that count."""
        if self.first_only or rng is None:
            return Told(items, self.first[items])
        order = rng.random((len(items), len(self.names))) * self.matrix[items]
        drawn = np.where(self.matrix[items].any(axis=1), order.argmax(axis=1), NO_GENRE)
        return Told(items, drawn.astype(np.int32))


def training_windows(
    histories: Histories,
    genres: GenreTable,
    n_history: int,
    n_future: int,
    limit: int,
    rng: np.random.Generator,
) -> list[Window]:
    """Cut histories into windows, the newest first, ``n_future`` items apart.

    A history that is too short for one is cut in two halves; one of a single item is left out.

    Args:
        histories: of the users.
        genres: of the items.
        n_history: items of a window that a list follows on, at most.
        n_future: items of the list, at most.
        limit: windows in all; more are drawn from.
        rng: the only source of randomness.
    """
    cuts = []
    for user, length in enumerate(histories.lengths.tolist()):
        if length < 2:
            continue
        n_own = min(n_future, length // 2)
        starts = range(length - n_own, min(n_history, length - n_own) - 1, -n_own)
        cuts += [(user, start, n_own) for start in starts]
    found = []
    for user, start, n_own in (cuts[at] for at in _drawn(len(cuts), limit, rng)):
        items = histories[user]
        before, after = items[max(0, start - n_history) : start], items[start : start + n_own]
        found.append(Window(genres.told(before, rng), genres.told(after, rng)))
    return found


def validation_windows(
    task: RankingTask,
    histories: Histories,
    genres: GenreTable,
    n_history: int,
    n_future: int,
    limit: int,
    rng: np.random.Generator,
) -> list[Window]:
    """Make windows of the queries of a task and the items that they ask for.

    A task does not say in which order the items followed; they are told in the order of their rows.

    Args:
        task: of validation.
        histories: of its queries.
        genres: of the items.
        n_history: items of a window that a list follows on, at most.
        n_future: items of the list, at most.
        limit: windows in all; more are drawn from.
        rng: the only source of randomness.
    """
    usable = np.flatnonzero((histories.lengths > 0) & (np.diff(task.relevance.indptr) > 0))
    found = []
    for query in usable[_drawn(len(usable), limit, rng)].tolist():
        wanted = task.relevance[query].indices.astype(np.int32)[:n_future]
        before = histories[query][-n_history:]
        found.append(Window(genres.told(before, rng), genres.told(wanted, rng)))
    return found


def _drawn(n: int, limit: int, rng: np.random.Generator) -> list[int]:
    """Positions among n, ascending: all, or as many as the limit allows."""
    return list(range(n)) if n <= limit else np.sort(rng.choice(n, limit, replace=False)).tolist()


def by_frequency(genres: np.ndarray) -> np.ndarray:
    """The different genres among some, the most frequent first; equal ones as they came first."""
    kept = genres[genres != NO_GENRE]
    values, first, counts = np.unique(kept, return_index=True, return_counts=True)
    return values[np.lexsort((first, -counts))]


def frequencies(told: Sequence[Told], n: int) -> np.ndarray:
    """Count the genres of told items: float64, shape (n,)."""
    genres = np.concatenate([np.zeros(0, np.int32), *(part.genres for part in told)])
    return np.bincount(genres[genres != NO_GENRE], minlength=n).astype(np.float64)

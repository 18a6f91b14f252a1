"""The selection of one list under a control, and under the rules on cold items.

``controlled_list`` makes the list as the library does. Where it breaks a rule, for example has too
many cold items of one owner, the first ones of these stay, all other cold items of the owner are
left out, and the list is made anew. So every rule costs at most one more list.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np
from scipy import sparse

from warmstart.data.control import Control
from warmstart.errors import ConfigError
from warmstart.rerank.candidates import place_in_group
from warmstart.rerank.control import controlled_list
from warmstart.serve.engine.candidates import Candidates
from warmstart.serve.engine.genres import GenresOf
from warmstart.serve.engine.lists import COLD_PER_PLACE, ListRules

POOL = 10  # items that variety and calibration choose from, as a multiple of k: ``rerank.control``
_MAX_CELLS = (
    10**6
)  # items x genres among which a list is searched; which takes a few seconds at most


def wants_all_items(control: Control) -> bool:
    """Whether any item may be in the list, whatever its score; else the best ones are enough."""
    return control.n_genres is not None or control.genres is not None


def select_controlled(
    candidates: Candidates,
    genres: GenresOf,
    history: Counter[str],
    control: Control,
    owner: Callable[[int], str | None],
    rules: ListRules,
) -> Candidates:
    """Select at most k items as a control asks, in list order.

    The rules on cold items are those of ``select_list``; a list may be shorter because of them.

    Args:
        candidates: all items, or at least the ``POOL`` k best that are not cold and four times as
            many that are; see ``wants_all_items``.
        genres: their genres.
        history: number of items of each genre in the history.
        control: what to ask for, with a wish.
        owner: returns the owner of an item, None if it has none.
        rules: rules of the list.

    Raises:
        ConfigError: no list is as asked.
        DataError: the history has no genres, for ``calibrate``.
    """
    if control.first_genre_only:
        genres = replace(genres, sets=[one[:1] for one in genres.sets])
    if wants_all_items(control):
        fits = _fits(genres, control)
        candidates, genres = candidates.take(fits), genres.take(fits)
    order = candidates.best(len(candidates.columns))
    ranked, genres = candidates.take(order), genres.take(order)
    limited_by = ""
    if wants_all_items(control):
        kept, limited_by = _enough(ranked, genres, control, rules.k)
        ranked, genres = ranked.take(kept), genres.take(kept)
    names, matrix = _matrix(genres, {*history, *(control.genres or ())})
    wanted = np.array([history[name] for name in names], np.float64)
    limits = _Limits(ranked, owner, rules)
    free = limits.allowed()
    while True:
        (at,) = np.nonzero(free)
        try:
            found = controlled_list(ranked.scores[at], matrix[at], names, rules.k, control, wanted)
        except ConfigError as error:
            raise ConfigError(f"{error}{limited_by}") from None
        broken = limits.broken(at[found])
        if broken is None:
            return ranked.take(at[found])
        of, most = broken
        limited_by += ", within the bounds on cold items" if "bounds" not in limited_by else ""
        free &= ~of
        free[_first(at[found], of, most, genres)] = True


def _first(chosen: np.ndarray, of: np.ndarray, most: int, genres: GenresOf) -> list[int]:
    """The first of some items of a list, but before them those that alone have a genre of it."""
    covered: set[str] = set()
    for number in genres.numbers[chosen[~of[chosen]]].tolist():
        covered.update(genres.sets[number])
    needed, others = [], []
    for at in chosen[of[chosen]].tolist():
        own = genres.sets[int(genres.numbers[at])]
        (others if covered.issuperset(own) else needed).append(at)
        covered.update(own)
    return [*needed, *others][:most]


def _fits(genres: GenresOf, control: Control) -> np.ndarray:
    """Which items may be in a list with certain genres: bool."""
    wanted = None if control.genres is None else set(control.genres)
    fits = [bool(one) and (wanted is None or wanted.issuperset(one)) for one in genres.sets]
    return np.array(fits, bool)[genres.numbers]


def _enough(
    ranked: Candidates, genres: GenresOf, control: Control, k: int
) -> tuple[np.ndarray, str]:
    """Positions of candidates among which the best list with certain genres is, best first.

    Of items with the same genres, the k best that are not cold are enough, and the 4 k best that
    are. Only where there are hundreds of genres, the best items are taken instead of all, and the
    best one of each named genre; a message of an error then ends with the second value.
    """
    most = np.where(ranked.is_cold, COLD_PER_PLACE * k, k)
    (kept,) = np.nonzero(place_in_group(2 * genres.numbers + ranked.is_cold) < most)
    if _cells(genres, kept) <= _MAX_CELLS:
        return kept, ""
    if control.n_genres is not None:
        sizes = np.array([len(one) for one in genres.sets])
        kept = kept[sizes[genres.numbers[kept]] <= control.n_genres]
    best, of_named = kept, _best_of_each(genres, kept, control)
    while len(best) > k and _cells(genres, kept) > _MAX_CELLS:
        best = best[: len(best) // 2]
        kept = np.union1d(best, of_named)
    return kept, f", among the {len(kept)} best items, as there are too many genres to search all"


def _best_of_each(genres: GenresOf, kept: np.ndarray, control: Control) -> np.ndarray:
    """The first item with each genre that a control names."""
    first: dict[str, int] = {}
    for at in reversed(kept.tolist() if control.genres is not None else []):
        first.update((name, at) for name in genres.sets[int(genres.numbers[at])])
    return np.array(sorted({*first.values()}), np.int64)


def _cells(genres: GenresOf, kept: np.ndarray) -> int:
    """The number of items, times that of their different genres."""
    sets = (genres.sets[number] for number in np.unique(genres.numbers[kept]).tolist())
    return len(kept) * len({name for one in sets for name in one})


def _matrix(genres: GenresOf, more: set[str]) -> tuple[list[str], sparse.csr_matrix]:
    """The names of all genres of some items, and of more; which items have which, as bool CSR."""
    used, numbers = np.unique(genres.numbers, return_inverse=True)
    sets = [genres.sets[number] for number in used.tolist()]
    names = sorted({name for one in sets for name in one} | more)
    at = {name: column for column, name in enumerate(names)}
    columns = [sorted(at[name] for name in one) for one in sets]
    ends = np.cumsum([0, *map(len, columns)])
    places = np.array([column for one in columns for column in one], np.int32)
    cells = (np.ones(len(places), bool), places, ends)
    return names, sparse.csr_matrix(cells, (len(sets), len(names)))[numbers]


@dataclass
class _Limits:
    """The rules on cold items, as upper bounds on the number of certain items in a list."""

    ranked: Candidates
    owner: Callable[[int], str | None]
    rules: ListRules

    def __post_init__(self) -> None:
        self._owners: np.ndarray | None = None
        rules, k = self.rules, self.rules.k
        n_cold = int(self.ranked.is_cold.sum())
        least = min(ceil(rules.cold_share_min * k), n_cold)
        self._most_cold, self._most_warm = floor(rules.cold_share_max * k), k - least
        self._per_owner = max(1, floor(rules.max_owner_share * k))
        if least:
            self._per_owner = self._enough_per_owner(least)

    def allowed(self) -> np.ndarray:
        """Which candidates may be in a list: none of a kind of which no item is allowed."""
        is_cold = self.ranked.is_cold
        return np.where(is_cold, self._most_cold > 0, self._most_warm > 0)

    def broken(self, chosen: np.ndarray) -> tuple[np.ndarray, int] | None:
        """A rule that a list breaks: which candidates it bounds, and how many may be listed."""
        for of, most in self._bounds(chosen):
            if of[chosen].sum() > most:
                return of, most
        return None

    def _bounds(self, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        is_cold = self.ranked.is_cold
        yield is_cold, self._most_cold
        yield ~is_cold, self._most_warm
        slots = self.ranked.slots[chosen[is_cold[chosen]]].tolist()
        for name, number in Counter(map(self.owner, slots)).items():
            if name is not None and number > self._per_owner:
                yield is_cold & (self._all_owners() == name), self._per_owner

    def _enough_per_owner(self, least: int) -> int:
        """The bound for an owner, raised where the least number of cold items needs it."""
        owners = self._all_owners()[self.ranked.is_cold].tolist()
        counts = Counter(owners)
        free = counts.pop(None, 0)
        most = self._per_owner
        while free + sum(min(number, most) for number in counts.values()) < least:
            most += 1
        return most

    def _all_owners(self) -> np.ndarray:
        """The owner of each candidate that is cold; None for the others."""
        if self._owners is None:
            self._owners = np.full(len(self.ranked.slots), None, object)
            for at in np.flatnonzero(self.ranked.is_cold).tolist():
                self._owners[at] = self.owner(int(self.ranked.slots[at]))
        return self._owners

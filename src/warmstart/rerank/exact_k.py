"""Lists with exactly K genres, or with exactly the named genres, and the highest sum of scores.

A list has the genres of all its items together. Candidates that have no genre are never chosen,
since nobody knows whether they fit. The lists are optimal, not greedy:

- every candidate has one genre: a dynamic programme over genres (``single_genre``), whose time
  grows with n_genres K k^2;
- candidates with several genres: the problem contains set cover, so no algorithm is fast on every
  input. A branch and bound over genres and items (``genre_search``), which opens about 20 nodes
  for a list of ten movies; after ``MAX_NODES`` nodes an integer programme (``genre_programme``).

Where no list of k items exists, because the genres that fit have too few candidates, the longest
possible list is made. Where no list of any length has exactly K genres, an error says so.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from warmstart.arguments import whole_number
from warmstart.errors import ConfigError
from warmstart.rerank.candidates import Candidates, best_of_genre_sets, union
from warmstart.rerank.genre_programme import solve_programme
from warmstart.rerank.genre_search import OutOfNodes, search
from warmstart.rerank.single_genre import best_of_single_genres

MAX_NODES = 300  # takes about as long as the integer programme, a tenth of a second


def exact_k(scores: np.ndarray, genres: sparse.csr_matrix, k: int, *, n_genres: int) -> np.ndarray:
    """Choose the k candidates with the highest sum of scores among all with exactly K genres.

    Equal sums: with one genre per candidate, the genres whose best candidates stand first win;
    with several, the order of the search decides. The result is the same in every run.

    Args:
        scores: float32, shape (candidates,); NaN for a candidate that cannot be ranked.
        genres: bool CSR, shape (candidates, n_genres).
        k: length of the list.
        n_genres: K, the number of genres of the list.

    Returns:
        int32 positions, highest score first; fewer than k only if no list of k items has exactly
        K genres.

    Raises:
        ConfigError: k or n_genres is out of range, or no list has exactly K genres.
        DataError: wrong shapes or dtypes, or infinite scores.
    """
    n_genres = whole_number("exact_k", "n_genres", n_genres, low=1)
    candidates = best_of_genre_sets("exact_k", scores, genres, k)
    chosen = _best_list(candidates, n_genres, k)
    if chosen is None:
        sets = candidates.genre_sets
        raise ConfigError(
            f"exact_k: no list of at most {k} items has exactly {n_genres} genres; the candidates "
            f"that can be ranked have {int(union(sets).sum())} genres, at most "
            f"{int(sets.sum(axis=1).max(initial=0))} each"
        )
    return chosen


def exact_genres(
    scores: np.ndarray,
    genres: sparse.csr_matrix,
    k: int,
    *,
    wanted: np.ndarray,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Choose the k candidates with the highest sum of scores that have exactly the wanted genres.

    Candidates with any other genre are left out, even if they have a wanted one too.

    Args:
        scores: float32, shape (candidates,); NaN for a candidate that cannot be ranked.
        genres: bool CSR, shape (candidates, n_genres).
        k: length of the list.
        wanted: columns of ``genres``, integers, at least one.
        names: name of every column, for the message of an error.

    Returns:
        int32 positions, highest score first; fewer than k only if too few candidates fit.

    Raises:
        ConfigError: k is out of range, ``wanted`` is empty or has other columns, or no list has
            exactly these genres.
        DataError: wrong shapes or dtypes, or infinite scores.
    """
    candidates = best_of_genre_sets("exact_genres", scores, genres, k)
    columns = np.unique(wanted)
    n_columns = candidates.genre_sets.shape[1]
    if not len(columns) or columns[0] < 0 or columns[-1] >= n_columns:
        raise ConfigError(
            f"exact_genres: wanted must be columns from 0 to {n_columns - 1}, at least one, "
            f"got {wanted!r}"
        )
    others = ~np.isin(np.arange(n_columns), columns)
    fits = ~np.logical_or.reduce(candidates.genre_sets[:, others], axis=1)
    candidates = candidates.where(fits[candidates.groups])
    chosen = _best_list(candidates, len(columns), k)
    if chosen is None:
        found = union(candidates.genre_sets[candidates.groups])
        missing = [names[g] if names else int(g) for g in columns if not found[g]]
        why = f"no candidate without other genres has {missing!r}" if missing else "k is too small"
        raise ConfigError(
            f"exact_genres: no list of at most {k} items has exactly the wanted genres: {why}"
        )
    return chosen


def _best_list(candidates: Candidates, n_genres: int, k: int) -> np.ndarray | None:
    """Find the longest list of at most k with exactly ``n_genres`` genres and the highest sum."""
    sizes = candidates.genre_sets.sum(axis=1)[candidates.groups]
    candidates = candidates.where((sizes > 0) & (sizes <= n_genres))
    sets = candidates.genre_sets[candidates.groups]
    sets = sets[:, union(sets)]
    if sets.shape[1] < n_genres:
        return None
    if (sets.sum(axis=1) == 1).all():
        chosen = best_of_single_genres(candidates.scores, sets.argmax(axis=1), n_genres, k)
    else:
        chosen = _best_of_several_genres(candidates, sets, n_genres, min(k, len(sets)))
    if chosen is None:
        return None
    if union(sets[chosen]).sum() != n_genres:
        raise AssertionError(f"exact_k: the list has not {n_genres} genres")
    return candidates.positions[np.sort(chosen)]


def _best_of_several_genres(
    candidates: Candidates, sets: np.ndarray, n_genres: int, length: int
) -> np.ndarray | None:
    scores, groups = candidates.scores, candidates.groups
    found = _optimum(scores, sets, groups, n_genres, length)
    if found is not None:
        return found
    # Blanks fill a shorter list up. Each costs more than all other differences of score together,
    # so there are as few as possible.
    low = scores[-1] - length * (scores[0] - scores[-1]) - 1
    found = _optimum(
        np.append(scores, np.full(length, low)),
        np.vstack([sets, np.zeros((length, sets.shape[1]), bool)]),
        np.append(groups, np.full(length, groups.max() + 1)),
        n_genres,
        length,
    )
    return None if found is None else found[found < len(scores)]


def _optimum(
    scores: np.ndarray, sets: np.ndarray, groups: np.ndarray, n_genres: int, length: int
) -> np.ndarray | None:
    try:
        return search(scores, sets, n_genres, length, max_nodes=MAX_NODES)
    except OutOfNodes:
        return solve_programme(scores, sets, groups, n_genres, length)

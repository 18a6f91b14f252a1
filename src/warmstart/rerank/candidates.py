"""Check the candidates of a list, order them by score and group them by their set of genres."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import sparse

from warmstart.arguments import whole_number
from warmstart.errors import DataError

_GENRES_AT_ONCE = 31  # genres that fit beside a group number of 31 bits in an int64


@dataclass(frozen=True)
class Candidates:
    """Candidates of one list, best first; equal scores stand in the order of their positions.

    Attributes:
        positions: places in the arrays that the caller gave, int32, shape (candidates,).
        scores: float64, shape (candidates,), descending.
        groups: int64, shape (candidates,): row of ``genre_sets``.
        genre_sets: bool, shape (groups, n_genres): the different sets of genres.
    """

    positions: np.ndarray
    scores: np.ndarray
    groups: np.ndarray
    genre_sets: np.ndarray

    def where(self, keep: np.ndarray) -> "Candidates":
        """Select candidates by a boolean mask."""
        return Candidates(
            self.positions[keep], self.scores[keep], self.groups[keep], self.genre_sets
        )


def best_first(who: str, scores: np.ndarray) -> np.ndarray:
    """Order the candidates that can be ranked by score, equal scores by position.

    Args:
        who: the function that got ``scores``; the message of an error begins with it.
        scores: float32, shape (candidates,); NaN for a candidate that cannot be ranked.

    Returns:
        int32 positions, shape (ranked,).

    Raises:
        DataError: ``scores`` have another shape or dtype, or are infinite.
    """
    if scores.ndim != 1 or scores.dtype != np.float32:
        raise DataError(
            f"{who}: scores must be float32 with one axis (candidates), got {scores.dtype} "
            f"of shape {scores.shape}"
        )
    if np.isinf(scores).any():
        raise DataError(f"{who}: scores must be finite, or NaN for what cannot be ranked")
    order = np.argsort(-scores, kind="stable")
    return order[: len(scores) - np.isnan(scores).sum()].astype(np.int32)


def best_of_genre_sets(
    who: str, scores: np.ndarray, genres: sparse.csr_matrix, k: int
) -> Candidates:
    """Keep the k best candidates of each set of genres.

    Two candidates with the same genres differ in their scores only, so a list of k that depends on
    nothing but scores and genres never needs more of them.

    Args:
        who: the function that got the arguments; the message of an error begins with it.
        scores: float32, shape (candidates,); NaN for a candidate that cannot be ranked.
        genres: bool CSR, shape (candidates, n_genres).
        k: length of the list.

    Raises:
        ConfigError: k is not a whole number from 1.
        DataError: wrong shapes or dtypes, or infinite scores.
    """
    k = whole_number(who, "k", k, low=1)
    order = best_first(who, scores)
    ranked = checked_genres(who, genres, len(scores))[order]
    groups, first = _grouped(ranked)
    candidates = Candidates(
        order, scores[order].astype(np.float64), groups, ranked[first].toarray().astype(bool)
    )
    return candidates.where(place_in_group(groups) < k)


def checked_genres(who: str, genres: sparse.csr_matrix, n_candidates: int) -> sparse.csr_matrix:
    """Return the genres of the candidates without stored zeros and repeated entries.

    Raises:
        DataError: ``genres`` is no bool CSR matrix with a row for each candidate.
    """
    if not sparse.issparse(genres) or genres.format != "csr" or genres.dtype != np.bool_:
        raise DataError(f"{who}: genres must be a bool CSR matrix, got {_described(genres)}")
    if matrix_shape(genres)[0] != n_candidates:
        raise DataError(
            f"{who}: genres must have a row for each of {n_candidates} candidates, "
            f"got shape {genres.shape}"
        )
    clean = genres.copy()
    clean.sum_duplicates()
    clean.eliminate_zeros()
    return clean


def genre_shares(who: str, history_genres: np.ndarray, n_genres: int) -> np.ndarray:
    """Divide the genre counts of a history by their sum: p(g|u), float64, shape (n_genres,).

    Raises:
        DataError: the counts have another shape, are negative or not finite, or are all 0.
    """
    counts = np.asarray(history_genres, np.float64)
    if counts.shape != (n_genres,):
        raise DataError(
            f"{who}: history_genres must have shape (n_genres,) = ({n_genres},), got {counts.shape}"
        )
    if not np.isfinite(counts).all() or counts.min(initial=0) < 0 or counts.sum() == 0:
        raise DataError(f"{who}: history_genres must be finite counts from 0, at least one above 0")
    return counts / counts.sum()


def share_of_each_genre(genre_sets: np.ndarray) -> np.ndarray:
    """Divide each item equally among its genres: p(g|i), float64; 0 for an item without genres."""
    sizes = genre_sets.sum(axis=1, keepdims=True)
    return genre_sets / np.maximum(sizes, 1)


def place_in_group(groups: np.ndarray) -> np.ndarray:
    """Count for each candidate the better ones of the same group: int64, shape (candidates,).

    Args:
        groups: integers from 0, best candidate first, shape (candidates,).
    """
    by_group = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    places = np.empty(len(groups), np.int64)
    places[by_group] = np.arange(len(groups)) - starts
    return places


def union(genre_sets: np.ndarray) -> np.ndarray:
    """Mark the genres that occur in any of the sets: bool, shape (n_genres,)."""
    return np.logical_or.reduce(genre_sets, axis=0)


def matrix_shape(matrix: sparse.csr_matrix) -> tuple[int, int]:
    """Return the shape of a matrix with its type, which scipy does not declare."""
    return cast(tuple[int, int], matrix.shape)


def _grouped(genres: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Number the different rows; returns the number of each row and the first row of each number.

    Each pass splits the groups by up to 31 further genres, whose bits are one number of a row.
    """
    n_rows, n_genres = matrix_shape(genres)
    groups = np.zeros(n_rows, np.int64)
    first = np.zeros(min(n_rows, 1), np.int64)
    numbers = np.arange(n_genres)
    for start in range(0, n_genres, _GENRES_AT_ONCE):
        here = (numbers >= start) & (numbers < start + _GENRES_AT_ONCE)
        bits = np.where(here, 1 << (numbers - start) % _GENRES_AT_ONCE, 0)
        keys = (groups << _GENRES_AT_ONCE) | (genres @ bits)
        _, first, groups = np.unique(keys, return_index=True, return_inverse=True)
    return groups, first


def _described(value: object) -> str:
    if sparse.issparse(value):
        return f"{value.dtype} {value.format.upper()}"  # type: ignore[attr-defined]
    return type(value).__name__

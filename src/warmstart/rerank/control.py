"""The list that answers a control: what a request asks of a list besides high scores."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from warmstart.arguments import whole_number
from warmstart.data.control import Control
from warmstart.errors import ConfigError, DataError, shortened
from warmstart.rerank.calibrated import calibrated
from warmstart.rerank.candidates import best_first, checked_genres, matrix_shape
from warmstart.rerank.exact_k import exact_genres, exact_k
from warmstart.rerank.mmr import mmr
from warmstart.rerank.similarity import jaccard_similarity

# Candidates that ``diversity`` and ``calibrate`` choose from, as a multiple of k. Without the limit
# a high diversity lists items of scores near 0: on the 1,000 validation windows of DLCRec's movies
# (EASE, all genres), .9 lowers precision@10 from .0459 to .0185, with the limit to .0300.
_POOL = 10
# There, .5 lowers the mean divergence from .737 to .426 and precision@10 from .0459 to .0439; .7
# lowers them to .286 and .0432.
_CALIBRATION_WEIGHT = 0.5


def controlled_list(
    scores: np.ndarray,
    genres: sparse.csr_matrix,
    genre_names: Sequence[str],
    k: int,
    control: Control,
    history_genres: np.ndarray | None = None,
) -> np.ndarray:
    """Choose at most k candidates as ``control`` asks.

    - ``n_genres``, ``genres``: the highest sum of scores of all such lists (``exact_k``)
    - ``diversity``: ``mmr`` with the Jaccard similarity of genres
    - ``calibrate``: ``calibrated`` with weight .5

    The last two choose from the 10 k best candidates, whose scores are scaled to [0, 1].

    Args:
        scores: float32, shape (candidates,); NaN for a candidate that cannot be ranked.
        genres: bool CSR, shape (candidates, n_genres).
        genre_names: names of the columns of ``genres``.
        k: length of the list.
        control: what to ask for.
        history_genres: number of items of each genre in the history, shape (n_genres,); read by
            ``calibrate`` only.

    Returns:
        int32 positions in list order, none twice.

    Raises:
        ConfigError: k is out of range, a genre is unknown, no list has the genres asked for, or
            ``calibrate`` without ``history_genres``.
        DataError: wrong shapes or dtypes, infinite scores, or a history without genres.
    """
    k = whole_number("controlled_list", "k", k, low=1)
    n_columns = matrix_shape(genres)[1]
    if n_columns != len(genre_names):
        raise DataError(f"controlled_list: {len(genre_names)} genre names for {n_columns} columns")
    if control.n_genres is not None:
        return exact_k(scores, genres, k, n_genres=control.n_genres)
    if control.genres is not None:
        wanted = _columns(control.genres, genre_names)
        return exact_genres(scores, genres, k, wanted=wanted, names=genre_names)
    order = best_first("controlled_list", scores)
    if control.diversity is None and not control.calibrate:
        return order[:k]
    pool = order[: _POOL * k]
    pool_scores = _to_unit_range(scores[pool])
    pool_genres = checked_genres("controlled_list", genres, len(scores))[pool]
    if control.diversity is not None:
        similarity = jaccard_similarity(pool_genres)
        return pool[mmr(pool_scores, similarity, k, diversity=control.diversity)]
    if history_genres is None:
        raise ConfigError("controlled_list: calibrate needs history_genres, got None")
    if not np.any(history_genres):
        raise DataError("controlled_list: calibrate needs a history whose items have genres")
    chosen = calibrated(
        pool_scores, pool_genres, k, history_genres=history_genres, weight=_CALIBRATION_WEIGHT
    )
    return pool[chosen]


def _columns(genres: tuple[str, ...], names: Sequence[str]) -> np.ndarray:
    column_of = {name: column for column, name in enumerate(names)}
    unknown = [genre for genre in genres if genre not in column_of]
    if unknown:
        raise ConfigError(
            f"controlled_list: unknown genres {shortened(unknown)}; "
            f"allowed: {shortened(sorted(column_of))}"
        )
    return np.array([column_of[genre] for genre in genres])


def _to_unit_range(scores: np.ndarray) -> np.ndarray:
    """Scale descending scores to [0, 1]; equal scores become 0."""
    wide = scores.astype(np.float64)
    low, high = wide.min(initial=np.inf), wide.max(initial=-np.inf)
    return ((wide - low) / (high - low if high > low else 1)).astype(np.float32)

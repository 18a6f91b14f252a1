"""Make lists as queries' controls ask, for any method that scores items."""

import warnings

import numpy as np
from scipy import sparse

from warmstart.data.attributes import Attribute
from warmstart.data.queries import Queries
from warmstart.errors import ConfigError, DataError, DataWarning
from warmstart.fitted import Fitted
from warmstart.rerank.control import controlled_list


def controlled_lists(
    fitted: Fitted,
    queries: Queries,
    candidates: np.ndarray,
    scores: np.ndarray,
    k: int,
    masked: sparse.csr_matrix | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose at most k candidates for each query as its control asks; see ``controlled_list``.

    The genres are those of the first of the columns genres, categories and tags that the items
    have. The history of a known user without a given one is that of the training data.

    Args:
        fitted: catalogue and training histories.
        queries: who asks, with controls.
        candidates: int32 row numbers, shape (candidates,) or (queries, candidates).
        scores: float32, shape (queries, candidates).
        k: length of the lists.
        masked: CSR, shape (queries, candidates); pairs with a non-zero value are left out.

    Returns:
        As ``Recommender.top_items``. A list that no choice of candidates can make as asked is
        empty, with a warning.

    Raises:
        ConfigError: a genre is unknown, or the catalogue has fewer genres than asked for.
        DataError: the items have no column of genres.
    """
    assert queries.controls is not None
    attribute = _genres(fitted)
    first = attribute.first_matrix
    scores = scores.copy()
    if masked is not None:
        scores[masked.nonzero()] = np.nan
    positions = np.full((len(queries), k), -1, np.int32)
    best = np.full((len(queries), k), np.nan, np.float32)
    impossible = []
    for query, control in enumerate(queries.controls):
        _check(attribute, control.n_genres, control.genres)
        own = candidates if candidates.ndim == 1 else candidates[query]
        genres = (first if control.first_genre_only else attribute.matrix)[own]
        history = None
        if control.calibrate:
            history = _history_genres(fitted, queries, query, attribute)
        try:
            found = controlled_list(scores[query], genres, attribute.values, k, control, history)
        except (ConfigError, DataError) as error:
            impossible.append((query, error))
            continue
        positions[query, : len(found)] = found
        best[query, : len(found)] = scores[query, found]
    if impossible:
        query, error = impossible[0]
        warnings.warn(
            f"{len(impossible)} of {len(queries)} lists cannot be made as asked and are empty, the "
            f"first for query {query}: {error}",
            DataWarning,
            stacklevel=4,
        )
    return positions, best


def _genres(fitted: Fitted) -> Attribute:
    name = fitted.catalogue.genre_column
    if name is None:
        raise DataError(
            "control: the items have no column genres, categories or tags; their columns are "
            f"{fitted.catalogue.columns.columns}"
        )
    return fitted.catalogue.attribute(name)


def _check(attribute: Attribute, n_genres: int | None, genres: tuple[str, ...] | None) -> None:
    known = len(attribute.values)
    if n_genres is not None and n_genres > known:
        raise ConfigError(
            f"control: n_genres = {n_genres}, but the items have {known} {attribute.name}; "
            f"allowed: 1 to {known}"
        )
    unknown = sorted(set(genres or ()) - set(attribute.values))
    if unknown:
        raise ConfigError(
            f"control: unknown {attribute.name} {unknown}; allowed: {', '.join(attribute.values)}"
        )


def _history_genres(
    fitted: Fitted, queries: Queries, query: int, attribute: Attribute
) -> np.ndarray:
    """Number of items of each genre in the history of a query: float64, shape (genres,)."""
    if queries.histories is not None and len(queries.histories[query]):
        items = queries.histories[query]
    else:
        user = int(queries.users[query])
        items = fitted.histories[user] if user >= 0 else np.zeros(0, np.int32)
    return np.asarray(attribute.matrix[items].sum(axis=0), np.float64).ravel()

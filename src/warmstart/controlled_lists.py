"""Make lists as queries' controls ask, for any method that scores items."""

import warnings
from collections.abc import Callable, Collection
from typing import TypeAlias

import numpy as np
from scipy import sparse

from warmstart.data.attributes import Attribute
from warmstart.data.catalogue import Catalogue
from warmstart.data.control import Control
from warmstart.data.queries import Queries
from warmstart.errors import ConfigError, DataError, DataWarning, shortened
from warmstart.fitted import Fitted
from warmstart.rerank.control import controlled_list

ChooseList: TypeAlias = Callable[[Queries, np.ndarray, np.ndarray, int], np.ndarray]
"""``Recommender._controlled_list``: (one query, items, their scores, k) -> positions in items."""

_MAX_NAMES = 2000  # characters of the allowed genres in a message


def controlled_lists(
    fitted: Fitted,
    queries: Queries,
    candidates: np.ndarray,
    scores: np.ndarray,
    k: int,
    masked: sparse.csr_matrix | None,
    choose: ChooseList,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose at most k candidates for each query as its control asks.

    Args:
        fitted: the catalogue, whose genres the controls name.
        queries: who asks, with controls.
        candidates: int32 row numbers, shape (candidates,) or (queries, candidates).
        scores: float32, shape (queries, candidates).
        k: length of the lists.
        masked: CSR, shape (queries, candidates); pairs with a non-zero value are left out.
        choose: makes one list of the candidates that are not masked and have a score.

    Returns:
        As ``Recommender.top_items``. A list that no choice of candidates can make as asked is
        empty, with a warning.

    Raises:
        ConfigError: a genre is unknown, or the catalogue has fewer genres than asked for.
        DataError: the items have no column of genres.
    """
    assert queries.controls is not None
    check_controls(fitted, queries)
    scores = scores.copy()
    if masked is not None:
        scores[masked.nonzero()] = np.nan
    positions = np.full((len(queries), k), -1, np.int32)
    best = np.full((len(queries), k), np.nan, np.float32)
    impossible = []
    for query in range(len(queries)):
        own = candidates if candidates.ndim == 1 else candidates[query]
        allowed = np.flatnonzero(~np.isnan(scores[query]))
        one = queries.take(np.array([query]))
        try:
            found = allowed[choose(one, own[allowed], scores[query, allowed], k)]
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


def check_controls(fitted: Fitted, queries: Queries) -> None:
    """Check that the genres that controls ask for exist.

    Raises:
        ConfigError: a genre is unknown, or the catalogue has fewer genres than asked for.
        DataError: the items have no column of genres.
    """
    attribute = _genres(fitted)
    for control in dict.fromkeys(queries.controls or ()):
        check_wish(control, attribute.name, attribute.values)


def genre_list(
    fitted: Fitted, query: Queries, items: np.ndarray, scores: np.ndarray, k: int
) -> np.ndarray:
    """Choose the list of one query by ``controlled_list``.

    The genres are those of the first of the columns genres, categories and tags that the items
    have. The history of a known user without a given one is that of the training data.

    The arguments but ``fitted``, and the result, are those of ``Recommender._controlled_list``.
    """
    assert query.controls is not None
    control, attribute = query.controls[0], _genres(fitted)
    genres = attribute.first_matrix if control.first_genre_only else attribute.matrix
    history = _history_genres(fitted, query, attribute) if control.calibrate else None
    return controlled_list(scores, genres[items], attribute.values, k, control, history)


def genre_column(catalogue: Catalogue) -> str:
    """Name the item column whose values are the genres that controls name.

    Raises:
        DataError: the items have no such column.
    """
    name = catalogue.genre_column
    if name is None:
        raise DataError(
            "control: the items have no column genres, categories or tags; their columns are "
            f"{catalogue.columns.columns}"
        )
    return name


def check_wish(control: Control, column: str, known: Collection[str]) -> None:
    """Check that the genres that one control asks for exist.

    Args:
        control: what to ask for.
        column: name of the column of genres.
        known: the different genres of the items.

    Raises:
        ConfigError: a genre is unknown, or there are fewer genres than asked for.
    """
    if control.n_genres is not None and control.n_genres > len(known):
        raise ConfigError(
            f"control: n_genres = {control.n_genres}, but the items have {len(known)} {column}; "
            f"allowed: 1 to {len(known)}"
        )
    unknown = sorted(genre for genre in set(control.genres or ()) if genre not in known)
    if unknown:
        raise ConfigError(
            f"control: unknown {column} {shortened(unknown)}; allowed: {_joined(known)}"
        )


def _joined(names: Collection[str]) -> str:
    text = ", ".join(sorted(names))
    return text if len(text) <= _MAX_NAMES else f"{text[:_MAX_NAMES]}..."


def _genres(fitted: Fitted) -> Attribute:
    return fitted.catalogue.attribute(genre_column(fitted.catalogue))


def _history_genres(fitted: Fitted, query: Queries, attribute: Attribute) -> np.ndarray:
    """Number of items of each genre in the history of one query: float64, shape (genres,)."""
    if query.histories is not None and len(query.histories[0]):
        items = query.histories[0]
    else:
        user = int(query.users[0])
        items = fitted.histories[user] if user >= 0 else np.zeros(0, np.int32)
    return np.asarray(attribute.matrix[items].sum(axis=0), np.float64).ravel()

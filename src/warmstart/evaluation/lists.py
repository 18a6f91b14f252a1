"""Metrics of lists as lists: number of genres, repetition, diversity, and what is attainable.

A list is a row of int32 item rows, -1 after its end. Genres are the columns of a bool CSR matrix,
shape (n_items, n_genres): the first genre of each item or all of them, as a protocol defines
coverage. Each function returns one value per list, so means and intervals are made as usual.
"""

import numpy as np
from scipy import sparse

from warmstart.errors import DataError
from warmstart.rerank.candidates import best_of_genre_sets, matrix_shape
from warmstart.rerank.exact_k import exact_k


def coverage(lists: np.ndarray, genres: sparse.csr_matrix) -> np.ndarray:
    """Count the different genres of each list.

    Args:
        lists: int32, shape (queries, places).
        genres: bool CSR, shape (n_items, n_genres).

    Returns:
        int64, shape (queries,).
    """
    query, place = np.nonzero(lists >= 0)
    n_items = matrix_shape(genres)[0]
    pairs = (np.ones(len(query), np.int64), (query, lists[query, place]))
    listed = sparse.csr_matrix(pairs, shape=(len(lists), n_items))
    counts = sparse.csr_matrix(listed @ genres.astype(np.int64))
    counts.eliminate_zeros()
    return np.diff(counts.indptr).astype(np.int64)


def coverage_error(
    lists: np.ndarray, genres: sparse.csr_matrix, n_genres: int | np.ndarray
) -> np.ndarray:
    """Compute |coverage - wanted number of genres| of each list.

    Args:
        lists: int32, shape (queries, places).
        genres: bool CSR, shape (n_items, n_genres).
        n_genres: the wanted number, for all lists or for each, shape (queries,).

    Returns:
        int64, shape (queries,).
    """
    return np.abs(coverage(lists, genres) - n_genres)


def repetition(lists: np.ndarray) -> np.ndarray:
    """Compute the fraction of the places of each list whose item stands at an earlier place too.

    Args:
        lists: int32, shape (queries, places).

    Returns:
        float64, shape (queries,); 0 for an empty list.
    """
    ordered = np.sort(lists, axis=1)
    repeated = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).sum(axis=1)
    return repeated / np.maximum((lists >= 0).sum(axis=1), 1)


def match_by_position(
    lists: np.ndarray, genres: sparse.csr_matrix, wanted: np.ndarray
) -> np.ndarray:
    """Compute the fraction of places whose item has the genre wanted at this place.

    Args:
        lists: int32, shape (queries, places).
        genres: bool CSR, shape (n_items, n_genres).
        wanted: genre column wanted at each place, shape (queries, places); -1 wants none. A wanted
            place after the end of the list counts as no match.

    Returns:
        float64, shape (queries,).

    Raises:
        DataError: the shapes differ, or a list has no wanted place.
    """
    if lists.shape != wanted.shape:
        raise DataError(
            f"match_by_position: lists have shape {lists.shape}, wanted genres {wanted.shape}"
        )
    asked = (wanted >= 0).sum(axis=1)
    if len(asked) and asked.min() == 0:
        raise DataError(f"match_by_position: list {int(asked.argmin())} has no wanted genre")
    query, place = np.nonzero((wanted >= 0) & (lists >= 0))
    has = np.asarray(genres[lists[query, place], wanted[query, place]]).ravel()
    return np.bincount(query, weights=has, minlength=len(lists)) / asked


def intra_list_diversity(lists: np.ndarray, genres: sparse.csr_matrix) -> np.ndarray:
    """Average 1 - Jaccard similarity of the genres over all pairs of places of each list.

    Two items without genres are as different as any others: their similarity is 0.

    Args:
        lists: int32, shape (queries, places).
        genres: bool CSR, shape (n_items, n_genres).

    Returns:
        float64, shape (queries,); 0 for lists of fewer than two items.
    """
    values = np.zeros(len(lists))
    for row, items in enumerate(lists):
        sets = genres[items[items >= 0]].toarray().astype(np.float64)
        if len(sets) > 1:
            sizes = sets.sum(axis=1)
            both = sets @ sets.T
            similar = both / np.maximum(sizes[:, None] + sizes - both, 1)
            values[row] = 1 - similar[np.triu_indices(len(sets), 1)].mean()
    return values


def oracle_hits(
    relevance: sparse.csr_matrix, genres: sparse.csr_matrix, k: int, n_genres: int
) -> np.ndarray:
    """Compute the highest possible number of hits of k items with exactly K genres.

    The upper bound of hits under control: if the relevant items have three genres, a list with
    eight needs five places for others. Any number of others is at hand, with the genres of any
    item of the catalogue.

    Args:
        relevance: bool CSR, shape (queries, n_items).
        genres: bool CSR, shape (n_items, n_genres).
        k: length of the list.
        n_genres: K.

    Returns:
        int64, shape (queries,).

    Raises:
        ConfigError: k or n_genres is out of range, or no list has exactly K genres.
        DataError: wrong shapes or dtypes.
    """
    n_queries = matrix_shape(relevance)[0]
    others = _other_items(genres, k)
    hits = np.zeros(n_queries, np.int64)
    for query in range(n_queries):
        relevant = relevance.indices[relevance.indptr[query] : relevance.indptr[query + 1]]
        scores = (np.arange(len(relevant) + len(others)) < len(relevant)).astype(np.float32)
        items = np.concatenate([relevant, others])
        hits[query] = scores[exact_k(scores, genres[items], k, n_genres=n_genres)].sum()
    return hits


def _other_items(genres: sparse.csr_matrix, k: int) -> np.ndarray:
    """Repeat an item of each set of genres as often as a list without hits may need it.

    One item adds all genres of its set. To fill a list up, the sets that contain no other suffice.
    """
    zeros = np.zeros(matrix_shape(genres)[0], np.float32)
    alike = best_of_genre_sets("oracle_hits", zeros, genres, 1)
    alike = alike.where(np.logical_or.reduce(alike.genre_sets, axis=1)[alike.groups])
    sets = alike.genre_sets[alike.groups].astype(np.float32)
    contained = (sets @ sets.T == sets.sum(axis=1)).sum(axis=1)
    return np.repeat(alike.positions, np.where(contained == 1, k, 1))

"""The best list with exactly K genres as an integer programme, for hard inputs of ``exact_k``."""

import numpy as np
from scipy import sparse

from warmstart.errors import UnsupportedError

_MAX_SECONDS = 60.0  # inputs are known that take 9
_OPTIMAL, _INFEASIBLE = 0, 2  # statuses of scipy's milp


def solve_programme(
    scores: np.ndarray, sets: np.ndarray, groups: np.ndarray, n_genres: int, length: int
) -> np.ndarray | None:
    """Choose the list of ``length`` items with exactly K genres and the highest sum of scores.

    Variables: x_i = item i is in the list, y_g = the list has genre g. Maximise sum s_i x_i with

        sum_i x_i = length,  sum_g y_g = K,  x_i <= y_g for each genre g of i,
        y_g <= sum of x_i over the items of g

    HiGHS solves it, to a millionth of the range of the scores. It decides how many items of each
    set of genres there are; the best ones of each set are taken.

    Args:
        scores: float64, shape (candidates,), descending.
        sets: genres of the candidates, bool, shape (candidates, n_genres).
        groups: equal for candidates with equal sets, shape (candidates,).
        n_genres: K.
        length: number of items.

    Returns:
        Places in ``scores``; None if there is no such list.

    Raises:
        UnsupportedError: the solver gave up, after a minute at the latest.
    """
    from scipy.optimize import Bounds, milp  # slow to import, and few lists need it

    n_items, n_columns = sets.shape
    item, genre = np.nonzero(sets)
    pair, one = np.arange(len(item)), np.ones(len(item))
    has = sparse.csr_matrix((one, (pair, item)), shape=(len(item), n_items))
    needs = sparse.csr_matrix((one, (pair, genre)), shape=(len(item), n_columns))
    of_genre = sparse.csr_matrix((one, (genre, item)), shape=(n_columns, n_items))
    all_items, all_genres = np.ones((1, n_items)), np.ones((1, n_columns))
    rules = sparse.block_array(
        [
            [has, -needs],
            [-of_genre, sparse.eye_array(n_columns)],
            [sparse.csr_matrix(all_items), None],
            [None, sparse.csr_matrix(all_genres)],
        ],
        format="csr",
    )
    upper = np.concatenate([np.zeros(len(item) + n_columns), [length, n_genres]])
    lower = np.concatenate([np.full(len(item) + n_columns, -np.inf), [length, n_genres]])
    gain = (scores - scores.min()) / max(scores.max() - scores.min(), np.finfo(float).tiny)
    solved = milp(
        np.concatenate([-gain, np.zeros(n_columns)]),
        integrality=np.ones(n_items + n_columns),
        bounds=Bounds(0, 1),
        constraints=(rules, lower, upper),
        options={"mip_rel_gap": 0, "time_limit": _MAX_SECONDS},
    )
    if solved.status == _INFEASIBLE:
        return None
    if solved.status != _OPTIMAL:
        raise UnsupportedError(f"exact_k: the solver of the integer programme: {solved.message}")
    counts = np.bincount(groups[solved.x[:n_items] > 0.5], minlength=groups.max() + 1)
    best = [np.flatnonzero(groups == group)[: counts[group]] for group in np.flatnonzero(counts)]
    return np.concatenate(best)

"""Inputs of the re-ranking tests: genres written by hand, and random small lists."""

from itertools import combinations

import numpy as np
from hypothesis import strategies as st
from scipy import sparse


def genres_of(*rows, n_genres=None):
    """Build the genre matrix from one collection of genre columns for each candidate."""
    sizes = [len(row) for row in rows]
    columns = [genre for row in rows for genre in row]
    width = max(columns, default=-1) + 1 if n_genres is None else n_genres
    pairs = (np.ones(len(columns), bool), (np.repeat(np.arange(len(rows)), sizes), columns))
    return sparse.csr_matrix(pairs, shape=(len(rows), width))


def float32(*values):
    return np.array(values, np.float32)


@st.composite
def candidates(draw, *, max_genres=3, max_candidates=9):
    """Draw (scores, genres) with ties and NaN; each has at most ``max_genres`` of five genres."""
    n = draw(st.integers(0, max_candidates))
    values = st.sampled_from([-1, -0.5, 0, 0, 0.25, 0.5, 1, np.nan])
    scores = draw(st.lists(values, min_size=n, max_size=n))
    row = st.sets(st.integers(0, 4), max_size=max_genres)
    rows = draw(st.lists(row, min_size=n, max_size=n))
    return np.array(scores, np.float32), genres_of(*rows, n_genres=5)


def check_list(positions, scores, k):
    """Check what holds for the list of any function: int32, at most k, none twice, none NaN."""
    assert positions.dtype == np.int32
    assert len(positions) <= k
    assert len(set(positions.tolist())) == len(positions)
    assert not np.isnan(scores[positions]).any()


def plain(scores, k):
    """The k highest scores, equal ones by position."""
    ranked = [i for i in range(len(scores)) if not np.isnan(scores[i])]
    return sorted(ranked, key=lambda i: (-scores[i], i))[:k]


def all_lists(scores, length):
    """Every set of ``length`` candidates that can be ranked."""
    ranked = [i for i in range(len(scores)) if not np.isnan(scores[i])]
    return [list(chosen) for chosen in combinations(ranked, length)]

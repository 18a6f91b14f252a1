"""Metrics of lists by hand, and the attainable hits against all lists."""

import csv
import gzip
import json
from itertools import combinations

import numpy as np
import pytest
from scipy import sparse

from tests.rerank.inputs import genres_of
from warmstart.errors import ConfigError, DataError
from warmstart.evaluation.lists import (
    coverage,
    coverage_error,
    intra_list_diversity,
    match_by_position,
    oracle_hits,
    repetition,
)

GENRES = genres_of({0}, {0, 1}, {2}, {1}, set())
LISTS = np.array([[0, 1, 3], [2, 2, -1], [4, -1, -1], [-1, -1, -1]], np.int32)


def test_coverage_by_hand():
    assert coverage(LISTS, GENRES).tolist() == [2, 1, 0, 0]
    assert coverage_error(LISTS, GENRES, 2).tolist() == [0, 1, 2, 2]
    assert coverage_error(LISTS, GENRES, np.array([3, 1, 0, 1])).tolist() == [1, 0, 0, 1]
    stored_zero = GENRES.copy()
    stored_zero.data[0] = False
    assert coverage(np.array([[0]]), stored_zero).tolist() == [0]


def test_repetition_by_hand():
    lists = np.array([[5, 3, 5, 5], [2, 2, -1, -1], [1, 2, 3, 4], [-1, -1, -1, -1]])
    assert repetition(lists).tolist() == [0.5, 0.5, 0, 0]


def test_match_by_position_by_hand():
    wanted = np.array([[0, 1, 0], [2, 0, 1], [1, -1, -1], [0, 0, -1]])
    found = match_by_position(LISTS, GENRES, wanted)
    # Item 1 has genre 1 among others; places after the end of a list match nothing.
    assert found.tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])
    with pytest.raises(DataError, match="list 1 has no wanted genre"):
        match_by_position(LISTS[:2], GENRES, np.array([[0, 0, 0], [-1, -1, -1]]))
    with pytest.raises(DataError, match=r"lists have shape \(4, 3\), wanted genres \(1, 3\)"):
        match_by_position(LISTS, GENRES, wanted[:1])


def test_intra_list_diversity_by_hand():
    # Pairs of the first list: {0} {0,1}: 1/2; {0} {1}: 1; {0,1} {1}: 1/2.
    assert intra_list_diversity(LISTS, GENRES).tolist() == pytest.approx([2 / 3, 0, 0, 0])
    assert intra_list_diversity(np.array([[4, 4]]), GENRES).tolist() == [1]


def relevance_of(*rows, n_items):
    return sparse.csr_matrix(genres_of(*rows, n_genres=n_items))


def test_oracle_hits_by_hand():
    genres = genres_of({0}, {0}, {0}, {1}, {1}, {2}, {3}, {0}, {1}, {2})
    relevance = relevance_of({0, 1, 2, 3, 4, 5}, {6}, set(), n_items=10)
    # Six relevant items of three genres: 3 in one genre, 5 in two, and 5 of 6 places in four.
    for n_genres, expected in ((1, 3), (2, 5), (3, 6), (4, 5)):
        assert oracle_hits(relevance, genres, 6, n_genres).tolist() == [expected, 1, 0]
    assert oracle_hits(relevance, genres, 4, 4).tolist() == [3, 1, 0]
    with pytest.raises(ConfigError, match="exactly 5 genres"):
        oracle_hits(relevance, genres, 6, 5)


@pytest.mark.parametrize("seed", range(5))
def test_oracle_hits_against_all_lists(seed):
    rng = np.random.default_rng(seed)
    dense = rng.random((10, 5)) < 0.35
    dense[np.arange(10), rng.integers(0, 5, 10)] = True
    relevant = rng.random((3, 10)) < 0.4
    for n_genres in (2, 3, 4):
        lists = [
            list(chosen)
            for length in range(1, 5)  # copies of the chosen fill the list up
            for chosen in combinations(range(10), length)
            if dense[list(chosen)].any(axis=0).sum() == n_genres
        ]
        if lists:
            expected = [max(int(row[chosen].sum()) for chosen in lists) for row in relevant]
            found = oracle_hits(sparse.csr_matrix(relevant), sparse.csr_matrix(dense), 4, n_genres)
            assert found.tolist() == expected


@pytest.mark.reference
def test_oracle_hits_of_the_movies_of_dlcrec(data_root):
    """The bound of precision@10 with exactly K first genres, as measured before."""
    folder = data_root / "dlcrec-movie"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    with gzip.open(folder / "catalogue.csv.gz", "rt", encoding="utf-8") as file:
        first = [row["genres"].split("|")[0] for row in csv.DictReader(file)]
    names = sorted(set(first))
    with gzip.open(folder / "windows.jsonl.gz", "rt", encoding="utf-8") as file:
        windows = [json.loads(line) for line in file]
    truth = [window["future"] for window in windows if window["split"] == "test"]
    # Every relevant item is a row of its own, in front of the catalogue.
    genre = [names.index(item["genre"]) for future in truth for item in future]
    columns = genre + [names.index(name) for name in first]
    genres = genres_of(*[{column} for column in columns], n_genres=len(names))
    rows = np.repeat(np.arange(len(truth)), 10), np.arange(len(genre))
    relevance = sparse.csr_matrix((np.ones(len(genre), bool), rows), (len(truth), len(columns)))
    expected = {2: 0.69, 5: 0.908, 8: 0.65}
    for n_genres, value in expected.items():
        found = oracle_hits(relevance, genres, 10, n_genres).mean() / 10
        assert found == pytest.approx(value, abs=0.005), n_genres

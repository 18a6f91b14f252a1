"""A table of histories finds what sums of all histories find, whatever the threads and parts."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstart.errors import DataError
from warmstart.retrieval import history_table
from warmstart.retrieval.found import merge
from warmstart.retrieval.history_table import HistoryTable, number_type
from warmstart.retrieval.softmax import noise
from warmstart.retrieval.table import sampling_keys

ROWS = st.sampled_from([0, 1, 7, 16, 300, 20_000])


def in_order(scores, k):
    """The k best rows, equal ones by number; -1 after the last."""
    order = np.lexsort((np.arange(len(scores)), -scores))[:k]
    order = order[np.isfinite(scores[order])]
    return np.pad(order, (0, k - len(order)), constant_values=-1)


def drawn(seed, n, *, n_items=50, most=6, width=5, n_queries=4, whole=False):
    """A table with empty and short lists, and queries; whole numbers have equal, exact scores."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, most + 1, n)
    items = rng.integers(0, n_items, (n, most)).astype(number_type(n_items))
    items[np.arange(most) >= lengths[:, None]] = n_items
    vectors, queries = rng.normal(size=(n_items, width)), rng.normal(size=(n_queries, width))
    scales, bias = rng.normal(size=n), rng.normal(size=n)
    if whole:
        vectors, queries, bias = np.rint(vectors), np.rint(queries), np.rint(bias)
        scales = rng.choice([0.5, 1, 2], n)
    bias[rng.random(n) < 0.2] = -np.inf
    table = HistoryTable(
        items, scales.astype(np.float16), vectors.astype(np.float32), bias.astype(np.float32)
    )
    return rng, table, queries.astype(np.float32)


def exact_scores(table, queries):
    vectors = np.append(table.item_vectors, np.zeros((1, table.width)), axis=0)
    sums = vectors.astype(float)[table.items].sum(axis=1) * table.scales[:, None].astype(float)
    bias = table.bias if len(table.bias) else 0
    return queries.astype(float) @ sums.T + bias


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=ROWS,
    most=st.sampled_from([0, 1, 6, 31]),
    n_queries=st.integers(1, 11),
    k=st.sampled_from([1, 20, 400]),
    whole=st.booleans(),
    threads=st.sampled_from([1, 2, 3]),
)
def test_a_search_is_exact_and_independent_of_threads_and_parts(
    seed, n, most, n_queries, k, whole, threads
):
    rng, table, queries = drawn(seed, n, most=most, n_queries=n_queries, whole=whole)
    excluded = [rng.choice(n, min(n, 5), replace=False) for _ in range(n_queries)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_table, "_MIN_ROWS", 1)
        found = table.search(queries, k, excluded=excluded, log_normalisers=True, threads=threads)
    exact = exact_scores(table, queries)
    normalisers = np.logaddexp.reduce(exact, axis=1, initial=-np.inf)
    np.testing.assert_allclose(found.log_normalisers, normalisers, rtol=1e-6, atol=1e-4)
    for query, left_out in enumerate(excluded):
        exact[query, left_out] = -np.inf
        wanted = in_order(exact[query].astype(np.float32), k)
        if whole:
            np.testing.assert_array_equal(found.rows[query], wanted)
        there = wanted >= 0
        np.testing.assert_array_equal(found.rows[query] >= 0, there)
        expected = exact[query, wanted[there]]
        np.testing.assert_allclose(found.scores[query, there], expected, rtol=1e-5, atol=1e-4)
        own = exact[query, found.rows[query, there]]
        np.testing.assert_allclose(found.scores[query, there], own, rtol=1e-5, atol=1e-4)
    ends = [0, *np.sort(rng.integers(0, n + 1, 2)).tolist(), n]
    parts = [
        table.part(start, end).search(queries, k, excluded=excluded, threads=1)
        for start, end in pairwise(ends)
    ]
    merged = merge([merge(parts[:2], k), parts[2]], k)
    np.testing.assert_array_equal(merged.rows, found.rows)
    np.testing.assert_array_equal(merged.scores, found.scores)
    for query in range(n_queries):
        alone = table.search(queries[[query]], k, excluded=[excluded[query]])
        np.testing.assert_array_equal(alone.rows[0], found.rows[query])
        np.testing.assert_array_equal(alone.scores[0], found.scores[query])


def test_equal_scores_are_ordered_by_row_however_many_there_are():
    """More of them than a pass has room for: all lists are empty."""
    items = np.full((50_000, 3), 4, np.uint16)
    table = HistoryTable(items, np.ones(50_000, np.float16), np.ones((4, 2), np.float32))
    for n_queries in (1, 4):
        found = table.search(np.ones((n_queries, 2), np.float32), 5, threads=2)
        np.testing.assert_array_equal(found.rows, [[0, 1, 2, 3, 4]] * n_queries)
        assert (found.scores == 0).all()


def test_scores_that_rise_from_row_to_row_leave_room():
    """Every row is better than all before it."""
    items = np.arange(30_000, dtype=np.uint16)[:, None]
    vectors = np.arange(30_000, dtype=np.float32)[:, None]
    table = HistoryTable(items, np.ones(30_000, np.float16), vectors)
    found = table.search(np.ones((1, 1), np.float32), 3, threads=1)
    assert found.rows.tolist() == [[29_999, 29_998, 29_997]]


def test_item_numbers_above_65535():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(70_000, 3)).astype(np.float32)
    items = rng.integers(0, 70_001, (500, 4)).astype(np.uint32)
    table = HistoryTable(items, np.ones(500, np.float16), vectors)
    queries = rng.normal(size=(3, 3)).astype(np.float32)
    found = table.search(queries, 5)
    exact = exact_scores(table, queries)
    np.testing.assert_array_equal(found.rows, np.argsort(-exact, axis=1)[:, :5])


def test_scales_of_every_size():
    scales = np.array([0, 6e-8, 1e-5, 0.1, 1, -1, 3.14, -65_504, 65_504], np.float16)
    table = HistoryTable(np.zeros((9, 1), np.uint16), scales, np.ones((1, 1), np.float32))
    found = table.search(np.ones((1, 1), np.float32), 9)
    np.testing.assert_array_equal(found.scores[0], np.sort(scales.astype(np.float32))[::-1])


def test_the_matrix_holds_the_lists():
    _, table, queries = drawn(0, 100)
    scores = (table.matrix() @ table.item_vectors @ queries.T).T + table.bias
    np.testing.assert_allclose(scores, exact_scores(table, queries), atol=1e-5)
    rows = np.array([7, 3])
    np.testing.assert_array_equal(table.matrix(rows).toarray(), table.matrix()[rows].toarray())


# -- samples --


def test_samples_do_not_depend_on_parts_threads_or_batches():
    _, table, queries = drawn(0, 30_000, n_queries=5)
    keys = sampling_keys(7, np.arange(5))
    whole = table.search(queries, 30, keys=keys, log_normalisers=True, threads=2)
    parts = [
        table.part(start, end).search(queries, 30, keys=keys, log_normalisers=True)
        for start, end in ((0, 100), (100, 17_001), (17_001, 30_000))
    ]
    merged = merge(parts, 30)
    np.testing.assert_array_equal(merged.rows, whole.rows)
    np.testing.assert_array_equal(merged.keys, whole.keys)
    np.testing.assert_allclose(merged.log_normalisers, whole.log_normalisers, rtol=1e-6)
    one = table.search(queries[3:4], 30, keys=keys[3:4], threads=1)
    np.testing.assert_array_equal(one.rows[0], whole.rows[3])
    np.testing.assert_array_equal(one.keys[0], whole.keys[3])


def test_samples_are_the_rows_with_the_highest_keys():
    _, table, queries = drawn(3, 5000, n_queries=3)
    keys = sampling_keys(1, np.arange(3))
    found = table.search(queries, 40, keys=keys)
    scores = exact_scores(table, queries)
    for query in range(3):
        own = scores[query] + [noise(row, *keys[query]) for row in range(len(table))]
        np.testing.assert_array_equal(found.rows[query], in_order(own, 40))
        np.testing.assert_allclose(found.keys[query], own[found.rows[query]], atol=1e-4)


# -- what is refused --


@pytest.mark.parametrize("queries", [np.ones((1, 4)), np.ones(5), np.full((1, 5), np.nan)])
def test_queries_of_another_width_are_refused(queries):
    _, table, _ = drawn(0, 10)
    with pytest.raises(DataError, match=r"of shape \(queries, 5\)|must be finite, row 0"):
        table.search(queries, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": np.full((3, 2), 6, np.uint16)}, r"uint16 within 0\.\.5, got uint16 .* most 6"),
        ({"items": np.zeros((3, 2), np.int64)}, "must be uint16"),
        ({"items": np.zeros(3, np.uint16)}, r"of shape \(3,\)"),
        ({"scales": np.ones(2, np.float16)}, r"scales must be float16 of shape \(3,\)"),
        ({"scales": np.ones(3, np.float32)}, r"got float32 of shape \(3,\)"),
        ({"bias": np.ones(2, np.float32)}, r"bias must be .* shape \(3,\), got float32"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    arrays = {
        "items": np.zeros((3, 2), np.uint16),
        "scales": np.ones(3, np.float16),
        "item_vectors": np.ones((5, 4), np.float32),
    }
    with pytest.raises(DataError, match=message):
        HistoryTable(**{**arrays, **change})

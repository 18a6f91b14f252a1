"""A search finds what a full multiplication finds, whatever the blocks, threads and shards."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from warmstart.errors import DataError
from warmstart.retrieval import multiply, table
from warmstart.retrieval.found import merge
from warmstart.retrieval.queries import ProductQueries
from warmstart.retrieval.rounding import BLOCK_ROWS, rounded_queries, rounded_vectors
from warmstart.retrieval.softmax import noise
from warmstart.retrieval.table import Shard, VectorTable, sampling_keys

WIDTHS = st.sampled_from([1, 2, 16, 64, 130])
ROWS = st.sampled_from([0, 1, 7, 16, 300, 20_000])


def best(scores, k):
    """The k best rows, and all that are equal to the last one."""
    finite = np.flatnonzero(np.isfinite(scores))
    if len(finite) <= k:
        return set(finite.tolist())
    lowest = np.sort(scores[finite])[-k]
    return set(finite[scores[finite] >= lowest].tolist())


def in_order(scores, k):
    """The k best rows, equal ones by number; -1 after the last."""
    order = np.lexsort((np.arange(len(scores)), -scores))[:k]
    order = order[np.isfinite(scores[order])]
    return np.pad(order, (0, k - len(order)), constant_values=-1)


def drawn(seed, n, width, n_queries, scale=1.0):
    rng = np.random.default_rng(seed)
    vectors = (scale * rng.normal(size=(n, width)) * rng.lognormal(size=(n, 1))).astype(np.float32)
    vectors[rng.random(n) < 0.1] = 0
    queries = rng.normal(size=(n_queries, width)).astype(np.float32)
    bias = (-scale * rng.random(n)).astype(np.float32)
    bias[rng.random(n) < 0.2] = -np.inf
    return rng, vectors, queries, bias


def in_shards(vectors, bias, ends, *, keep_vectors=True):
    shards, start = [], 0
    for end in [*ends, len(vectors)]:
        arrays = rounded_vectors(vectors[start:end]) | {"bias": bias[start:end]}
        if keep_vectors:
            arrays["vectors"] = vectors[start:end]
        shards.append(Shard(arrays, vectors.shape[1], start))
        start = end
    return shards


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=ROWS,
    width=WIDTHS,
    n_queries=st.integers(1, 9),
    k=st.integers(1, 40),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
    threads=st.sampled_from([1, 2]),
)
def test_candidates_include_the_best(seed, n, width, n_queries, k, scale, threads):
    rng, vectors, queries, bias = drawn(seed, n, width, n_queries, scale)
    excluded = [rng.choice(n, min(n, 5), replace=False) for _ in range(n_queries)]
    found = VectorTable(vectors).candidates(
        ProductQueries.of(queries), k, excluded, threads, bias=bias
    )
    exact = queries.astype(float) @ vectors.T.astype(float) + bias
    for rows, scores, left_out in zip(found, exact, excluded, strict=True):
        scores[left_out] = -np.inf
        assert rows is not None
        assert best(scores, k) <= set(rows.tolist())
        assert not set(rows.tolist()) & set(left_out.tolist())
        assert np.isfinite(scores[rows]).all()
        assert (np.diff(rows) > 0).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=ROWS,
    width=WIDTHS,
    n_queries=st.integers(1, 9),
    k=st.sampled_from([1, 20, 400]),
    keep_vectors=st.booleans(),
)
def test_a_search_is_exact_and_independent_of_threads_and_shards(
    seed, n, width, n_queries, k, keep_vectors
):
    rng, vectors, queries, bias = drawn(seed, n, width, n_queries)
    if not keep_vectors:  # the rounded vectors are the table
        rounded = rounded_vectors(vectors)
        vectors = rounded["codes"][:, :width] * rounded["scales"][:, None]
    ends = np.sort(rng.integers(0, n + 1, 2))
    shards = in_shards(vectors, bias, ends, keep_vectors=keep_vectors)
    excluded = [rng.choice(n, min(n, 5), replace=False) for _ in range(n_queries)]
    whole = VectorTable.of_shards(in_shards(vectors, bias, [], keep_vectors=keep_vectors))
    found = whole.search(queries, k, excluded=excluded, threads=1)
    exact = queries.astype(float) @ vectors.T.astype(float) + bias
    scores = exact.astype(np.float32)
    for query, left_out in enumerate(excluded):
        scores[query, left_out] = -np.inf
    for query in range(n_queries):
        rows = found.rows[query][found.rows[query] >= 0]
        wanted = in_order(scores[query], k)
        assert len(rows) == (wanted >= 0).sum()
        values = scores[query, rows]
        np.testing.assert_allclose(values, scores[query, wanted[wanted >= 0]], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.scores[query, : len(rows)], values, rtol=1e-5, atol=1e-5)
    others = VectorTable.of_shards(shards).search(queries, k, excluded=excluded, threads=2)
    np.testing.assert_array_equal(others.rows, found.rows)
    np.testing.assert_array_equal(others.scores, found.scores)
    apart = [
        VectorTable.of_shards([shard]).search(queries, k, excluded=excluded) for shard in shards
    ]
    merged = merge([merge(apart[:2], k), apart[2]], k)
    np.testing.assert_array_equal(merged.rows, found.rows)
    np.testing.assert_array_equal(merged.scores, found.scores)


def test_parts_keep_their_rows_and_go_into_other_processes():
    _, vectors, queries, bias = drawn(0, 30_000, 16, 3)
    table = VectorTable.of_shards(in_shards(vectors, bias, [9000]))
    found = table.search(queries, 20)
    parts = [table.part(0, 5000), table.part(5000, 22_000), table.part(22_000, 30_000)]
    copies = [pickle.loads(pickle.dumps(part)) for part in parts]
    assert [len(part.shards) for part in copies] == [1, 2, 1]
    merged = merge([part.search(queries, 20) for part in copies], 20)
    np.testing.assert_array_equal(merged.rows, found.rows)
    np.testing.assert_array_equal(merged.scores, found.scores)
    assert len(pickle.dumps(table)) < 1.1 * table.nbytes


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=ROWS, keep_vectors=st.booleans())
def test_log_normalisers_are_those_of_all_scores(seed, n, keep_vectors):
    rng, vectors, queries, bias = drawn(seed, n, 32, 5)
    ends = np.sort(rng.integers(0, n + 1, 2))
    shards = in_shards(vectors, bias, ends, keep_vectors=keep_vectors)
    found = VectorTable.of_shards(shards).search(queries, 60, log_normalisers=True)
    if not keep_vectors:
        rounded = rounded_vectors(vectors)
        vectors = rounded["codes"][:, :32] * rounded["scales"][:, None]
    exact = queries.astype(float) @ vectors.T.astype(float) + bias
    normalisers = np.logaddexp.reduce(exact, axis=1, initial=-np.inf)
    np.testing.assert_allclose(found.log_normalisers, normalisers, atol=1e-2)
    parts = [
        VectorTable.of_shards([one]).search(queries, 60, log_normalisers=True) for one in shards
    ]
    merged = merge(parts, 60)
    np.testing.assert_allclose(merged.log_normalisers, normalisers, atol=1e-2)


def test_equal_scores_are_ordered_by_row():
    vectors = np.ones((3 * BLOCK_ROWS, 3), np.float32)
    found = VectorTable(vectors).search(np.ones((2, 3), np.float32), 5)
    np.testing.assert_array_equal(found.rows, [[0, 1, 2, 3, 4]] * 2)
    assert VectorTable(vectors).candidates(
        ProductQueries.of(np.ones((1, 3), np.float32)), 5, [np.zeros(0, int)]
    ) == [None]


def test_few_rows_are_candidates():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(100_000, 64)).astype(np.float32)
    queries = rng.normal(size=(4, 64)).astype(np.float32)
    found = VectorTable(vectors).candidates(ProductQueries.of(queries), 20, [np.zeros(0, int)] * 4)
    assert all(rows is not None and 20 <= len(rows) < 100 for rows in found)


def test_a_product_above_the_cap_stands_for_any_score_down_to_it():
    """Scores above the cap are compressed: a bias may then decide against the higher product."""
    vectors = np.array([[10.0], [9.0], [8.0], [7.0], [1.0]], np.float32)
    bias = np.array([-3.0, -2.0, 0.0, -0.5, 0.0], np.float32)
    queries = ProductQueries(np.ones((1, 1), np.float32), np.array([5.0], np.float32))
    (rows,) = VectorTable(vectors).candidates(queries, 1, [np.zeros(0, int)], bias=bias)
    compressed = np.minimum(vectors[:, 0], 5.0) + bias
    assert int(compressed.argmax()) == 2
    assert rows is not None
    assert 2 in rows


def test_sharply_peaked_scores_have_exact_normalisers():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50_000, 64)).astype(np.float32)
    queries = 3 * rng.normal(size=(3, 64)).astype(np.float32)
    found = VectorTable(vectors).search(queries, 50, log_normalisers=True)
    exact = np.logaddexp.reduce(queries.astype(float) @ vectors.T.astype(float), axis=1)
    np.testing.assert_allclose(found.log_normalisers, exact, atol=1e-4)


def test_wide_tables_do_not_overflow():
    vectors = np.full((40, 2000), 1.0, np.float32)
    vectors[7] = 1.01
    found = VectorTable(vectors).search(np.full((1, 2000), 5.0, np.float32), 1)
    assert found.rows.tolist() == [[7]]
    np.testing.assert_allclose(found.scores, 5 * 2000 * 1.01, rtol=1e-6)


def test_vectors_of_16_bits_decide():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(5000, 20)).astype(np.float16)
    queries = rng.normal(size=(3, 20)).astype(np.float32)
    found = VectorTable(vectors).search(queries, 10)
    exact = queries.astype(float) @ vectors.T.astype(float)
    np.testing.assert_array_equal(found.rows, np.argsort(-exact, axis=1)[:, :10])


def test_other_processors_multiply_the_same(monkeypatch):
    """The plain operations of processors without ``pmaddwd``, compiled here too."""
    rng = np.random.default_rng(0)
    rounded = rounded_vectors(rng.normal(size=(32, 48)).astype(np.float32))
    queries = rounded_queries(rng.normal(size=(4, 48)).astype(np.float32))
    right = queries["codes"].astype(int) @ rounded["codes"].T.astype(int)
    monkeypatch.setattr(multiply, "_has_pair_products", lambda: False)
    import numba

    for at_once in ((0,), (0, 0), (0, 0, 0, 0)):

        @numba.njit
        def product(codes, queries, at_once):
            products = np.zeros((len(at_once), 16), np.int32)
            multiply.multiply(codes, 16, queries, 0, products, at_once)
            return products

        found = product(rounded["codes"], queries["codes"], at_once)
        np.testing.assert_array_equal(found, right[: len(at_once), 16:])


@pytest.mark.parametrize("queries", [np.ones((1, 4)), np.ones(3), np.full((1, 3), np.nan)])
def test_queries_of_another_width_are_refused(queries):
    with pytest.raises(DataError, match=r"of shape \(queries, 3\)|must be finite, row 0"):
        VectorTable(np.ones((5, 3), np.float32)).search(queries, 1)


# -- rounding --


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.sampled_from([1, 16, 64, 600]))
def test_bounds_on_rounding_hold(seed, width):
    rng = np.random.default_rng(seed)
    vectors = (rng.lognormal(0, 4, (50, 1)) * rng.normal(size=(50, width))).astype(np.float32)
    for rounded in (rounded_vectors(vectors), rounded_queries(vectors)):
        restored = rounded["codes"][:, :width].astype(float) * rounded["scales"][:, None]
        difference = np.linalg.norm(vectors - restored, axis=1)
        assert (difference <= rounded["errors"]).all()
        assert (np.linalg.norm(restored, axis=1) <= rounded["norms"] + rounded["errors"]).all()
        assert rounded["codes"].shape[1] % 16 == 0


# -- samples --


def test_samples_do_not_depend_on_shards_threads_or_batches():
    _, vectors, queries, bias = drawn(0, 30_000, 32, 5)
    keys = sampling_keys(7, np.arange(5))
    whole = VectorTable(vectors, bias=bias).search(queries, 30, keys=keys, log_normalisers=True)
    shards = in_shards(vectors, bias, [100, 17_001])
    parts = [
        VectorTable.of_shards([shard]).search(queries, 30, keys=keys, log_normalisers=True)
        for shard in shards
    ]
    merged = merge(parts, 30)
    np.testing.assert_array_equal(merged.rows, whole.rows)
    np.testing.assert_array_equal(merged.keys, whole.keys)
    one = VectorTable(vectors, bias=bias).search(queries[3:4], 30, keys=keys[3:4], threads=1)
    np.testing.assert_array_equal(one.rows[0], whole.rows[3])
    assert (np.diff(whole.keys, axis=1) <= 0).all()
    assert (whole.scores[:, :5] != np.sort(whole.scores, axis=1)[:, ::-1][:, :5]).any()


def test_samples_are_those_of_all_keys():
    """The pass over rounded vectors loses none of the rows with the highest keys."""
    _, vectors, queries, bias = drawn(3, 20_000, 16, 3)
    keys = sampling_keys(1, np.arange(3))
    found = VectorTable(vectors, bias=bias).search(queries, 40, keys=keys)
    scores = queries.astype(float) @ vectors.T.astype(float) + bias
    for query in range(3):
        own = np.array([noise(row, *keys[query]) for row in range(len(vectors))])
        np.testing.assert_array_equal(found.rows[query], in_order(scores[query] + own, 40))


def test_samples_follow_the_softmax():
    """The first row of many draws, against the probabilities: a chi-square test."""
    scores = np.array([0.0, 1.0, 2.0, -1.0, 0.5, 0.5], np.float32)[:, None]
    n = 6000
    queries = np.ones((n, 1), np.float32)
    keys = sampling_keys(11, np.arange(n))
    found = VectorTable(scores).search(queries, 2, keys=keys)
    chances = np.exp(scores[:, 0].astype(float))
    chances /= chances.sum()
    first = np.bincount(found.rows[:, 0], minlength=6)
    assert stats.chisquare(first, n * chances).pvalue > 1e-3
    second = chances * sum(p / (1 - p) for p in chances) - chances**2 / (1 - chances)
    seen = np.bincount(found.rows[:, 1], minlength=6)
    assert stats.chisquare(seen, n * second / second.sum()).pvalue > 1e-3
    assert (found.rows[:, 0] != found.rows[:, 1]).all()


def test_noise_is_gumbel_noise():
    values = np.array([noise(row, 5, 6) for row in range(20_000)])
    assert stats.kstest(values, stats.gumbel_r.cdf).pvalue > 1e-3
    other = np.array([noise(row, 5, 7) for row in range(20_000)])
    assert abs(np.corrcoef(values, other)[0, 1]) < 0.03


def test_one_query_too_many_for_a_pass(monkeypatch):
    monkeypatch.setattr(table, "_QUERIES_AT_ONCE", 2)
    _, vectors, queries, bias = drawn(5, 500, 8, 5)
    found = VectorTable(vectors, bias=bias).search(queries, 3)
    monkeypatch.undo()
    whole = VectorTable(vectors, bias=bias).search(queries, 3)
    np.testing.assert_array_equal(found.rows, whole.rows)

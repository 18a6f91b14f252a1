"""The best inner products are those that a full multiplication finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstart.rank import products
from warmstart.rank.product_queries import ProductQueries
from warmstart.rank.products import ProductTable, rounded_vectors


@pytest.fixture(params=["integers", "floats"])
def arithmetic(request, monkeypatch):
    monkeypatch.setattr(products, "integers_are_fast", lambda _: request.param == "integers")


def best(scores, k):
    """The k best rows, and all that are equal to the last one."""
    finite = np.flatnonzero(np.isfinite(scores))
    if len(finite) <= k:
        return set(finite.tolist())
    lowest = np.sort(scores[finite])[-k]
    return set(finite[scores[finite] >= lowest].tolist())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.sampled_from([0, 1, 7, 300, 70_000]),
    width=st.sampled_from([2, 3, 64, 130]),
    n_queries=st.integers(1, 20),
    k=st.integers(1, 40),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
    threads=st.sampled_from([1, 2]),
    integer=st.booleans(),
)
def test_candidates_include_the_best(seed, n, width, n_queries, k, scale, threads, integer):
    rng = np.random.default_rng(seed)
    vectors = (scale * rng.normal(size=(n, width)) * rng.lognormal(size=(n, 1))).astype(np.float32)
    vectors[rng.random(n) < 0.1] = 0
    queries = rng.normal(size=(n_queries, width)).astype(np.float32)
    bias = (-scale * rng.random(n)).astype(np.float32)
    bias[rng.random(n) < 0.2] = -np.inf
    excluded = [rng.choice(n, min(n, 5), replace=False) for _ in range(n_queries)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "integers_are_fast", lambda _: integer)
        found = ProductTable(vectors).candidates(
            ProductQueries.of(queries), k, bias, excluded, threads
        )
    exact = queries.astype(float) @ vectors.T.astype(float) + bias
    for rows, scores, left_out in zip(found, exact, excluded, strict=True):
        scores[left_out] = -np.inf
        assert rows is not None
        assert best(scores, k) <= set(rows.tolist())
        assert not set(rows.tolist()) & set(left_out.tolist())
        assert np.isfinite(scores[rows]).all()
        assert (np.diff(rows) > 0).all()


def test_few_items_are_candidates(arithmetic):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(100_000, 64)).astype(np.float32)
    queries = rng.normal(size=(4, 64)).astype(np.float32)
    nobody = [np.zeros(0, int)] * 4
    found = ProductTable(vectors).candidates(
        ProductQueries.of(queries), 20, np.zeros(100_000, np.float32), nobody
    )
    assert all(20 <= len(rows) < 100 for rows in found)


def test_a_product_above_the_cap_stands_for_any_score_down_to_it(arithmetic):
    """Scores above the cap are compressed: a bias may then decide against the higher product."""
    vectors = np.array([[10.0], [9.0], [8.0], [7.0], [1.0]], np.float32)
    bias = np.array([-3.0, -2.0, 0.0, -0.5, 0.0], np.float32)
    queries = ProductQueries(np.ones((1, 1), np.float32), np.array([5.0], np.float32))
    (rows,) = ProductTable(vectors).candidates(queries, 1, bias, [np.zeros(0, int)])
    compressed = np.minimum(vectors[:, 0], 5.0) + bias
    assert int(compressed.argmax()) == 2
    assert 2 in rows
    assert {0, 1, 2} <= set(rows.tolist())  # compressed to 5 or to 10, who knows
    assert 4 not in rows


def test_too_many_equal_items_need_all_scores(arithmetic):
    table = ProductTable(np.ones((50_000, 3), np.float32))
    queries = ProductQueries.of(np.ones((2, 3), np.float32))
    nobody = [np.zeros(0, int)] * 2
    assert table.candidates(queries, 5, np.zeros(50_000, np.float32), nobody) == [None, None]


def test_a_wrong_product_of_integers_is_noticed(monkeypatch):
    monkeypatch.setattr(products, "_int_mm", lambda a, b: a.int() @ b.int() + 1)
    assert not products.integers_are_fast.__wrapped__(64)


def test_vectors_of_width_1():
    vectors = np.linspace(-1, 1, 100, dtype=np.float32)[:, None]
    queries = ProductQueries.of(np.array([[2.0], [-2.0]], np.float32))
    nobody = [np.zeros(0, int)] * 2
    high, low = ProductTable(vectors).candidates(queries, 1, np.zeros(100, np.float32), nobody)
    assert 99 in high
    assert 0 in low


def test_rounding_is_bounded_by_its_errors():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 20)).astype(np.float32)
    rounded = rounded_vectors(vectors)
    difference = vectors - rounded["codes"] * rounded["scales"][:, None]
    assert (np.linalg.norm(difference, axis=1) <= rounded["errors"]).all()
    assert (np.linalg.norm(vectors, axis=1) <= rounded["norms"]).all()
    assert np.abs(rounded["codes"]).max(axis=1).min() == 127

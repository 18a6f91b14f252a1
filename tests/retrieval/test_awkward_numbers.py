"""Numbers and arguments that searches must get right, or refuse by name."""

import numpy as np
import pytest
from scipy.special import logsumexp

from warmstart.errors import ConfigError, DataError
from warmstart.retrieval.approximate import ApproximateTable, IVFConfig
from warmstart.retrieval.files import open_table, write_table
from warmstart.retrieval.history_table import HistoryTable
from warmstart.retrieval.table import VectorTable, sampling_keys

N, WIDTH = 9000, 8


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(N, WIDTH)).astype(np.float32)


@pytest.fixture
def queries():
    return np.random.default_rng(1).normal(size=(3, WIDTH)).astype(np.float32)


def best(vectors, query, k, bias=0.0):
    """Row numbers by falling exact score, equal ones by number."""
    scores = vectors.astype(np.float64) @ query.astype(np.float64) + bias
    return np.lexsort((np.arange(len(scores)), -scores))[:k]


def histories(n_rows=20, n_items=50):
    items = np.random.default_rng(0).integers(0, n_items, (n_rows, 4)).astype(np.uint16)
    return items, np.ones(n_rows, np.float16), np.ones((n_items, WIDTH), np.float32)


# -- numbers --


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_row_that_is_left_out_may_hold_anything_and_others_may_not(vectors, queries, value):
    expected = [best(np.delete(vectors, 5, axis=0), query, 20) for query in queries]
    expected = [np.where(rows >= 5, rows + 1, rows) for rows in expected]
    vectors[5] = value
    with pytest.raises(DataError, match=r"vectors must be finite.*row 5 is not"):
        VectorTable(vectors)
    bias = np.zeros(N, np.float32)
    bias[5] = -np.inf
    found = VectorTable(vectors, bias=bias).search(queries, 20, log_normalisers=True)
    np.testing.assert_array_equal(found.rows, expected)
    others = np.delete(vectors, 5, axis=0).astype(np.float64) @ queries.T.astype(np.float64)
    np.testing.assert_allclose(found.log_normalisers, logsumexp(others, axis=0), atol=1e-3)


@pytest.mark.parametrize("wrong", [0, 4095, 4096, 8700])
@pytest.mark.parametrize("others", [0, 1])
def test_the_message_names_the_row_that_is_wrong(tmp_path, wrong, others):
    vectors = np.full((N, WIDTH), others, np.float32)
    vectors[wrong, 3] = np.nan
    with pytest.raises(DataError, match=f"row {wrong} is not"):
        VectorTable(vectors)
    with pytest.raises(DataError, match=f"row {wrong} is not"):
        write_table(tmp_path / "t", np.array_split(vectors, 3), N, WIDTH, rows_per_shard=4096)


@pytest.mark.parametrize("factor", [1e-15, 1e-19, 1e-21, 1e-30, 1e-36, 1e-39, 1e15, 1e30])
@pytest.mark.parametrize("width", [1, 3, 127])
def test_tiny_and_huge_vectors_are_ranked_exactly(factor, width):
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(N, width)) * factor).astype(np.float32)
    queries = rng.normal(size=(4, width)).astype(np.float32)
    table = VectorTable(vectors)
    for query in queries:
        (rows,) = table.search(query[None], 10).rows
        scores = table.scores(query, np.arange(N))
        np.testing.assert_array_equal(rows, np.lexsort((np.arange(N), -scores))[:10])


def test_a_bias_counts_in_any_memory_order_and_type(vectors, queries):
    bias = (5 * np.random.default_rng(2).normal(size=N)).astype(np.float32)
    forms = [
        bias,
        bias.astype(np.float64),
        bias[::-1].copy()[::-1],
        np.stack([bias, bias], 1)[:, 0],
    ]
    for form in forms:
        found = VectorTable(vectors, bias=form).search(queries, 5, log_normalisers=True)
        for query, rows in zip(queries, found.rows, strict=True):
            np.testing.assert_array_equal(rows, best(vectors, query, 5, bias))
        expected = logsumexp(vectors.astype(np.float64) @ queries.T + bias[:, None], axis=0)
        np.testing.assert_allclose(found.log_normalisers, expected, atol=1e-3)


def test_what_is_kept_in_16_bits_is_searched_exactly(tmp_path):
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], size=(1, 64))
    vectors = ((1 + rng.random((N, 1))) * signs).astype(np.float32)
    table = write_table(tmp_path / "t", [vectors], N, 64, keep="float16")
    for query in np.float32([signs[0], np.abs(signs[0]) * 0.5, rng.normal(size=64)]):
        scores = table.scores(query, np.arange(N))
        expected = np.lexsort((np.arange(N), -scores))[:20]
        np.testing.assert_array_equal(table.search(query[None], 20).rows[0], expected)
    with pytest.raises(DataError, match=r"write_table: vectors must be finite.*row 0 is not"):
        write_table(tmp_path / "u", [vectors * 1e6], N, 64, keep="float16")


@pytest.mark.parametrize("deviation", [1, 8, 300, 1e5])
@pytest.mark.parametrize("n_excluded", [0, 20])
@pytest.mark.parametrize("k", [1, 20])
def test_log_normalisers_are_those_of_all_rows(deviation, n_excluded, k):
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(N, 64)) * deviation / 8).astype(np.float32)
    queries = rng.normal(size=(5, 64)).astype(np.float32)
    scores = vectors.astype(np.float64) @ queries.T.astype(np.float64)
    excluded = [np.argsort(-scores[:, query])[:n_excluded] for query in range(len(queries))]
    found = VectorTable(vectors).search(queries, k, log_normalisers=True, excluded=excluded)
    np.testing.assert_allclose(
        found.log_normalisers, logsumexp(scores, axis=0), rtol=1e-6, atol=2e-3
    )
    for query, left_out in enumerate(excluded):
        order = np.lexsort((np.arange(N), -scores[:, query]))
        expected = order[~np.isin(order, left_out)][:k]
        np.testing.assert_array_equal(found.rows[query], expected)


def test_the_log_normaliser_of_equal_rows_is_exact():
    vectors = np.repeat(np.float32([[50, 25.15, 15.05]]), 20_000, axis=0)
    query = np.float32([[1, -0.77, 0.4141]])
    found = VectorTable(vectors).search(query, 5, log_normalisers=True)
    expected = logsumexp(vectors.astype(np.float64) @ query[0].astype(np.float64))
    assert found.log_normalisers[0] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_array_equal(found.rows[0], range(5))


# -- arguments --

SEARCHES = [
    ({"k": 0}, "k must be a whole number from 1, got 0"),
    ({"k": 2.5}, "k must be a whole number from 1, got 2.5"),
    ({"k": True}, "k must be a whole number from 1, got True"),
    ({"k": "3"}, "k must be a whole number from 1, got '3'"),
    ({"threads": 0}, "threads must be a whole number from 1, got 0"),
    ({"threads": 1.5}, "threads must be a whole number from 1, got 1.5"),
    ({"excluded": [np.arange(2)]}, "excluded has 1 lists for 3 queries"),
    ({"excluded": [np.zeros(20, bool)] * 3}, "excluded must have row numbers.*bool"),
    ({"excluded": [1, 2, 3]}, r"excluded must have row numbers.*of shape \(\) for query 0"),
    ({"queries": [["a"] * WIDTH]}, r"queries must be numbers of shape \(queries, 8\)"),
    ({"queries": [[1.0], [1.0, 2.0]]}, r"queries must be numbers of shape \(queries, 8\)"),
    ({"queries": np.ones((1, WIDTH), complex)}, "queries must be numbers.*complex128"),
    ({"queries": np.ones((1, 3))}, r"shape \(queries, 8\), got float64 of shape \(1, 3\)"),
    ({"queries": [[0] * WIDTH, [np.nan] * WIDTH]}, "queries must be finite, row 1 is not"),
]
KEYS = [
    (np.zeros(2, np.uint32), r"keys must be uint32 of shape \(3, 2\).*got uint32 of shape \(2,\)"),
    (np.zeros((4, 2), np.uint32), r"keys must be uint32 of shape \(3, 2\)"),
    (np.zeros((3, 2), np.int64), r"keys must be uint32 of shape \(3, 2\).*got int64"),
]


@pytest.mark.parametrize(("arguments", "message"), SEARCHES)
@pytest.mark.parametrize("kind", ["vectors", "histories", "approximate"])
def test_arguments_of_a_search_are_checked(vectors, queries, kind, arguments, message):
    tables = {
        "vectors": lambda: VectorTable(vectors[:20]),
        "histories": lambda: HistoryTable(*histories()),
        "approximate": lambda: ApproximateTable.build(
            VectorTable(vectors), IVFConfig(n_lists=4), threads=1
        ),
    }
    with pytest.raises(DataError, match=message):
        tables[kind]().search(**{"queries": queries, "k": 2, **arguments})


@pytest.mark.parametrize(("keys", "message"), KEYS)
@pytest.mark.parametrize(
    "table", [VectorTable(np.ones((20, WIDTH), np.float32)), HistoryTable(*histories())]
)
def test_keys_of_a_search_are_checked(queries, table, keys, message):
    with pytest.raises(DataError, match=message):
        table.search(queries, 2, keys=keys)


ITEMS, SCALES, ITEM_VECTORS = histories()
TABLES = [
    (lambda: VectorTable([[1.0]]), "vectors must be an array of numbers.*got list"),
    (lambda: VectorTable(np.ones(3, np.float32)), r"vectors must be.*got float32 of shape \(3,\)"),
    (lambda: VectorTable(np.ones((3, 0), np.float32)), "width of at least 1, got 0"),
    (lambda: VectorTable(np.ones((3, 2), np.float32), bias=np.ones(2)), r"bias.*shape \(3,\), got"),
    (lambda: VectorTable(np.ones((3, 2), np.float32), bias=[1, 2, 3]), "bias must be.*got list"),
    (
        lambda: VectorTable(np.ones((3, 2), np.float32), bias=np.array([0, np.nan, 0])),
        "bias must be finite or -inf, got nan for row 1",
    ),
    (lambda: VectorTable(np.ones((9, 2), np.float32)).part(5, 5), "end must be a whole number"),
    (lambda: VectorTable(np.ones((9, 2), np.float32)).part(20, 30), "start must be.* from 0 to 9"),
    (lambda: HistoryTable(*histories()).part(-1, 3), "start must be a whole number from 0 to 20"),
    (lambda: HistoryTable([[1]], SCALES, ITEM_VECTORS), "items must be an array of 2 axes"),
    (lambda: HistoryTable(ITEMS, SCALES, np.ones(5)), "item_vectors must be an array of 2 axes"),
    (
        lambda: HistoryTable(ITEMS, SCALES[:3], ITEM_VECTORS),
        r"scales must be float16 of shape \(20,",
    ),
    (lambda: HistoryTable(ITEMS, SCALES, ITEM_VECTORS, np.ones(3)), r"bias.*shape \(20,\), got"),
    (lambda: ApproximateTable.build(HistoryTable(*histories())), "indexes a VectorTable, got Hist"),
    (lambda: sampling_keys(-1, np.arange(2)), "seed must be a whole number from 0, got -1"),
    (lambda: sampling_keys(1.5, np.arange(2)), "seed must be a whole number from 0, got 1.5"),
    (lambda: sampling_keys(1, np.array([1, -1])), "numbers must be at least 0, got -1"),
]


@pytest.mark.parametrize(("make", "message"), TABLES)
def test_what_makes_a_table_is_checked(make, message):
    with pytest.raises(DataError, match=message):
        make()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": "float8"}, "keep must be one of.*got 'float8'"),
        ({"bias": np.ones(2)}, r"bias must be an array of numbers of shape \(9,\)"),
        ({"bias": np.ones(20)}, r"bias must be an array of numbers of shape \(9,\)"),
        ({"n_rows": 9.0}, "n_rows must be a whole number from 0, got 9.0"),
        ({"rows_per_shard": "4096"}, "rows_per_shard must be a whole number from 1, got '4096'"),
        ({"rows_per_shard": 4096.0}, "rows_per_shard must be a whole number from 1, got 4096.0"),
        ({"blocks": [np.full((9, 2), np.nan)]}, "vectors must be finite.*row 0 is not"),
    ],
)
def test_arguments_of_write_table_are_checked(tmp_path, arguments, message):
    given = {"blocks": [np.ones((9, 2))], "n_rows": 9, "width": 2, **arguments}
    with pytest.raises(DataError, match=message):
        write_table(tmp_path / "t", **given)
    assert not list(tmp_path.iterdir())


def test_a_folder_may_be_a_string(tmp_path):
    write_table(str(tmp_path / "t"), [np.ones((9, 2))], 9, 2)
    assert len(open_table(str(tmp_path / "t"))) == 9


@pytest.mark.parametrize("value", [0, -1, 2.5, "x", None])
def test_probes_and_candidates_are_whole_numbers(vectors, queries, value):
    index = ApproximateTable.build(VectorTable(vectors), IVFConfig(n_lists=4), threads=1)
    with pytest.raises(ConfigError, match="n_probes must be a whole number from 1"):
        index.n_probes = value
    if value is not None:
        with pytest.raises(DataError, match="n_candidates must be a whole number from 1"):
            index.search(queries, 2, n_candidates=value)


@pytest.mark.parametrize("huge", ["vectors", "bias"])
def test_an_index_in_16_bits_refuses_numbers_that_it_cannot_hold(vectors, huge):
    bias = np.random.default_rng(0).normal(size=N).astype(np.float32)
    table = VectorTable(
        vectors * (1e5 if huge == "vectors" else 1), bias=bias * (1e6 if huge == "bias" else 1)
    )
    with pytest.raises(ConfigError, match="storage 'float16' holds numbers up to 65504, got"):
        ApproximateTable.build(table, IVFConfig(n_lists=4), threads=1)
    ApproximateTable.build(table, IVFConfig(n_lists=4, storage="int8"), threads=1)

"""An approximate search finds what the exact one finds if it reads all rows; else some."""

import sys

import numpy as np
import pytest

from warmstart.errors import ArtefactError, ConfigError, DataError, UnsupportedError
from warmstart.retrieval.approximate import ApproximateTable, IVFConfig
from warmstart.retrieval.files import write_table
from warmstart.retrieval.rounding import BLOCK_ROWS
from warmstart.retrieval.table import VectorTable, sampling_keys

faiss = pytest.importorskip("faiss", reason="needs the extra ann")

WIDTH, K = 24, 20
ALL = 10**6  # probes


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(0, 0.3, (3000, 1))
    return (rng.normal(size=(3000, WIDTH)) * lengths).astype(np.float32)


@pytest.fixture(scope="module")
def bias():
    """Far from 0 and as wide as the products; a third of the rows cannot be found."""
    bias = np.random.default_rng(1).normal(-300, 5, 3000).astype(np.float32)
    bias[::3] = -np.inf
    return bias


@pytest.fixture(scope="module")
def queries():
    return np.random.default_rng(2).normal(size=(30, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def index(vectors):
    return ApproximateTable.build(VectorTable(vectors), IVFConfig(n_lists=64), threads=1)


def same(found, other):
    return np.array_equal(found.rows, other.rows) and np.array_equal(
        found.scores, other.scores, equal_nan=True
    )


@pytest.mark.parametrize("storage", ["float16", "int8"])
@pytest.mark.parametrize("kind", ["plain", "biased", "on disk, codes only"])
def test_reading_every_list_finds_what_the_exact_search_finds(
    storage, kind, vectors, bias, queries, tmp_path
):
    table = VectorTable(vectors, bias=None if kind == "plain" else bias)
    if kind == "on disk, codes only":
        # Two shards, since rows are numbered across them.
        blocks = [np.concatenate([vectors, vectors[::-1]])]
        both = np.concatenate([bias, bias])
        table = write_table(
            tmp_path / "table", blocks, 6000, WIDTH, keep="none", bias=both,
            rows_per_shard=BLOCK_ROWS,
        )  # fmt: skip
    config = IVFConfig(storage=storage, n_probes=ALL)
    index = ApproximateTable.build(table, config, threads=1)
    assert len(index) == (len(table) if kind == "plain" else len(table) * 2 // 3)
    excluded = [np.arange(number * 50) for number in range(len(queries))]
    for left_out in (None, excluded):
        exact = table.search(queries, K, excluded=left_out)
        assert same(index.search(queries, K, excluded=left_out, threads=1), exact)
    assert index.recall(queries, K, threads=1) == 1


def test_a_quantised_index_finds_most(vectors, bias, queries):
    table = VectorTable(vectors, bias=bias)
    config = IVFConfig(n_lists=16, n_probes=ALL, storage="pq", pq_bytes=10)
    index = ApproximateTable.build(table, config, threads=1)
    assert index.nbytes < 2000 * (10 + 8) + 16 * 30 * 4 + 1
    assert index.recall(queries, K, threads=1) > 0.9
    found, exact = index.search(queries, K), table.search(queries, 2000)
    for rows, scores, *all_of in zip(
        found.rows, found.scores, exact.rows, exact.scores, strict=True
    ):
        score_of = dict(zip(*all_of, strict=True))
        assert scores.tolist() == [score_of[row] for row in rows]


def test_more_probes_find_more(index, queries, caplog):
    shares = []
    for index.n_probes in (1, 8, 64):
        with caplog.at_level("INFO", "warmstart"):
            shares.append(index.recall(queries, K))
    assert shares[0] < shares[1] < shares[2] == 1
    assert "recall@20" in caplog.text
    assert "8 of 64 lists" in caplog.text


def test_equal_rows_are_ordered_by_number(vectors, queries):
    table = VectorTable(np.repeat(vectors[:300], 3, axis=0))
    index = ApproximateTable.build(table, IVFConfig(n_lists=8, n_probes=8), threads=1)
    assert same(index.search(queries, K), table.search(queries, K))


def test_few_probes_still_find_k_rows(index, queries):
    index.n_probes = 1
    found = index.search(queries, 2900)
    assert (found.rows >= 0).all()
    assert (np.diff(found.scores) <= 0).all()


def test_k_above_the_rows_gives_all_of_them(vectors, bias, queries):
    table = VectorTable(vectors[:40], bias=bias[:40])
    index = ApproximateTable.build(table, IVFConfig(), threads=1)
    assert same(index.search(queries, 50), table.search(queries, 50))


def test_results_do_not_depend_on_queries_at_once_or_threads(index, queries):
    index.n_probes = 4
    together = index.search(queries, K, threads=2)
    for at in range(len(queries)):
        alone = index.search(queries[at : at + 1], K, threads=1)
        assert np.array_equal(alone.rows[0], together.rows[at])


def test_the_same_seed_gives_the_same_file_and_another_one_does_not(index, vectors, tmp_path):
    content = []
    for seed in (0, 0, 1):
        config = IVFConfig(n_lists=64, seed=seed)
        ApproximateTable.build(VectorTable(vectors), config, threads=1).save(tmp_path / "index")
        content.append((tmp_path / "index" / "index.faiss").read_bytes())
    assert content[0] == content[1] != content[2]


def test_a_saved_index_finds_the_same_and_keeps_its_lists_on_disk(index, queries, tmp_path):
    index.n_probes = 4
    index.save(tmp_path / "index")
    opened = ApproximateTable.open(tmp_path / "index", index.table)
    assert opened.config == index.config
    opened.n_probes = 4
    assert same(opened.search(queries, K), index.search(queries, K))
    lists = faiss.downcast_InvertedLists(opened._lists.invlists)
    assert isinstance(lists, faiss.OnDiskInvertedLists)


def test_an_index_of_another_table_is_refused(index, vectors, tmp_path):
    index.save(tmp_path / "index")
    with pytest.raises(ArtefactError, match="of another table"):
        ApproximateTable.open(tmp_path / "index", VectorTable(vectors[::-1].copy()))


def test_damaged_folders_are_refused(index, tmp_path):
    with pytest.raises(ArtefactError, match="has no index"):
        ApproximateTable.open(tmp_path / "none", index.table)
    index.save(tmp_path / "index")
    (tmp_path / "index" / "index.faiss").write_bytes(b"no index")
    with pytest.raises(ArtefactError, match="cannot be read"):
        ApproximateTable.open(tmp_path / "index", index.table)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("of somebody")
    with pytest.raises(ArtefactError, match="other content"):
        index.save(tmp_path / "other")


def test_what_needs_all_rows_is_refused(index, queries):
    keys = sampling_keys(0, np.arange(len(queries)))
    for asked in ({"log_normalisers": True}, {"keys": keys}):
        with pytest.raises(UnsupportedError, match="depend on all of them"):
            index.search(queries, K, **asked)


@pytest.mark.parametrize(
    ("config", "message"),
    [({"n_lists": 500}, "n_lists are 500"), ({"storage": "pq", "pq_bytes": 8}, "are 256")],
)
def test_too_few_rows_are_refused(config, message, vectors):
    with pytest.raises(ConfigError, match=message):
        ApproximateTable.build(VectorTable(vectors[:200]), IVFConfig(**config))


def test_wrong_arguments_are_refused(index, queries, vectors):
    with pytest.raises(DataError, match="of shape"):
        index.search(queries[:, :5], K)
    with pytest.raises(DataError, match="k"):
        index.search(queries, 0)
    nothing = VectorTable(vectors[:9], bias=np.full(9, -np.inf, np.float32))
    with pytest.raises(DataError, match="no rows that can be found"):
        ApproximateTable.build(nothing)


def test_a_missing_package_is_named(vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UnsupportedError, match=r"warmstart\[ann\]"):
        ApproximateTable.build(VectorTable(vectors))

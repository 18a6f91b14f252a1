"""Tables on disk give the results of tables in memory, and are whole or not there."""

import numpy as np
import pytest

from warmstart.errors import ArtefactError, DataError
from warmstart.retrieval.files import bytes_per_row, n_shards, open_table, write_table
from warmstart.retrieval.found import merge
from warmstart.retrieval.rounding import BLOCK_ROWS
from warmstart.retrieval.table import VectorTable


def blocks_of(vectors, size):
    return (vectors[start : start + size] for start in range(0, len(vectors), size))


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(3 * BLOCK_ROWS + 77, 24)).astype(np.float32)


@pytest.mark.parametrize("keep", ["float32", "float16", "none"])
def test_a_written_table_is_searched_as_one_in_memory(tmp_path, vectors, keep):
    bias = np.random.default_rng(1).normal(size=len(vectors)).astype(np.float32)
    written = write_table(
        tmp_path / "t", blocks_of(vectors, 1000), len(vectors), 24,
        keep=keep, bias=bias, rows_per_shard=BLOCK_ROWS,
    )  # fmt: skip
    queries = np.random.default_rng(2).normal(size=(3, 24)).astype(np.float32)
    found = written.search(queries, 9, log_normalisers=True)
    if keep == "float16":
        vectors = vectors.astype(np.float16)
    if keep != "none":
        whole = VectorTable(vectors, bias=bias).search(queries, 9, log_normalisers=True)
        np.testing.assert_array_equal(found.rows, whole.rows)
        np.testing.assert_array_equal(found.scores, whole.scores)
    assert n_shards(tmp_path / "t") == len(written.shards) == 4
    parts = [open_table(tmp_path / "t", [number]) for number in (3, 1, 0, 2)]
    merged = merge([part.search(queries, 9, log_normalisers=True) for part in parts], 9)
    np.testing.assert_array_equal(merged.rows, found.rows)
    size = sum(path.stat().st_size for path in (tmp_path / "t").rglob("*.npy"))
    assert size == pytest.approx(len(vectors) * bytes_per_row(24, keep, bias=True), rel=0.02)


def test_a_table_without_rows(tmp_path):
    table = write_table(tmp_path / "t", [], 0, 5)
    found = table.search(np.ones((2, 5), np.float32), 3, log_normalisers=True)
    assert (found.rows == -1).all()
    assert np.isneginf(found.log_normalisers).all()


def test_blocks_of_a_wrong_shape_leave_the_old_table(tmp_path, vectors):
    write_table(tmp_path / "t", [vectors], len(vectors), 24)
    for blocks, message in (
        ([vectors[:10]], r"the blocks have 10 of"),
        ([vectors, vectors[:1]], r"a block of shape \(1, 24\) after"),
        ([vectors[:, :3]], r"expected .* rows of width 24"),
    ):
        with pytest.raises(DataError, match=message):
            write_table(tmp_path / "t", blocks, len(vectors), 24)
    assert len(open_table(tmp_path / "t")) == len(vectors)


def test_what_is_no_table_is_named(tmp_path, vectors):
    with pytest.raises(ArtefactError, match="has no table of vectors"):
        open_table(tmp_path)
    (tmp_path / "other").write_text("x")
    with pytest.raises(ArtefactError, match="has other content"):
        write_table(tmp_path, [vectors], len(vectors), 24)
    write_table(tmp_path / "t", [vectors], len(vectors), 24)
    with pytest.raises(ArtefactError, match=r"shards must be within 0\.\.0, got \[1\]"):
        open_table(tmp_path / "t", [1])
    (tmp_path / "t" / "shard-00000" / "scales.npy").unlink()
    with pytest.raises(ArtefactError, match=r"the files of \['scales'\] are gone"):
        open_table(tmp_path / "t")
    with pytest.raises(DataError, match="multiple of 4096, got 5"):
        write_table(tmp_path / "u", [vectors], len(vectors), 24, rows_per_shard=5)

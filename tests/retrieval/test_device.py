"""Searches on devices find what brute force in float64 finds.

Everything runs on the CPU: in plain torch, and, where Triton is installed and TRITON_INTERPRET=1 is
set, the CUDA kernels in Triton's interpreter. With a GPU the same tests run there too.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from warmstart.errors import DataError
from warmstart.retrieval import device as device_module
from warmstart.retrieval import device_search, torch_kernels
from warmstart.retrieval.device import DeviceTable, SplitTable, StreamedTable
from warmstart.retrieval.device_noise import gumbel, gumbel_bound
from warmstart.retrieval.device_queries import ask
from warmstart.retrieval.device_rows import Block, Centroids, chunk_norms
from warmstart.retrieval.found import Found, merge

CPU = torch.device("cpu")
interpreted = pytest.mark.skipif(
    find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") != "1",
    reason="needs Triton's interpreter: pip install triton, and TRITON_INTERPRET=1",
)
quiet = pytest.mark.filterwarnings(
    "ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning"
)
WHERE = [
    "torch",
    pytest.param("triton", marks=[interpreted, quiet]),
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
        ],
    ),
]


@pytest.fixture(params=WHERE)
def where(request, monkeypatch):
    """A device, with torch's or Triton's passes."""
    if request.param == "cuda":
        return "cuda"
    if request.param == "triton":
        from warmstart.retrieval import triton_kernels

        monkeypatch.setattr(device_search, "kernels_for", lambda _: triton_kernels)
    return "cpu"


def world(rng, n, width, n_queries, centroids=None, bias=True, scale=0.05):
    """Codes, scales, bias, centroids and queries."""
    codes = rng.integers(-128, 128, (n, width), np.int8)
    if centroids is not None:
        codes = rng.integers(0, 256, (n, len(centroids)), np.uint8)
        width = centroids[:, 0].size
    scales = (scale * rng.lognormal(size=n)).astype(np.float32)
    biases = rng.normal(size=n).astype(np.float32)
    biases[rng.random(n) < 0.1] = -np.inf
    queries = (rng.normal(size=(n_queries, width)) / width**0.5).astype(np.float32)
    return codes, scales, biases if bias else None, queries


def exact(codes, scales, bias, queries, factor=1.0, centroids=None):
    """All scores, float64, shape (queries, rows)."""
    vectors = codes.astype(float)
    if centroids is not None:
        vectors = centroids[np.arange(len(centroids)), codes].reshape(len(codes), -1).astype(float)
    scores = (queries.astype(float) @ vectors.T) * scales.astype(float) * factor
    return scores if bias is None else scores + bias


def noise(keys, rows):
    """The definition of the noise, in numpy's unsigned arithmetic; float64, (queries, rows)."""

    def mix(x):
        x = x ^ (x >> np.uint32(16))
        x = x * np.uint32(0x85EBCA6B)
        x = x ^ (x >> np.uint32(13))
        x = x * np.uint32(0xC2B2AE35)
        return x ^ (x >> np.uint32(16))

    k0, k1 = keys[:, :1], keys[:, 1:]
    h1 = mix(mix(rows.astype(np.uint32)[None] ^ k0) + k1)
    h2 = mix((h1 ^ k0) + np.uint32(0x9E3779B9))
    v = (h1.astype(float) + (h2.astype(float) + 0.5) * 2.0**-32) * 2.0**-32
    return -np.log(-np.log1p(-v))


def best(values, k, excluded=()):
    """Rows of the k highest values above -inf, of equal ones the lower row first."""
    values = values.copy()
    values[list(excluded)] = -np.inf
    order = np.lexsort((np.arange(len(values)), -values))[:k]
    order = order[values[order] > -np.inf]
    return np.concatenate([order, np.full(k - len(order), -1)])


def keys_of(rng, n):
    return rng.integers(0, 2**32, (n, 2), np.uint32)


def assert_same(found, other):
    for name in ("rows", "scores", "keys"):
        np.testing.assert_array_equal(getattr(found, name), getattr(other, name), name)


@pytest.mark.parametrize("n_queries", [1, 3, 33])
@pytest.mark.parametrize("width", [64, 20, 200])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_the_best_rows_and_the_normaliser(where, n_queries, width, bias):
    rng = np.random.default_rng(width + n_queries)
    codes, scales, biases, queries = world(rng, 1900, width, n_queries, bias=bias)
    table = DeviceTable(codes, scales, biases, device=where)
    scores = exact(codes, scales, biases, queries, 0.7)
    excluded = [best(some, 4) for some in scores]  # the very best are left out
    found = table.search(queries, 9, factor=0.7, log_normalisers=True, excluded=excluded)
    for at, left_out in enumerate(excluded):
        rows = best(scores[at].astype(np.float32), 9, left_out)
        np.testing.assert_array_equal(found.rows[at], rows)
        np.testing.assert_array_equal(found.scores[at], scores[at, rows].astype(np.float32))
    sums = np.logaddexp.reduce(scores, axis=1)
    np.testing.assert_allclose(found.log_normalisers, sums, rtol=2e-6, atol=2e-6)
    assert found.keys is None


@pytest.mark.parametrize("n_queries", [1, 5])
@pytest.mark.parametrize("subspace", [1, 3])
def test_a_product_quantised_table_gives_the_results_of_its_decoded_rows(
    where, n_queries, subspace
):
    rng = np.random.default_rng(subspace)
    centroids = rng.normal(size=(16, 256, subspace)).astype(np.float32)
    codes, scales, bias, queries = world(rng, 1100, 0, n_queries, centroids, scale=2)
    table = DeviceTable(codes, scales, bias, centroids=centroids, device=where)
    scores = exact(codes, scales, bias, queries, 1.0, centroids)
    keys = keys_of(rng, n_queries)
    found, drawn = (
        table.search(queries, 7, log_normalisers=True, keys=some) for some in (None, keys)
    )
    perturbed = scores + noise(keys, np.arange(1100))
    for at in range(n_queries):
        rows = best(scores[at].astype(np.float32), 7)
        np.testing.assert_array_equal(found.rows[at], rows)
        np.testing.assert_array_equal(found.scores[at], scores[at, rows].astype(np.float32))
        np.testing.assert_array_equal(drawn.rows[at], best(perturbed[at], 7))
    sums = np.logaddexp.reduce(scores, axis=1)
    np.testing.assert_allclose(found.log_normalisers, sums, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("n_queries", [1, 4])
def test_samples_are_those_of_the_defined_noise(where, n_queries):
    rng = np.random.default_rng(n_queries)
    codes, scales, bias, queries = world(rng, 1500, 64, n_queries)
    keys, first_row = keys_of(rng, n_queries), 2**32 - 1536
    table = DeviceTable(codes, scales, bias, device=where, first_row=first_row)
    found = table.search(queries, 12, keys=keys)
    scores = exact(codes, scales, bias, queries)
    perturbed = scores + noise(keys, first_row + np.arange(1500))
    for at in range(n_queries):
        rows = best(perturbed[at], 12)
        np.testing.assert_array_equal(found.rows[at], rows + first_row)
        np.testing.assert_allclose(found.keys[at], perturbed[at, rows], rtol=1e-13)
        np.testing.assert_array_equal(found.scores[at], scores[at, rows].astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.sampled_from([1, 127, 128, 129, 3000, 9000]),
    width=st.sampled_from([1, 2, 64, 130]),
    n_queries=st.integers(1, 5),
    k=st.sampled_from([1, 2, 30, 700, 4000]),
    distinct=st.sampled_from([1, 3, 10**6]),
    scale=st.sampled_from([1e-12, 1.0, 1e9]),
)
def test_ties_many_equal_scores_and_any_scale(seed, n, width, n_queries, k, distinct, scale):
    rng = np.random.default_rng(seed)
    codes, scales, bias, queries = world(rng, n, width, n_queries, scale=scale)
    kinds = rng.integers(0, min(n, distinct), n)  # copies of few rows
    codes, scales, bias = codes[kinds], scales[kinds], bias[kinds] * np.float32(scale)
    excluded = [rng.choice(n, min(n, 5), replace=False) for _ in range(n_queries)]
    found = DeviceTable(codes, scales, bias, device="cpu").search(queries, k, excluded=excluded)
    scores = exact(codes, scales, bias, queries)
    for at, left_out in enumerate(excluded):
        rows = best(scores[at].astype(np.float32), k, left_out)
        np.testing.assert_array_equal(found.rows[at], rows)
        expected = np.where(rows < 0, np.nan, scores[at, rows].astype(np.float32))
        np.testing.assert_array_equal(found.scores[at], expected)


def test_one_row_with_an_enormous_norm_spoils_no_bound(where):
    rng = np.random.default_rng(3)
    codes, scales, _, queries = world(rng, 20_000, 64, 2)
    scales[::128] = 1e6  # the bound of every chunk is far above its other rows
    bias = np.zeros(20_000, np.float32)
    bias[::128] = -np.inf
    found = DeviceTable(codes, scales, bias, device=where).search(queries, 5)
    scores = exact(codes, scales, bias, queries).astype(np.float32)
    np.testing.assert_array_equal(found.rows, [best(some, 5) for some in scores])


def test_many_excluded_rows(where, monkeypatch):
    monkeypatch.setattr(device_search, "_MOST_EXTRA", 3)
    rng = np.random.default_rng(4)
    codes, scales, bias, queries = world(rng, 20_000, 64, 2)
    scores = exact(codes, scales, bias, queries).astype(np.float32)
    excluded = [best(scores[0], 2000), np.zeros(0, np.int64)]
    found = DeviceTable(codes, scales, bias, device=where).search(queries, 3, excluded=excluded)
    for at in range(2):
        np.testing.assert_array_equal(found.rows[at], best(scores[at], 3, excluded[at]))


def test_more_rows_than_there_are(where):
    rng = np.random.default_rng(5)
    codes, scales, bias, queries = world(rng, 40, 64, 2)
    table = DeviceTable(codes, scales, bias, device=where)
    for keys in (None, keys_of(rng, 2)):
        found = table.search(queries, 60, keys=keys)
        there = np.isfinite(bias).sum()
        assert (np.sort(found.rows[:, :there]) == np.flatnonzero(np.isfinite(bias))).all()
        assert (found.rows[:, there:] == -1).all()
        assert np.isnan(found.scores[:, there:]).all()
        assert keys is None or np.isnan(found.keys[:, there:]).all()


def test_rows_that_are_all_left_out_and_tables_without_rows():
    none = np.full(300, -np.inf, np.float32)
    codes, scales, _, queries = world(np.random.default_rng(6), 300, 64, 1)
    for table in (
        DeviceTable(codes, scales, none, device="cpu"),
        DeviceTable(codes[:0], scales[:0], device="cpu"),
        StreamedTable(codes[:0], scales[:0], device="cpu"),
    ):
        found = table.search(queries, 2, log_normalisers=True)
        assert (found.rows == -1).all()
        assert found.log_normalisers is not None
        assert np.isneginf(found.log_normalisers).all()


def test_blocks_shards_batches_and_slices_change_nothing(where, monkeypatch):
    rng = np.random.default_rng(7)
    codes, scales, bias, queries = world(rng, 2500, 64, 7)
    codes[1000:2000] = codes[:1000]  # ties between blocks
    scales[1000:2000], bias[1000:2000] = scales[:1000], bias[:1000]
    excluded = [rng.choice(2500, 50, replace=False) for _ in range(7)]
    whole = DeviceTable(codes, scales, bias, device=where)
    halves = [
        DeviceTable(codes[:900], scales[:900], bias[:900], device=where),
        StreamedTable(
            codes[900:], scales[900:], bias[900:], device=where, first_row=900, block_rows=512
        ),
    ]
    streamed = StreamedTable(codes, scales, bias, device=where, block_rows=1024)
    split = SplitTable(halves)
    split._threads = ThreadPoolExecutor(1)  # Triton's interpreter is not safe in several threads
    for keys in (None, keys_of(rng, 7)):

        def search(table, keys=keys):
            return table.search(
                queries, 40, keys=keys, log_normalisers=True, excluded=excluded, factor=0.3
            )

        found = search(whole)
        for other in (streamed, split):
            assert_same(found, search(other))
            np.testing.assert_allclose(
                found.log_normalisers, search(other).log_normalisers, rtol=1e-6
            )
        with monkeypatch.context() as patch:
            patch.setattr(device_module, "_BOUNDS_AT_ONCE", 30)
            patch.setattr(device_module, "_QUERIES_AT_ONCE", 3)
            patch.setattr(device_search, "_SCORES_AT_ONCE", 10_000)
            assert_same(found, search(whole))


def test_mapped_read_only_files_are_streamed(tmp_path):
    rng = np.random.default_rng(8)
    codes, scales, _, queries = world(rng, 1000, 64, 2)
    np.save(tmp_path / "codes.npy", codes)
    np.save(tmp_path / "scales.npy", scales)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("codes", "scales")]
    expected = DeviceTable(codes, scales, device="cpu").search(queries, 5)
    for table in (
        DeviceTable(*mapped, device="cpu"),
        StreamedTable(*mapped, device="cpu", block_rows=128),
    ):
        assert_same(expected, table.search(queries, 5))


def test_samples_have_the_distribution_of_the_softmax():
    """The first row of 20,000 samples, and whether both of two rows are in a sample of two."""
    rng = np.random.default_rng(9)
    codes, scales, _, queries = world(rng, 6, 64, 1, scale=0.02)
    n = 20_000
    table = DeviceTable(codes, scales, device="cpu")
    found = table.search(np.repeat(queries, n, 0), 2, keys=keys_of(rng, n))
    scores = exact(codes, scales, None, queries)[0]
    p = np.exp(scores) / np.exp(scores).sum()
    pairs = p[:, None] * p[None] / (1 - p[:, None])  # first, then second without replacement
    counts = np.zeros((6, 6))
    np.add.at(counts, (found.rows[:, 0], found.rows[:, 1]), 1)
    off = ~np.eye(6, dtype=bool)
    assert not counts[~off].any()
    statistic = ((counts[off] - n * pairs[off]) ** 2 / (n * pairs[off])).sum()
    assert statistic < chi2.ppf(0.999, 29)


def test_the_noise_is_the_defined_one_and_below_its_bound():
    rng = np.random.default_rng(10)
    keys = keys_of(rng, 3)
    rows = np.concatenate([np.arange(1000), rng.integers(0, 2**32, 1000), [2**32 - 1]])
    tensors = torch.tensor(keys.astype(np.int64)), torch.tensor(rows)[None]
    values = gumbel(*tensors).numpy()
    np.testing.assert_allclose(values, noise(keys, rows), rtol=1e-14, atol=1e-15)
    assert (gumbel_bound(*tensors).numpy() + torch_kernels.NOISE_SLACK >= values).all()


def test_parts_merge_in_any_grouping():
    rng = np.random.default_rng(11)

    def part(at):
        rows = np.array([[at * 10 + 1, at * 10 + 2, -1]])
        scores = np.array([[5, rng.integers(0, 3), np.nan]], np.float32)
        return Found(rows, scores, np.log(np.array([at + 1.0])))

    one, two, three = (part(at) for at in range(3))
    whole = merge([one, two, three], 8)
    assert whole.rows[0, :3].tolist() == [1, 11, 21]
    assert whole.rows[0, 6:].tolist() == [-1, -1]
    for other in (merge([merge([one, two], 8), three], 8), merge([three, two, one], 8)):
        np.testing.assert_array_equal(whole.rows, other.rows)
        np.testing.assert_array_equal(whole.scores, other.scores)
        np.testing.assert_allclose(other.log_normalisers, np.log(6))


@interpreted
@quiet
@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("n_queries", [1, 2, 40, 130])
def test_kernels_equal_torch(quantised, n_queries):
    """Exact scores in every bit; bounds hold, and are tight."""
    from warmstart.retrieval import triton_kernels

    rng = np.random.default_rng(n_queries)
    values = rng.normal(size=(24, 256, 2)).astype(np.float32) if quantised else None
    codes, scales, bias, queries = world(rng, 1000, 48, n_queries, values, scale=0.5)
    centroids = None if values is None else Centroids(values, CPU)
    arrays = [torch.tensor(array) for array in (codes, scales, bias)]
    block = Block(*arrays, chunk_norms(*arrays[:2], centroids), 256, centroids)
    asked = ask(queries, -0.7, keys_of(rng, n_queries), centroids, CPU)
    chunks = torch.tensor(np.sort(rng.choice(8, (n_queries, 3))))
    expected = torch_kernels.exact_scores(block, asked, chunks)
    assert torch.equal(triton_kernels.exact_scores(block, asked, chunks), expected)

    everything = torch.arange(8).expand(n_queries, 8)
    scores = torch_kernels.exact_scores(block, asked, everything)
    rows = torch.arange(8 * 128)[None] + 256
    perturbed = scores + gumbel(asked.keys, rows).view(scores.shape)
    without = replace(asked, keys=None)
    for some, sums, true, n_parts, noise_error in (
        (without, False, scores, 1, 0),
        (without, True, scores, 2, 0),
        (asked, False, perturbed, 2, 3),
    ):
        for kernels, column in ((torch_kernels, 0), (triton_kernels, n_parts * (n_queries > 1))):
            upper, log_sums = kernels.chunk_bounds(block, some, sums=sums)
            highest, slack = true.amax(2), some.slacks[:, column, None] * block.norms
            assert (upper >= highest).all()
            assert (upper <= highest + 2 * slack + 1e-5 * highest.abs() + noise_error).all()
            if sums:
                torch.testing.assert_close(
                    log_sums.double(), scores.logsumexp(2), rtol=1e-6, atol=1e-5
                )


def test_wrong_arguments_are_named():
    codes, scales, bias, queries = world(np.random.default_rng(12), 10, 4, 2)
    table = DeviceTable(codes, scales, bias, device="cpu")
    for wrong, message in (
        (lambda: table.search(queries[:, :3], 1), "float32 .queries, 4."),
        (lambda: table.search(queries * np.float32(np.nan), 1), "NaN"),
        (lambda: table.search(queries, 0), "at least 1"),
        (lambda: table.search(queries, 1, keys=np.zeros((1, 2), np.uint32)), "keys"),
        (lambda: table.search(queries, 1, excluded=[]), "excluded"),
        (lambda: DeviceTable(codes.astype(np.uint8), scales, device="cpu"), "int8"),
        (lambda: DeviceTable(codes, scales[:3], device="cpu"), "scales"),
        (lambda: DeviceTable(codes, scales, device="cpu", first_row=2**32 - 1), "2.32"),
        (lambda: SplitTable([table, table]), "first_row"),
        (lambda: StreamedTable(codes, scales, device="cpu", block_rows=100), "128"),
    ):
        with pytest.raises(DataError, match=message):
            wrong()


def test_the_package_imports_neither_torch_nor_triton():
    code = "import sys, warmstart.retrieval; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

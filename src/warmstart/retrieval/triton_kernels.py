"""The passes over a block of rows as Triton kernels for CUDA; ``torch_kernels`` says what they do.

One query is multiplied in float32 as the codes come in, 16 bytes a load; memory is the limit. From
two queries on, codes become float16, exactly, and tensor cores multiply them with queries in
float16: one part of 11 bits, or two parts where sums of exponentials or samples are asked. A pass
writes a number or two per query and 128 rows, so results are 1/16 of what it reads, for one query.

Checked in Triton's interpreter against torch, and compiled for compute capability 9.0 (16-byte
loads, asynchronous copies, wgmma from 64 queries on, no registers spilled to speak of). Not run on
a GPU: the numbers in ``TILES`` are guesses to be tuned there.
"""

# Triton finds the types of the arguments of kernels, and evaluates branches when it compiles.
# ruff: noqa: ANN001, ANN202
# pyright: reportInvalidTypeForm=false, reportPossiblyUnboundVariable=false

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from warmstart.retrieval.device_queries import FLOAT32, Asked
from warmstart.retrieval.device_rows import CHUNK, Block
from warmstart.retrieval.torch_kernels import NOISE_SLACK

try:
    triton: Any = import_module("triton")
    tl: Any = import_module("triton.language")
except ImportError:  # builds of torch without CUDA; nothing here is called there
    triton = tl = None
constexpr: Any = int if tl is None else tl.constexpr


def _jit(kernel: Callable[..., Any]) -> Any:
    return kernel if triton is None else triton.jit(kernel)


class Tile(NamedTuple):
    """How a pass for several queries is divided."""

    queries: int  # that one program multiplies with its rows
    steps: int  # chunks that one program goes through
    warps: int
    stages: int  # chunks whose codes are on their way at once
    widest: int  # columns that are multiplied at once


TILES = [
    Tile(16, 16, 4, 4, 128),
    Tile(32, 16, 4, 4, 128),
    Tile(64, 16, 4, 3, 128),
    Tile(128, 16, 8, 3, 128),
]
# Centroids are gathered: more stages would keep copies of them all in shared memory.
QUANTISED_TILES = [Tile(32, 16, 8, 1, 64), Tile(128, 16, 8, 1, 64)]
_CHUNKS_OF_ONE = 4  # that a program goes through for one query
_WIDEST_OF_ONE = 64


def chunk_bounds(block: Block, asked: Asked, *, sums: bool) -> tuple[Tensor, Tensor | None]:
    """See ``torch_kernels``."""
    shape, device = (len(asked), len(block.norms)), block.codes.device
    upper = torch.empty(shape, device=device)
    log_sums = torch.empty(shape, device=device) if sums else None
    pass_over = _bounds_for_one if len(asked) == 1 else _bounds_for_many
    pass_over(block, asked, upper, log_sums)
    return upper, log_sums


def _bounds_for_one(block: Block, asked: Asked, upper: Tensor, log_sums: Tensor | None) -> None:
    quantised = block.centroids is not None
    vector = (asked.exact * asked.factor).float() if quantised else asked.vectors
    columns = block.codes.shape[1]
    _one[(triton.cdiv(upper.shape[1], _CHUNKS_OF_ONE),)](
        *_common(block, asked, upper, log_sums),
        vector,
        asked.slacks[:, FLOAT32].contiguous(),
        COLUMNS=columns,
        QUANTISED=quantised,
        CHUNKS=_CHUNKS_OF_ONE,
        TILE=min(_WIDEST_OF_ONE, triton.next_power_of_2(columns)),
        **_flags(block, asked, log_sums),
        num_warps=8,
        enable_fp_fusion=True,
    )


def _bounds_for_many(block: Block, asked: Asked, upper: Tensor, log_sums: Tensor | None) -> None:
    width, centroids = asked.vectors.shape[1], block.centroids
    tiles = TILES if centroids is None else QUANTISED_TILES
    tile = next((tile for tile in tiles if tile.queries >= len(asked)), tiles[-1])
    n_parts = 1 if log_sums is None and asked.keys is None else 2
    steps = tile.steps if width <= tile.widest else 1
    n_programs = triton.cdiv(upper.shape[1], steps) * triton.cdiv(len(asked), tile.queries)
    _many[(n_programs,)](
        *_common(block, asked, upper, log_sums),
        asked.parts[0].contiguous(),
        asked.parts[1].contiguous(),
        asked.units,
        asked.slacks[:, n_parts].contiguous(),
        asked.units if centroids is None else centroids.parts[0],  # anything if not used
        asked.units if centroids is None else centroids.parts[1],
        len(asked),
        WIDTH=width,
        SUBSPACE=1 if centroids is None else centroids.values.shape[2],
        PARTS=n_parts,
        QUANTISED=centroids is not None,
        QUERIES=tile.queries,
        STEPS=steps,
        TILE=min(tile.widest, max(16, triton.next_power_of_2(width))),
        **_flags(block, asked, log_sums),
        num_warps=tile.warps,
        num_stages=tile.stages,
        enable_fp_fusion=True,
    )


def exact_scores(block: Block, asked: Asked, chunks: Tensor) -> Tensor:
    """See ``torch_kernels``."""
    scores = torch.empty((*chunks.shape, CHUNK), dtype=torch.float64, device=chunks.device)
    columns = block.codes.shape[1]
    _exact[(chunks.numel(),)](
        block.codes,
        block.scales,
        block.scales if block.bias is None else block.bias,
        asked.exact.contiguous(),
        asked.factor,
        chunks.contiguous(),
        scores,
        len(block),
        chunks.shape[1],
        COLUMNS=columns,
        QUANTISED=block.centroids is not None,
        HAS_BIAS=block.bias is not None,
        ROWS=CHUNK,
        TILE=min(64, triton.next_power_of_2(columns)),
        num_warps=4,
        enable_fp_fusion=False,  # a fused multiply-add would round scores otherwise than torch
    )
    return scores


def _common(block: Block, asked: Asked, upper: Tensor, log_sums: Tensor | None) -> list[Any]:
    keys = asked.units if asked.keys is None else asked.keys  # anything if not used
    bias = block.scales if block.bias is None else block.bias
    log_sums = upper if log_sums is None else log_sums
    sizes = [len(block), len(block.norms), block.first_row]
    return [block.codes, block.scales, bias, block.norms, keys, upper, log_sums, *sizes]


def _flags(block: Block, asked: Asked, log_sums: Tensor | None) -> dict[str, Any]:
    return {
        "HAS_BIAS": block.bias is not None,
        "SAMPLED": asked.keys is not None,
        "SUMS": log_sums is not None,
        "ROWS": CHUNK,
        "NOISE": NOISE_SLACK,
    }


@_jit
def _one(
    codes, scales, bias, norms, keys, upper, log_sums, n_rows, n_chunks, first_row, vector, slacks,
    COLUMNS: constexpr, QUANTISED: constexpr, CHUNKS: constexpr,
    TILE: constexpr, HAS_BIAS: constexpr, SAMPLED: constexpr,
    SUMS: constexpr, ROWS: constexpr, NOISE: constexpr,
):  # fmt: skip
    """Bounds of CHUNKS chunks for one query; ``vector`` is the query, or its look-up tables."""
    first_chunk = tl.program_id(0).to(tl.int64) * CHUNKS
    lane = tl.arange(0, CHUNKS * ROWS)
    row = first_chunk * ROWS + lane
    inside = row < n_rows
    here = codes + first_chunk * ROWS * COLUMNS
    scale = tl.load(scales + row, mask=inside, other=0.0)
    offset = _offset(bias, row, inside, HAS_BIAS)
    products = tl.zeros((CHUNKS * ROWS,), tl.float32)
    for start in range(0, COLUMNS, TILE):
        column = start + tl.arange(0, TILE)
        mask = inside[:, None] & (column < COLUMNS)[None, :]
        code = tl.load(here + lane[:, None] * COLUMNS + column[None, :], mask=mask, other=0)
        if QUANTISED:
            place = column[None, :] * 256 + code.to(tl.int32)
            products += tl.sum(tl.load(vector + place, mask=mask, other=0.0), axis=1)
        else:
            element = tl.load(vector + column, mask=column < COLUMNS, other=0.0)
            products += tl.sum(code.to(tl.float32) * element[None, :], axis=1)
    scores = tl.reshape(products * scale + offset, (CHUNKS, ROWS))
    chunk = first_chunk + tl.arange(0, CHUNKS)
    exists = chunk < n_chunks
    if SUMS:
        tl.store(log_sums + chunk, _log_sum_exp(scores), mask=exists)
    if SAMPLED:
        noise = _noise_bound(first_row + row, tl.load(keys), tl.load(keys + 1))
        scores += tl.reshape(noise, (CHUNKS, ROWS))
    slack = tl.load(slacks) * tl.load(norms + chunk, mask=exists, other=0.0)
    bound = _bound(tl.max(scores, axis=1), slack, NOISE, SAMPLED)
    tl.store(upper + chunk, bound, mask=exists)


@_jit
def _many(
    codes, scales, bias, norms, keys, upper, log_sums, n_rows, n_chunks, first_row,
    high, low, units, slacks, centroids_high, centroids_low, n_queries,
    WIDTH: constexpr, SUBSPACE: constexpr, PARTS: constexpr,
    QUANTISED: constexpr, QUERIES: constexpr, STEPS: constexpr,
    TILE: constexpr, HAS_BIAS: constexpr, SAMPLED: constexpr,
    SUMS: constexpr, ROWS: constexpr, NOISE: constexpr,
):  # fmt: skip
    """Bounds of STEPS chunks, one after the other, for QUERIES queries.

    Programs for the same rows have numbers that follow each other, so that the codes which the
    first of them reads are in the cache for the others. Queries are rows of the products, so that a
    thread holds many rows of the table for few queries, and most of a maximum is found within it.
    """
    n_tiles = tl.cdiv(n_queries, QUERIES)
    query = (tl.program_id(0) % n_tiles) * QUERIES + tl.arange(0, QUERIES)
    first_chunk = (tl.program_id(0) // n_tiles).to(tl.int64) * STEPS
    asked = query < n_queries
    unit = tl.load(units + query, mask=asked, other=0.0)
    slack = tl.load(slacks + query, mask=asked, other=0.0)
    if SAMPLED:
        key_0 = tl.load(keys + 2 * query, mask=asked, other=0)
        key_1 = tl.load(keys + 2 * query + 1, mask=asked, other=0)
    if WIDTH <= TILE:  # the queries are read once
        query_high = _query_tile(high, query, asked, 0, WIDTH, TILE)
        query_low = _query_tile(low, query, asked, 0, WIDTH, TILE) if PARTS == 2 else query_high
    for step in range(STEPS):
        chunk = first_chunk + step
        lane = tl.arange(0, ROWS)
        row = chunk * ROWS + lane
        inside = row < n_rows
        here = codes + chunk * ROWS * (WIDTH // SUBSPACE)
        scale = tl.load(scales + row, mask=inside, other=0.0)
        offset = _offset(bias, row, inside, HAS_BIAS)
        products = tl.zeros((QUERIES, ROWS), tl.float32)
        if WIDTH <= TILE:
            products = _add_products(
                products, query_high, query_low, here, centroids_high, centroids_low, lane,
                inside, 0, WIDTH, SUBSPACE, PARTS, QUANTISED, TILE,
            )  # fmt: skip
        else:
            for start in range(0, WIDTH, TILE):
                query_high = _query_tile(high, query, asked, start, WIDTH, TILE)
                query_low = query_high
                if PARTS == 2:
                    query_low = _query_tile(low, query, asked, start, WIDTH, TILE)
                products = _add_products(
                    products, query_high, query_low, here, centroids_high, centroids_low, lane,
                    inside, start, WIDTH, SUBSPACE, PARTS, QUANTISED, TILE,
                )  # fmt: skip
        scores = products * unit[:, None] * scale[None, :] + offset[None, :]
        stored = query < tl.where(chunk < n_chunks, n_queries, 0)
        place = query.to(tl.int64) * n_chunks + chunk
        if SUMS:
            tl.store(log_sums + place, _log_sum_exp(scores), mask=stored)
        if SAMPLED:
            number = (first_row + row)[None, :]
            scores += _noise_bound(number, key_0[:, None], key_1[:, None])
        norm = tl.load(norms + chunk, mask=chunk < n_chunks, other=0.0)
        bound = _bound(tl.max(scores, axis=1), slack * norm, NOISE, SAMPLED)
        tl.store(upper + place, bound, mask=stored)


@_jit
def _query_tile(
    part, query, asked, start, WIDTH: constexpr, TILE: constexpr
):  # fmt: skip
    """Float16, (QUERIES, TILE)."""
    column = start + tl.arange(0, TILE)
    mask = asked[:, None] & (column < WIDTH)[None, :]
    return tl.load(part + query[:, None] * WIDTH + column[None, :], mask=mask, other=0.0)


@_jit
def _add_products(
    products, query_high, query_low, here, centroids_high, centroids_low, lane, inside, start,
    WIDTH: constexpr, SUBSPACE: constexpr, PARTS: constexpr,
    QUANTISED: constexpr, TILE: constexpr,
):  # fmt: skip
    """Add the products with TILE columns of ROWS rows; float32, (QUERIES, ROWS)."""
    column = start + tl.arange(0, TILE)
    mask = inside[:, None] & (column < WIDTH)[None, :]
    subspace = column // SUBSPACE
    place = lane[:, None] * (WIDTH // SUBSPACE) + subspace[None, :]
    code = tl.load(here + place, mask=mask, other=0)
    if QUANTISED:
        centroid = (subspace[None, :] * 256 + code.to(tl.int32)) * SUBSPACE
        centroid += (column % SUBSPACE)[None, :]
        tile = tl.load(centroids_high + centroid, mask=mask, other=0.0)
        if PARTS == 2:
            rest = tl.load(centroids_low + centroid, mask=mask, other=0.0)
            products = tl.dot(query_high, tl.trans(rest), products)
    else:
        tile = code.to(tl.float16)
    if PARTS == 2:
        products = tl.dot(query_low, tl.trans(tile), products)
    return tl.dot(query_high, tl.trans(tile), products)


@_jit
def _exact(
    codes, scales, bias, queries, factor, chunks, scores, n_rows, n_chunks_each,
    COLUMNS: constexpr, QUANTISED: constexpr, HAS_BIAS: constexpr,
    ROWS: constexpr, TILE: constexpr,
):  # fmt: skip
    """Scores of one chunk for one query in float64; no sum of products is ever rounded."""
    at = tl.program_id(0).to(tl.int64)
    query = at // n_chunks_each
    lane = tl.arange(0, ROWS)
    first = tl.load(chunks + at) * ROWS
    row = first + lane
    inside = row < n_rows
    here = codes + first * COLUMNS
    products = tl.zeros((ROWS,), tl.float64)
    for start in range(0, COLUMNS, TILE):
        column = start + tl.arange(0, TILE)
        mask = inside[:, None] & (column < COLUMNS)[None, :]
        code = tl.load(here + lane[:, None] * COLUMNS + column[None, :], mask=mask, other=0)
        if QUANTISED:
            place = (query * COLUMNS + column)[None, :] * 256 + code.to(tl.int32)
            products += tl.sum(tl.load(queries + place, mask=mask, other=0.0), axis=1)
        else:
            element = tl.load(queries + query * COLUMNS + column, mask=column < COLUMNS, other=0.0)
            products += tl.sum(code.to(tl.float64) * element[None, :], axis=1)
    scale = tl.load(scales + row, mask=inside, other=0.0).to(tl.float64)
    offset = _offset(bias, row, inside, HAS_BIAS).to(tl.float64)
    tl.store(scores + at * ROWS + lane, products * scale * tl.load(factor) + offset)


@_jit
def _offset(bias, row, inside, HAS_BIAS: constexpr):
    """What is added to a product: the bias, or -inf beyond the last row."""
    if HAS_BIAS:
        offset = tl.load(bias + row, mask=inside, other=-float("inf"))
    else:
        offset = tl.where(inside, 0.0, -float("inf"))
    return offset


@_jit
def _bound(highest, slack, NOISE: constexpr, SAMPLED: constexpr):
    """An upper bound of true scores from the highest computed one."""
    slack += tl.abs(highest) * 2.384185791015625e-07  # 2^-22: scaling and adding the bias
    if SAMPLED:
        slack += NOISE
    return tl.where(highest == -float("inf"), highest, highest + slack)


@_jit
def _log_sum_exp(scores):
    """Along axis 1; -inf if all are."""
    highest = tl.max(scores, axis=1)
    finite = tl.where(highest == -float("inf"), 0.0, highest)
    return finite + tl.log(tl.sum(tl.exp(scores - finite[:, None]), axis=1))


@_jit
def _noise_bound(row, key_0, key_1):
    """``device_noise.gumbel_bound``; keys are int64 below 2^32."""
    key_0 = key_0.to(tl.uint32)
    first = _mix(_mix(row.to(tl.uint32) ^ key_0) + key_1.to(tl.uint32)).to(tl.float32)
    # 32 log 2 minus log of the first hash, for which 0 stands for 2^-33 at least
    return 22.180709777918249 - tl.log(tl.where(first == 0.0, 1.1641532182693481e-10, first))


@_jit
def _mix(x):
    """Murmur3's finaliser, of uint32."""
    x ^= x >> 16
    x *= 0x85EBCA6B
    x ^= x >> 13
    x *= 0xC2B2AE35
    return x ^ (x >> 16)

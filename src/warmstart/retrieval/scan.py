"""A pass over a table of rounded vectors: candidates for the best rows, sums of exponentials.

No score is stored. For each query the pass keeps the k highest lower bounds of scores, as a heap,
and the rows whose upper bound reaches the lowest of them. Rows are sampled from softmax(scores) in
the same way (Gumbel top-k, Kool et al. 2019): each score gets random noise, which is a function of
the query's key and the row number alone, so that blocks, shards and threads do not matter.
"""

from typing import NamedTuple

import numpy as np

from warmstart.retrieval.multiply import GROUP, multiply
from warmstart.retrieval.rounding import BLOCK_ROWS, kernel
from warmstart.retrieval.scores import write_scores

_LANES = np.uint64(GROUP)
LOWEST = np.float32(-3e38)  # lower than every score
_EXP_ROUNDING = np.float32(1 + 1e-4)
_NO_EXP = np.float32(-87)  # exp of lower numbers is no float32
_2_TO_MINUS_32 = 2.0**-32


class Part(NamedTuple):
    """Consecutive rows of a table, a multiple of 16; see ``rounding``.

    ``bias`` is added to scores; it may be empty. ``start`` is the number of the first row.
    """

    codes: np.ndarray
    scales: np.ndarray
    errors: np.ndarray
    norms: np.ndarray
    block_errors: np.ndarray
    block_norms: np.ndarray
    bias: np.ndarray
    start: int


class Asked(NamedTuple):
    """Rounded queries.

    A score above its query's cap stands for any score from the cap to itself. The rows that query q
    leaves out are ``excluded[excluded_ends[q] : excluded_ends[q + 1]]``, sorted. ``keys`` are
    uint32, shape (queries, 2), to sample, or (0, 2).
    """

    codes: np.ndarray
    scales: np.ndarray
    errors: np.ndarray
    norms: np.ndarray
    caps: np.ndarray
    excluded: np.ndarray
    excluded_ends: np.ndarray
    keys: np.ndarray
    sums_up: bool


class Pass(NamedTuple):
    """What one thread finds; ``counts`` is -1 for a query whose candidates had no room.

    The sum of exp(score) of a query is sums x exp(tops).
    """

    heaps: np.ndarray
    rows: np.ndarray
    upper: np.ndarray
    counts: np.ndarray
    tops: np.ndarray
    sums: np.ndarray


@kernel
def scan(part: Part, first: int, last: int, asked: Asked, at_once: tuple, found: Pass) -> None:
    """Go through blocks ``first`` to ``last - 1``; ``found`` is changed.

    Args:
        part: rows of the table.
        first: the first block of ``BLOCK_ROWS`` rows.
        last: the block after the last one.
        asked: the queries; their codes have rows for a multiple of ``at_once``.
        at_once: a tuple whose length is the number of queries that are multiplied together.
        found: what was found before.
    """
    codes, scales, n_queries = part.codes, part.scales, len(asked.scales)
    products = np.empty((len(at_once), GROUP), np.int32)
    scores, enough = np.empty(GROUP, np.float32), np.empty(len(at_once), np.float32)
    biased, no_bias = len(part.bias) > 0, np.zeros(GROUP, np.float32)
    for block in range(first, last):
        begin, end = block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, len(scales))
        for first_query in range(0, n_queries, len(at_once)):
            n_now = min(len(at_once), n_queries - first_query)
            for number in range(n_now):
                enough[number] = _enough(part, block, asked, first_query + number, found)
            for row in range(begin, end, GROUP):
                multiply(codes, row, asked.codes, first_query, products, at_once)
                for number in range(n_now):
                    query, least = first_query + number, enough[number]
                    scale = asked.scales[query]
                    if biased:
                        reached = write_scores(
                            products, number, scale, scales, row, part.bias, row, least, scores
                        )
                    else:
                        reached = write_scores(
                            products, number, scale, scales, row, no_bias, 0, least, scores
                        )
                    if asked.sums_up:
                        _sum_up(scores, query, found.tops, found.sums)
                    if len(asked.keys):
                        key, other_key = asked.keys[query, 0], asked.keys[query, 1]
                        if _any_sampled(scores, part.start + row, key, other_key, least):
                            _sample(part, row, scores, asked, query, found)
                            enough[number] = _enough(part, block, asked, query, found)
                    elif reached:
                        _consider(part, row, scores, asked, query, found)
                        enough[number] = _enough(part, block, asked, query, found)


@kernel
def _enough(part: Part, block: int, asked: Asked, query: int, found: Pass) -> np.float32:
    """A rounded score, or one plus noise, that every candidate of a block reaches."""
    slack = asked.norms[query] * part.block_errors[block]
    slack += asked.errors[query] * part.block_norms[block]
    return np.float32(found.heaps[query, 0]) - slack


# The functions that are called for every group of rows take whole arrays, since passing a slice or
# a tuple of arrays takes longer than they do, and unsigned indices: these need no check for
# negative ones, so that the loops become vector instructions.


@kernel
def _any_above(scores: np.ndarray, enough: np.float32) -> bool:
    found = False
    for lane in range(_LANES):
        found |= scores[lane] >= enough
    return bool(found)


@kernel
def _consider(
    part: Part, row: int, scores: np.ndarray, asked: Asked, query: int, found: Pass
) -> None:
    """Add those of some rows that may be among the best."""
    for lane in range(GROUP):
        slack = _slack(part, row + lane, asked, query)
        highest = scores[lane] + slack
        if highest >= found.heaps[query, 0] and scores[lane] > LOWEST:
            bias = part.bias[row + lane] if len(part.bias) else np.float32(0)
            lowest = min(scores[lane] - bias - slack, asked.caps[query]) + bias
            _add(part.start + row + lane, lowest, highest, asked, query, found)


@kernel
def _sample(
    part: Part, row: int, scores: np.ndarray, asked: Asked, query: int, found: Pass
) -> None:
    """Add those of some rows that may be among the sampled ones."""
    for lane in range(GROUP):
        if scores[lane] <= LOWEST:
            continue
        slack = _slack(part, row + lane, asked, query)
        key = scores[lane] + noise(
            part.start + row + lane, asked.keys[query, 0], asked.keys[query, 1]
        )
        if key + slack >= found.heaps[query, 0]:
            _add(part.start + row + lane, key - slack, key + slack, asked, query, found)


@kernel
def _slack(part: Part, row: int, asked: Asked, query: int) -> np.float32:
    """The largest difference between the product of rounded and of exact vectors."""
    return asked.norms[query] * part.errors[row] + asked.errors[query] * part.norms[row]


@kernel
def _add(row: int, lowest: float, highest: float, asked: Asked, query: int, found: Pass) -> None:
    heap, count = found.heaps[query], found.counts[query]
    if count < 0:
        return
    ends = asked.excluded_ends[query : query + 2]
    if ends[1] > ends[0] and _is_among(asked.excluded[ends[0] : ends[1]], row):
        return
    if count == found.rows.shape[1]:
        count = _drop(found.rows[query], found.upper[query], heap[0])
        if 2 * count > found.rows.shape[1]:
            found.counts[query] = -1
            return
    found.rows[query, count], found.upper[query, count] = row, highest
    found.counts[query] = count + 1
    if lowest > heap[0]:
        _replace_lowest(heap, lowest)


@kernel
def _is_among(values: np.ndarray, wanted: int) -> bool:
    place = np.searchsorted(values, wanted)
    return bool(place < len(values) and values[place] == wanted)


@kernel
def _drop(rows: np.ndarray, upper: np.ndarray, enough: float) -> int:
    """Drop the rows that are no candidates any more; return the number of those kept."""
    count = 0
    for at in range(len(rows)):
        if upper[at] >= enough:
            rows[count], upper[count] = rows[at], upper[at]
            count += 1
    return count


@kernel
def _replace_lowest(heap: np.ndarray, value: float) -> None:
    place = 0
    while True:
        child = 2 * place + 1
        if child >= len(heap):
            break
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value


# -- sums of exponentials --


@kernel
def _sum_up(scores: np.ndarray, query: int, tops: np.ndarray, sums: np.ndarray) -> None:
    if _any_above(scores, tops[query]):
        before = tops[query]
        for lane in range(_LANES):
            tops[query] = max(tops[query], scores[lane])
        sums[query] *= np.exp(np.float64(before) - np.float64(tops[query]))
    top, total = tops[query], np.float32(0)
    for lane in range(_LANES):
        total += _exp(scores[lane] - top)
    sums[query] += total


@kernel
def _exp(x: np.float32) -> np.float32:
    """Exponential of a number up to 0, to float32's precision, in instructions for many at once."""
    given, x = x, x if x > _NO_EXP else _NO_EXP
    power = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    rest = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    series = np.float32(1.9875691e-4)
    series = series * rest + np.float32(1.3981999e-3)
    series = series * rest + np.float32(8.3334519e-3)
    series = series * rest + np.float32(4.1665796e-2)
    series = series * rest + np.float32(1.6666665e-1)
    series = series * rest + np.float32(0.5)
    series = series * rest * rest + rest + np.float32(1)
    value = series * np.int32((np.int32(power) + np.int32(127)) << 23).view(np.float32)
    return value if given > _NO_EXP else np.float32(0)


# -- noise --


@kernel
def _mix(x: np.uint32) -> np.uint32:
    """The last step of MurmurHash3: every bit of the result depends on every bit of x."""
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x85EBCA6B))
    x = np.uint32(x ^ (x >> np.uint32(13)))
    x = np.uint32(x * np.uint32(0xC2B2AE35))
    return np.uint32(x ^ (x >> np.uint32(16)))


@kernel
def _upper_bits(row: int | np.uint64, key: np.uint32, other_key: np.uint32) -> np.uint32:
    return _mix(np.uint32(_mix(np.uint32(np.uint32(row) ^ key)) + other_key))


@kernel
def noise(row: int, key: np.uint32, other_key: np.uint32) -> float:
    """Gumbel noise of a row: -log of an exponential variable, from 64 random bits.

    It is large where the variable is small, and a small one keeps its relative precision: among a
    billion rows the largest noise is about 21.
    """
    upper = _upper_bits(row, key, other_key)
    lower = _mix(np.uint32(np.uint32(upper ^ key) + np.uint32(0x9E3779B9)))
    uniform = (upper + (lower + 0.5) * _2_TO_MINUS_32) * _2_TO_MINUS_32
    return -np.log(-np.log1p(-uniform))


@kernel
def _any_sampled(
    scores: np.ndarray, row: int, key: np.uint32, other_key: np.uint32, enough: np.float32
) -> bool:
    """Whether score plus noise may reach ``enough`` in any lane.

    It does where the uniform variable is at most 1 - exp(-exp(score - enough)), which is below
    exp(score - enough).
    """
    found, first = False, np.uint64(row)
    for lane in range(_LANES):
        upper = _upper_bits(first + lane, key, other_key)
        uniform = np.float32(upper) * np.float32(_2_TO_MINUS_32)
        difference = scores[lane] - enough
        bound = _exp(difference if difference < 0 else np.float32(0)) * _EXP_ROUNDING
        found |= uniform <= bound
    return bool(found)

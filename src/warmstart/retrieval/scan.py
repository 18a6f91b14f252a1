"""A pass over a table of rounded vectors: candidates for the best rows, sums of exponentials.

No score is stored. For each query the pass keeps the k highest lower bounds of scores, as a heap,
and the rows whose upper bound reaches the lowest of them. Rows are sampled from softmax(scores) in
the same way (Gumbel top-k, Kool et al. 2019): each score gets random noise, which is a function of
the query's key and the row number alone, so that blocks, shards and threads do not matter.
"""

from typing import NamedTuple

import numpy as np

from warmstart.retrieval.best import LOWEST, Pass, add
from warmstart.retrieval.group_scores import any_sampled, write_scores
from warmstart.retrieval.multiply import multiply
from warmstart.retrieval.rounding import BLOCK_ROWS, GROUP, kernel
from warmstart.retrieval.softmax import noise, sum_up


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
                        sum_up(scores, query, found.tops, found.sums)
                    if len(asked.keys):
                        key, other_key = asked.keys[query, 0], asked.keys[query, 1]
                        if any_sampled(scores, part.start + row, key, other_key, least):
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
            add(part.start + row + lane, lowest, highest, asked, query, found)


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
            add(part.start + row + lane, key - slack, key + slack, asked, query, found)


@kernel
def _slack(part: Part, row: int, asked: Asked, query: int) -> np.float32:
    """The largest difference between the product of rounded and of exact vectors."""
    return asked.norms[query] * part.errors[row] + asked.errors[query] * part.norms[row]

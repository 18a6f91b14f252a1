"""Exposure, calibration and strata on lists written by hand."""

import numpy as np
import pytest

from warmstart.data.queries import Queries
from warmstart.evaluation.strata import calibration, exposure, item_strata, user_strata
from warmstart.rank import Ranking

WARM = np.array([True, True, True, False, False, False])
CANDIDATES = np.arange(6, dtype=np.int32)


def lists(items, hits, scores=None, n_relevant=None):
    items, hits = np.array(items, np.int32), np.array(hits, bool)
    if scores is None:
        scores = np.tile(np.arange(items.shape[1], 0, -1, dtype=np.float32), (len(items), 1))
    return Ranking(
        Queries.of_users(np.arange(len(items))),
        items,
        np.where(items >= 0, np.array(scores, np.float32), np.nan),
        hits,
        np.array(n_relevant if n_relevant is not None else [2] * len(items)),
        (items >= 0).sum(axis=1),
        np.zeros(len(items), bool),
        items.shape[1],
    )


def test_exposure_by_hand():
    ranking = lists([[0, 3, 5], [0, 1, -1]], [[1, 0, 0], [0, 0, 0]])
    shown = exposure(ranking, CANDIDATES, np.array([0, 3, 4, 4]), WARM, 2)
    # The lists are 0, 3 and 0, 1: three of six items, one of four places is cold. Of the four
    # relevant pairs, three are cold.
    assert (shown.k, shown.coverage) == (2, 0.5)
    assert shown.cold_share == 0.25
    assert shown.cold_truth_share == 0.75
    counts = np.array([2, 1, 0, 1, 0, 0])
    gaps = np.abs(counts[:, None] - counts[None, :]).sum()
    assert shown.gini == pytest.approx(gaps / (2 * len(counts) * counts.sum()))


def test_gini_ends():
    everybody = exposure(lists([CANDIDATES], [[0] * 6]), CANDIDATES, np.array([0]), WARM, 6)
    assert everybody.gini == 0
    nobody = exposure(lists([[-1]], [[0]]), CANDIDATES, np.array([0]), WARM, 1)
    assert (nobody.gini, nobody.coverage, nobody.cold_share) == (0, 0, 0)


def test_calibration_tells_cold_from_warm_at_the_same_score():
    rng = np.random.default_rng(0)
    items = np.tile(CANDIDATES, (2000, 1))
    scores = rng.random(items.shape).astype(np.float32)
    # A warm item of score s is relevant with probability s, a cold one with probability s / 2.
    hits = rng.random(items.shape) < np.where(WARM, scores, scores / 2)
    bins = calibration(lists(items, hits, scores), WARM, n_bins=5)
    assert len(bins) == 5
    assert sum(part.cold for part in bins) == sum(part.warm for part in bins) == 6000
    assert [a.high for a in bins[:-1]] == [b.low for b in bins[1:]]
    for part in bins:
        middle = (part.low + part.high) / 2
        assert part.warm_relevant / part.warm == pytest.approx(middle, abs=0.05)
        assert part.cold_relevant / part.cold == pytest.approx(middle / 2, abs=0.05)


def test_calibration_without_a_range_of_scores():
    constant = lists([[0, 3], [1, 4]], [[1, 0], [0, 0]], scores=[[7, 7], [7, 7]])
    (only,) = calibration(constant, WARM)
    assert (only.low, only.high) == (7, 7)
    assert (only.cold, only.cold_relevant, only.warm, only.warm_relevant) == (2, 0, 2, 1)
    assert calibration(lists([[-1]], [[0]]), WARM) == ()


def test_user_strata_partition_the_users():
    degrees = np.array([1, 1, 2, 5, 9, 9, 9, 40])
    hits = [[1, 0]] * 4 + [[1, 1]] * 4
    ranking = lists([[0, 3]] * 8, hits)
    strata = user_strata(ranking, degrees, ("recall@2",), n_strata=4)
    assert [(s.low, s.high, s.users) for s in strata] == [
        (1, 1, 2),
        (2, 5, 2),
        (6, 9, 3),
        (10, 40, 1),
    ]
    assert [s.values["recall@2"] for s in strata] == [0.5, 0.5, 1, 1]


def test_item_strata_add_up():
    audience = np.array([1, 1, 2, 3, 8, 8])
    ranking = lists([[0, 4], [4, -1]], [[0, 1], [1, 0]])
    strata = item_strata(ranking, CANDIDATES, np.array([3, 4, 4]), audience, 2, n_strata=3)
    assert [(s.low, s.high, s.candidates) for s in strata] == [(1, 1, 2), (2, 3, 2), (4, 8, 2)]
    assert [s.truth for s in strata] == [0, 1, 2]
    assert [s.shown for s in strata] == [1, 0, 2]
    assert [s.hits for s in strata] == [0, 0, 2]

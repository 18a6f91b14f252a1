"""Masking, top-k, ties and metric formulas, compared with brute-force versions and ranx."""

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from warmstart.data.queries import Queries
from warmstart.data.tasks import RankingTask
from warmstart.errors import ConfigError, DataError
from warmstart.rank import Metric, TableScorer, mean_metric, random_order, rank_task, top_k

KINDS = ("recall", "ndcg", "precision", "hit", "mrr", "micro_recall")


def make_slice(users, candidates, relevant, masked=(), n_items=None, name="cold"):
    """Build a slice from (user row, item row) pairs."""
    users, candidates = np.array(users, np.int32), np.array(candidates, np.int32)
    n_items = n_items or int(candidates.max()) + 1
    row = {user: i for i, user in enumerate(users.tolist())}

    def matrix(pairs):
        rows = [row[user] for user, _ in pairs]
        columns = [item for _, item in pairs]
        shape = (len(users), n_items)
        return sparse.csr_matrix((np.ones(len(rows), bool), (rows, columns)), shape=shape)

    return RankingTask(
        name, Queries.of_users(users), candidates, matrix(list(relevant)), matrix(list(masked))
    )


def random_slice(seed=0, n_users=40, n_items=60, n_candidates=50):
    """A slice with one to six relevant items per user and some masked pairs."""
    rng = np.random.default_rng(seed)
    users = np.sort(rng.choice(3 * n_users, n_users, replace=False))
    candidates = np.sort(rng.choice(n_items, n_candidates, replace=False))
    relevant, masked = [], []
    for user in users.tolist():
        drawn = rng.permutation(candidates)[:12].tolist()
        n_relevant = int(rng.integers(1, 7))
        relevant += [(user, item) for item in drawn[:n_relevant]]
        masked += [(user, item) for item in drawn[n_relevant : n_relevant + 4]]
    return make_slice(users, candidates, relevant, masked, n_items)


def table_score(table):
    return lambda queries, items: table[np.ix_(queries.users, items)]


def random_table(seed, n_users, n_items, levels=None):
    """Random scores, 5 % of them NaN; a small ``levels`` makes many ties."""
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((n_users, n_items)).astype(np.float32)
    if levels:
        table = np.round(table * levels) / np.float32(levels)
    table[rng.random(table.shape) < 0.05] = np.nan
    return table


# -- brute-force versions, one pair at a time --


def brute_force_top_k(scores, k, masked, order, shift):
    lists = []
    for row, values in enumerate(scores.tolist()):
        n = len(values)
        keys = [
            (-value, (int(order[c]) + int(shift[row])) % n, c)
            for c, value in enumerate(values)
            if not math.isnan(value) and not masked[row, c]
        ]
        lists.append([c for _, _, c in sorted(keys)[:k]])
    return lists


def brute_force_metric(kind, ranked, relevant, k):
    hits = [rank for rank, item in enumerate(ranked[:k], start=1) if item in relevant]
    if kind in ("recall", "micro_recall"):
        return len(hits) / len(relevant)
    if kind == "precision":
        return len(hits) / k
    if kind == "hit":
        return float(bool(hits))
    if kind == "mrr":
        return 1 / hits[0] if hits else 0.0
    ideal = sum(1 / math.log2(r + 1) for r in range(1, min(len(relevant), k) + 1))
    return sum(1 / math.log2(r + 1) for r in hits) / ideal


FEW_VALUES = st.sampled_from([-math.inf, -2.0, -0.0, 0.0, 0.5, 3.0, math.inf, math.nan])


@settings(max_examples=60, deadline=None)
@given(
    scores=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
        elements=FEW_VALUES | st.floats(-5, 5, width=32),
    ),
    k=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_top_k_agrees_with_brute_force(scores, k, seed):
    rng = np.random.default_rng(seed)
    masked = rng.random(scores.shape) < 0.3
    order, shift = rng.permutation(scores.shape[1]), rng.integers(0, 20, len(scores))
    shift %= scores.shape[1]
    positions, best = top_k(
        scores, k, masked=sparse.csr_matrix(masked), tie_order=order, tie_shift=shift
    )
    assert positions.shape == best.shape == (len(scores), k)
    assert positions.dtype == np.int32
    assert best.dtype == np.float32
    for row, expected in enumerate(brute_force_top_k(scores, k, masked, order, shift)):
        assert positions[row].tolist() == expected + [-1] * (k - len(expected))
        np.testing.assert_array_equal(best[row, : len(expected)], scores[row, expected])
        assert np.isnan(best[row, len(expected) :]).all()


def test_top_k_does_not_depend_on_its_chunks(monkeypatch):
    scores = random_table(3, 50, 30, levels=1)
    whole = top_k(scores, 7)
    monkeypatch.setattr("warmstart.rank.selection._PAIRS_AT_ONCE", 65)
    np.testing.assert_array_equal(whole[0], top_k(scores, 7)[0])


def test_top_k_ignores_stored_zeros_of_the_mask():
    mask = sparse.csr_matrix((np.array([False, True]), ([0, 0], [0, 1])), shape=(1, 3))
    assert mask.nnz == 2
    positions, _ = top_k(np.array([[3, 2, 1]], np.float32), 3, masked=mask)
    assert positions.tolist() == [[0, 2, -1]]


def test_float16_is_widened_and_other_types_are_refused():
    scores = np.array([[0.5, 1.5, 1.0]], np.float16)
    positions, best = top_k(scores, 3)
    assert positions.tolist() == [[1, 2, 0]]
    assert best.dtype == np.float32
    with pytest.raises(DataError, match="float32, got float64"):
        top_k(scores.astype(np.float64), 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scores": np.zeros((2, 3), np.float32), "k": 0}, ConfigError, "at least 1, got 0"),
        ({"scores": np.zeros(3, np.float32), "k": 1}, DataError, "two axes"),
        (
            {
                "scores": np.zeros((2, 3), np.float32),
                "k": 1,
                "masked": sparse.csr_matrix((2, 4), dtype=bool),
            },
            DataError,
            r"\(2, 3\), the mask \(2, 4\)",
        ),
    ],
)
def test_top_k_names_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        top_k(**arguments)


# -- ranking --


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 5, 60])
def test_ranking_agrees_with_brute_force(kind, k):
    task = random_slice()
    table = random_table(1, 130, 60)
    ranking = rank_task(table_score(table), task, k)
    expected = []
    for row, user in enumerate(task.users.tolist()):
        relevant = set(task.relevance[row].indices.tolist())
        masked = set(task.masked[row].indices.tolist())
        ranked = sorted(
            (
                c
                for c in task.candidates.tolist()
                if c not in masked and not np.isnan(table[user, c])
            ),
            key=lambda item, user=user: -table[user, item],
        )
        expected.append(brute_force_metric(kind, ranked, relevant, k))
        assert ranking.n_ranked[row] == len(ranked)
        assert ranking.items[row, : min(k, len(ranked))].tolist() == ranked[:k]
    np.testing.assert_allclose(ranking.per_query(f"{kind}@{k}"), expected, rtol=1e-12)
    weights = ranking.n_relevant if kind == "micro_recall" else None
    assert ranking.mean(f"{kind}@{k}") == pytest.approx(np.average(expected, weights=weights))


@pytest.mark.parametrize("levels", [None, 1])
def test_block_size_user_order_and_candidate_order_change_nothing(levels):
    task = random_slice(seed=5)
    score = table_score(random_table(2, 130, 60, levels))
    whole = rank_task(score, task, 10)
    blocks = rank_task(score, task, 10, memory_mb=0.002)
    np.testing.assert_array_equal(whole.items, blocks.items)
    rng = np.random.default_rng(0)
    users = rng.permutation(len(task.users))
    shuffled = RankingTask(
        task.name,
        Queries.of_users(task.users[users]),
        rng.permutation(task.candidates),
        task.relevance[users],
        task.masked[users],
    )
    again = rank_task(score, shuffled, 10, memory_mb=0.002)
    np.testing.assert_array_equal(whole.items[users], again.items)
    np.testing.assert_array_equal(whole.tied[users], again.tied)
    for kind in KINDS:
        assert again.mean(f"{kind}@10") == pytest.approx(whole.mean(f"{kind}@10"), rel=1e-12)


def test_blocks_stay_within_the_stated_memory():
    task = random_slice()
    seen = []

    def score(queries, items):
        seen.append(len(queries))
        return np.zeros((len(queries), len(items)), np.float32)

    rank_task(score, task, 5, memory_mb=7 * 50 * 12 / 2**20)
    assert max(seen) == 7
    assert sum(seen) == len(task.users)


def test_progress_reaches_the_end():
    calls = []
    task = random_slice()
    rank_task(
        table_score(random_table(0, 130, 60)),
        task,
        5,
        memory_mb=0.005,
        progress=lambda *call: calls.append(call),
    )
    assert calls[-1] == ("cold", len(task.users), len(task.users))
    assert len(calls) > 1


def test_r2_masked_items_do_not_affect_a_perfect_scorer():
    task = make_slice([0, 1], range(6), [(0, 1), (1, 2)], masked=[(0, 3), (0, 4), (1, 5)])
    table = np.zeros((2, 6), np.float32)
    table[0, 1] = table[1, 2] = 1
    table[0, [3, 4]] = table[1, 5] = 9
    ranking = rank_task(table_score(table), task, 2)
    assert ranking.mean("ndcg@1") == 1
    assert not np.isin(ranking.items[0], [3, 4]).any()


def test_r4_items_outside_the_candidates_are_ignored():
    table = np.zeros((1, 6), np.float32)
    table[0, 1], table[0, 4] = 1, 9
    task = make_slice([0], [0, 1, 2], [(0, 1)], n_items=6)
    assert rank_task(table_score(table), task, 1).mean("ndcg@1") == 1


def test_r5_micro_recall_hit_rate_and_recall_are_three_numbers():
    # 1 of 1, 1 of 4 and 0 of 3 found: recall (1 + 1/4) / 3, hit rate 2 / 3, micro recall 2 / 8.
    relevant = [(0, 0), (1, 0), (1, 2), (1, 3), (1, 4), (2, 2), (2, 3), (2, 4)]
    task = make_slice([0, 1, 2], range(5), relevant)
    table = np.tile(np.array([5, 4, 3, 2, 1], np.float32), (3, 1))
    ranking = rank_task(table_score(table), task, 1)
    assert ranking.mean("recall@1") == pytest.approx(1.25 / 3)
    assert ranking.mean("hit@1") == pytest.approx(2 / 3)
    assert ranking.mean("micro_recall@1") == pytest.approx(2 / 8)


def test_r6_a_constant_scorer_is_at_chance_for_any_order_of_ids():
    n_users, n_items, k = 400, 200, 20
    rng = np.random.default_rng(0)

    def constant(queries, items):
        return np.zeros((len(queries), len(items)), np.float32)

    # Every user likes the ten lowest row numbers: a rule that ranks ties by id would be perfect.
    for rows in (np.arange(n_items), rng.permutation(n_items), np.arange(n_items)[::-1]):
        relevant = [(user, int(rows[item])) for user in range(n_users) for item in range(10)]
        ranking = rank_task(constant, make_slice(range(n_users), range(n_items), relevant), k)
        # Chance is k / n_items = .1. All users share one order, rotated, so the standard error is
        # about that of 20 independent lists of 10 draws, .02.
        assert ranking.mean("recall@20") == pytest.approx(k / n_items, abs=0.03)
        assert ranking.tied.all()
        assert len(np.unique(ranking.items)) == n_items


def test_tie_order_follows_the_seed():
    task = random_slice()

    def constant(users, items):
        return np.ones((len(users), len(items)), np.float32)

    first, again = rank_task(constant, task, 5, seed=1), rank_task(constant, task, 5, seed=1)
    np.testing.assert_array_equal(first.items, again.items)
    assert (rank_task(constant, task, 5, seed=2).items != first.items).any()
    assert sorted(random_order(9, 4).tolist()) == list(range(9))


def test_r7_fewer_candidates_than_k_gives_a_short_list_without_masked_items():
    task = make_slice([0, 1], range(4), [(0, 0), (1, 3)], masked=[(0, 1), (0, 2)])
    table = np.zeros((2, 4), np.float32)
    table[1, :3] = np.nan
    ranking = rank_task(table_score(table), task, 5)
    assert set(ranking.items[0].tolist()) == {0, 3, -1}
    assert ranking.items[1].tolist() == [3, -1, -1, -1]
    assert ranking.k == 5
    assert ranking.n_ranked.tolist() == [2, 1]
    assert ranking.mean("precision@5") == pytest.approx(1 / 5)


def test_a_scorer_of_only_nan_gets_zero():
    task = random_slice()
    table = np.full((130, 60), np.nan, np.float32)
    ranking = rank_task(table_score(table), task, 5)
    assert (ranking.items == -1).all()
    assert not ranking.tied.any()
    assert [ranking.mean(f"{kind}@5") for kind in KINDS] == [0] * len(KINDS)


def test_r8_the_mean_is_not_rounded():
    task = make_slice(range(3), range(9), [(0, 0), *((1, i) for i in range(7)), (2, 8)])
    table = np.tile(np.arange(9, 0, -1, dtype=np.float32), (3, 1))
    ranking = rank_task(table_score(table), task, 3)
    assert ranking.mean("recall@3") == (1 + 3 / 7 + 0) / 3
    assert ranking.per_query("recall@3").dtype == np.float64


RANX = """
import json, sys, ranx
qrels, run, metrics = json.load(sys.stdin)
values = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), metrics, return_mean=False)
json.dump({name: array.tolist() for name, array in values.items()}, sys.stdout)
"""


@pytest.mark.skipif(find_spec("ranx") is None, reason="ranx (dev dependency) is not installed")
def test_metrics_agree_with_ranx():
    task = random_slice(seed=8)
    ranking = rank_task(table_score(random_table(4, 130, 60)), task, 10)
    names = [f"{user:04d}" for user in task.users]
    qrels = {name: {str(i): 1 for i in task.relevance[q].indices} for q, name in enumerate(names)}
    run = {
        name: {str(item): 10.0 - rank for rank, item in enumerate(ranking.items[q]) if item >= 0}
        for q, name in enumerate(names)
    }
    ours = {
        f"{kind}@{k}": f"{kind.replace('hit_rate', 'hit')}@{k}"
        for kind in ("recall", "ndcg", "precision", "mrr", "hit_rate")
        for k in (3, 10)
    }
    # In a new process with numba's JIT off: compiling ranx takes half a minute.
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RANX],
        input=json.dumps([qrels, run, list(ours)]),
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    for name, values in json.loads(answer.stdout).items():
        np.testing.assert_allclose(ranking.per_query(ours[name]), values, err_msg=name)


def test_mean_metric_is_the_mean_of_the_ranking():
    task = random_slice()
    score = table_score(random_table(1, 130, 60))
    assert mean_metric(score, task, "ndcg@20") == rank_task(score, task, 20).mean("ndcg@20")


# -- bad input --


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "ndcg@-1", "map@10", "ndcg@x", "@20"])
def test_unknown_metrics_are_named(name):
    with pytest.raises(ConfigError, match=f"metric '{name}' is unknown.*recall, ndcg"):
        Metric.parse(name)


def test_a_metric_needs_long_enough_lists():
    ranking = rank_task(table_score(random_table(1, 130, 60)), random_slice(), 5)
    with pytest.raises(ConfigError, match="needs lists of length 20, got 5"):
        ranking.mean("ndcg@20")


def test_a_wrong_score_shape_is_named():
    with pytest.raises(DataError, match=r"\(40, 50\), got \(50, 40\)"):
        rank_task(lambda u, i: np.zeros((len(i), len(u)), np.float32), random_slice(), 5)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (make_slice([0, 1], [0, 1], [(0, 0)]), "user row 1.* has no relevant item"),
        (make_slice([0], [0, 1], [(0, 0)], masked=[(0, 0)]), "1 relevant pair.* masked"),
        (make_slice([0], [0, 1], [(0, 3)], n_items=4), "1 relevant pair.* outside"),
        (make_slice([], [0, 1], []), "no user has a relevant item"),
        (
            RankingTask(
                "warm",
                Queries.of_users([0, 1]),
                np.arange(3, dtype=np.int32),
                sparse.csr_matrix(np.ones((2, 3), bool)),
                sparse.csr_matrix((3, 3), dtype=bool),
            ),
            "do not match",
        ),
    ],
)
def test_an_inconsistent_slice_is_refused(task, message):
    with pytest.raises(DataError, match=message):
        rank_task(table_score(np.zeros((3, 4), np.float32)), task, 5)


def test_an_empty_table_scores_nothing():
    table = TableScorer(np.array([], np.int32), np.zeros((0, 3), np.float32))
    scores = table.score(Queries.of_users(np.arange(2)), np.arange(4))
    assert (scores.shape, scores.dtype, np.isnan(scores).all()) == ((2, 4), np.float32, True)
    assert table.score(Queries.of_users(np.arange(2)), np.arange(0)).shape == (2, 0)

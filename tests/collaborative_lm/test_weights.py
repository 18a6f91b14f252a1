import numpy as np
from scipy import sparse

from warmstart.collaborative_lm.weights import (
    PartWeights,
    choose_weights,
    parts_of,
    scales,
    weighted,
)
from warmstart.data.queries import Queries
from warmstart.data.tasks import RankingTask

PARTS = parts_of({"backbone": 2, "lm": 3, "text": 1})


def test_columns_follow_each_other():
    assert {name: (part.start, part.stop) for name, part in PARTS.items()} == {
        "backbone": (0, 2),
        "lm": (2, 5),
        "text": (5, 6),
    }


def test_scaled_parts_have_a_standard_deviation_of_one():
    rng = np.random.default_rng(0)
    users = rng.normal(size=(40, 6)) * [1, 1, 9, 9, 9, 0.01]
    items = rng.normal(size=(300, 6))
    found = weighted(items.astype(np.float32), PARTS, PartWeights(**scales(users, items, PARTS)))
    for part in PARTS.values():
        spread = (users[:, part] @ found[:, part].T).std(axis=1).mean()
        np.testing.assert_allclose(spread, 1, rtol=1e-3)


def task(name, relevant, candidates):
    n = len(relevant)
    relevance = sparse.csr_matrix((np.ones(n, bool), (np.arange(n), relevant)), shape=(n, 40))
    nothing = sparse.csr_matrix((n, 40), dtype=bool)
    return RankingTask(name, Queries.of_users(np.arange(n)), candidates, relevance, nothing)


def test_the_part_that_knows_gets_the_weight():
    """Warm items are told by the backbone, cold ones by the LM; texts mislead on both."""
    rng = np.random.default_rng(0)
    items = rng.normal(size=(40, 6)).astype(np.float32)
    warm = np.arange(40) < 20
    users = rng.normal(size=(200, 6)).astype(np.float32)
    by_backbone, by_lm = (
        users[:, PARTS[name]] @ items[:, PARTS[name]].T for name in ("backbone", "lm")
    )
    best_warm = by_backbone[:, :20].argmax(axis=1)
    best_cold = 20 + by_lm[:, 20:].argmax(axis=1)
    everything = np.arange(40, dtype=np.int32)
    tasks = {
        "warm": task("warm", best_warm, everything[:20]),
        "cold": task("cold", best_cold, everything[20:]),
        "all": task("all", best_warm, everything),
    }
    start = PartWeights(lm=1.0, text=1.0), PartWeights(lm=0.5, text=1.0)
    of_warm, of_cold = choose_weights(tasks, dict.fromkeys(tasks, users), items, warm, PARTS, start)
    assert of_warm.lm == of_warm.text == 0
    assert of_cold.text == 0
    assert of_cold.lm > 3 * of_cold.backbone
    assert of_cold.lm < 1  # all users want warm items, so cold ones are scaled down


def test_without_cold_items_their_weights_stay():
    rng = np.random.default_rng(0)
    items, users = rng.normal(size=(40, 6)), rng.normal(size=(20, 6))
    asked = task("all", rng.integers(40, size=20), np.arange(40, dtype=np.int32))
    start = PartWeights(), PartWeights(text=0.77)
    tasks = {"all": asked}
    _, of_cold = choose_weights(
        tasks, dict.fromkeys(tasks, users.astype(np.float32)), items.astype(np.float32),
        np.ones(40, bool), PARTS, start,
    )  # fmt: skip
    assert of_cold == start[1]


def test_cold_items_do_not_stand_first_where_nobody_asks_for_them():
    """Leave-one-out: a few items have no interactions, and no slice of validation is theirs."""
    rng = np.random.default_rng(0)
    items = rng.normal(size=(40, 6)).astype(np.float32)
    warm = np.arange(40) < 35
    items[~warm] *= 9
    users = rng.normal(size=(200, 6)).astype(np.float32)
    by_backbone = users[:, PARTS["backbone"]] @ items[:, PARTS["backbone"]].T
    tasks = {"all": task("all", by_backbone[:, :35].argmax(axis=1), np.arange(40, dtype=np.int32))}
    start = PartWeights(lm=1.0, text=1.0), PartWeights(lm=0.5, text=1.0)
    of_warm, of_cold = choose_weights(tasks, {"all": users}, items, warm, PARTS, start)
    assert of_warm.lm == of_warm.text == 0
    assert of_cold.backbone < 0.1


def test_a_part_of_weight_zero_stays_out():
    rng = np.random.default_rng(0)
    items = rng.normal(size=(40, 6)).astype(np.float32)
    users = rng.normal(size=(200, 6)).astype(np.float32)
    best = (users[:, PARTS["lm"]] @ items[:, PARTS["lm"]].T).argmax(axis=1)
    tasks = {"all": task("all", best, np.arange(40, dtype=np.int32))}
    users_of, warm = {"all": users}, np.ones(40, bool)

    def weight(start):
        own = PartWeights(lm=start), PartWeights()
        return choose_weights(tasks, users_of, items, warm, PARTS, own)[0].lm

    assert weight(0.0) == 0
    assert weight(0.5) == 3

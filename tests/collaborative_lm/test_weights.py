import numpy as np
from scipy import sparse

from warmstart.collaborative_lm.weights import (
    FittedWeights,
    PartWeights,
    choose_weights,
    fit_weights,
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


def chosen_for_lm(n_users, wanted, start):
    """The weights of warm items where users want the item that ``wanted`` picks by the LM."""
    rng = np.random.default_rng(0)
    items = rng.normal(size=(40, 6)).astype(np.float32)
    users = rng.normal(size=(n_users, 6)).astype(np.float32)
    targets = wanted(users[:, PARTS["lm"]] @ items[:, PARTS["lm"]].T, axis=1)
    tasks = {"all": task("all", targets, np.arange(40, dtype=np.int32))}
    warm = np.ones(40, bool)
    return choose_weights(tasks, {"all": users}, items, warm, PARTS, (start, PartWeights()))[0]


def test_a_part_of_weight_zero_stays_out():
    def weight(start):
        return chosen_for_lm(200, np.argmax, PartWeights(lm=start)).lm

    assert weight(0.0) == 0
    assert weight(0.5) == 3


def test_a_search_never_leaves_out_all_parts():
    """Scores that say nothing are no better than chance, and random ties may be."""
    assert chosen_for_lm(30, np.argmin, PartWeights(backbone=0, lm=1, text=0)).lm > 0


def test_parts_that_differ_by_rounding_alone_are_not_scaled_up():
    rng = np.random.default_rng(0)
    items = np.ones((50, 6), np.float32)
    items[:, 5] += rng.normal(size=50).astype(np.float32) * 1e-7
    found = scales(np.ones((10, 6), np.float32), items, PARTS)
    assert found == {"backbone": 1, "lm": 1, "text": 1}


def test_cold_items_of_other_weights_stand_where_warm_ones_do():
    """Similarities of texts are all above 0; five times their weight puts no item before others."""
    rng = np.random.default_rng(0)
    items = (rng.normal(size=(2000, 6)) + 3).astype(np.float32)
    users = np.abs(rng.normal(size=(200, 6))).astype(np.float32)
    warm = np.arange(2000) < 1000
    start = PartWeights(text=0.2), PartWeights(text=1.0)
    fitted = fit_weights({}, {}, users, items, warm, PARTS, start)
    scores = users @ fitted.weigh(items, warm).T
    of_warm, of_cold = scores[:, warm].mean(), scores[:, ~warm].mean()
    assert abs(of_warm - of_cold) < 0.1 * scores.std()
    restored = FittedWeights.from_state(fitted.state(), PARTS)
    np.testing.assert_array_equal(restored.weigh(items, warm), fitted.weigh(items, warm))
    assert fitted.choices["cold_weights"]["text"] == 1

"""Checks of queries: histories, own candidates, and the kinds that a method cannot answer."""

import numpy as np

from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.errors import DataError, UnsupportedError
from warmstart.testing.case import Case, rows
from warmstart.testing.checks.shared import assert_close, on_shared_fit, raises

_MIN_AGREEMENT = 0.6  # relative ndcg by histories, as for known users


@on_shared_fit
def queries_of_own_candidates_get_the_same_scores(case: Case) -> None:
    """Items given for each query get the scores that they have when given for all."""
    n_users, n_items = case.scores.shape
    rng = np.random.default_rng(0)
    own = np.stack([rng.permutation(n_items)[:7] for _ in range(n_users)]).astype(np.int32)
    found = case.model.score(case.queries(n_users), own)
    assert_close(found, np.take_along_axis(case.scores, own, axis=1))


@on_shared_fit
def queries_of_unknown_kind_are_refused(case: Case) -> None:
    """A kind of query that the method does not answer is an error that names the method."""
    answers = case.model.answers
    queries = {
        "user": Queries.of_users(rows(2)),
        "history": Queries.of_histories(Histories.from_lists([[0], [1]])),
        "text": Queries.of_texts(["an even pair", "an odd one"]),
    }
    for kind, query in queries.items():
        if kind in answers:
            assert case.model.score(query, rows(5)).shape == (2, 5)
        else:
            with raises(UnsupportedError, case.cls.name, kind):
                case.model.score(query, rows(5))


@on_shared_fit
def queries_by_history_follow_the_history(case: Case) -> None:
    """Unknown users get what known users with the same histories get: items of their parity."""
    model, world = case.model, case.world
    if "history" not in model.answers or not model.traits.personal:
        return
    if "interactions" not in model.traits.reads:
        return
    users = world.active_users
    queries = Queries.of_histories(world.data.histories.take(users))
    scores = model.score(queries, rows(world.data.n_items))
    np.testing.assert_array_equal(np.isnan(scores), np.isnan(case.scores[users]))
    quality = case.relative_ndcg(lambda q, items: scores[_places(q, users)][:, items], "warm")
    assert quality > _MIN_AGREEMENT, f"by history: relative ndcg {quality:.2f}, too low"
    one = model.score(queries.take(np.array([3])), rows(world.data.n_items))
    assert_close(one, scores[[3]])


def _places(queries: Queries, users: np.ndarray) -> np.ndarray:
    return np.searchsorted(users, queries.users)


@on_shared_fit
def recommend_serves_unknown_users_by_their_history(case: Case) -> None:
    """A history of external ids gives a list without the items of the history."""
    model, data = case.model, case.world.data
    user = int(case.world.active_users[0])
    items = data.catalogue.item_ids.take(data.histories[user])
    if "history" not in model.answers:
        with raises(UnsupportedError, model.name, "history"):
            model.recommend(histories=[items], k=3)
        return
    found = model.recommend(histories=[items, items[:2]], k=3)
    assert found.columns == ["query", "item", "score", "rank", "is_cold"]
    assert set(found["query"]) == {0, 1}
    assert not set(found.filter(found["query"] == 0)["item"]) & set(items)
    named = model.recommend(["a new user"], k=3, histories=[items])
    first = found.filter(found["query"] == 0)
    assert named["user"].to_list() == ["a new user"] * len(first)
    assert named["item"].equals(first["item"])
    with raises(DataError, "'nothing'", "histories"):
        model.recommend(histories=[[*items, "nothing"]], k=3)
    with raises(DataError, "users must be a list", "histories nor texts"):
        model.recommend(k=3)
    ignored = model.recommend(histories=[["nothing", *items]], k=3, on_unknown="ignore")
    assert ignored["item"].equals(first["item"])

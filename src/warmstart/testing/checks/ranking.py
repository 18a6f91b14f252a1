"""Checks of ``score``, of the order of scores, and of ``recommend``."""

import warnings
from typing import Any

import numpy as np
import polars as pl

from warmstart.errors import ConfigError, DataError
from warmstart.testing.case import Case, K, all_scores, rows
from warmstart.testing.checks.shared import (
    assert_at_chance,
    assert_close,
    assert_learned,
    on_shared_fit,
    raises,
    refits,
    warns,
)
from warmstart.testing.new_process import recommend_to

# -- score --


@on_shared_fit
def score_has_shape_and_dtype(case: Case) -> None:
    """Scores are a plain float32 array, users x items, even without users or items."""
    n_users, n_items = case.world.data.n_users, case.world.data.n_items
    for users, items in ((n_users, n_items), (1, 1), (0, n_items), (n_users, 0)):
        scores = case.model.score(case.queries(users), rows(items))
        assert type(scores) is np.ndarray
        assert scores.shape == (users, items), f"expected {(users, items)}, got {scores.shape}"
        assert scores.dtype == np.float32


@on_shared_fit
def score_is_finite_or_nan_as_declared(case: Case) -> None:
    """All scores are finite, but NaN for cold items that the method declares it cannot score."""
    unscored = np.zeros(case.scores.shape, bool)
    unscored[:, case.world.unscored(case.cls.traits)] = True
    np.testing.assert_array_equal(np.isnan(case.scores), unscored)
    assert np.isfinite(case.scores[~unscored]).all()


@on_shared_fit
def score_is_repeatable(case: Case) -> None:
    """A second call gives the same scores, even if the caller wrote into the first result."""
    first = all_scores(case.model)
    expected = first.copy()
    first.flags.writeable = True
    first[:] = 7
    np.testing.assert_array_equal(all_scores(case.model), expected)


@on_shared_fit
def score_ignores_order(case: Case) -> None:
    """The score of a pair does not depend on the order or the number of users and items."""
    rng = np.random.default_rng(0)
    n_users, n_items = case.scores.shape
    for fraction in (1, 0.4):
        users = rng.permutation(n_users)[: int(fraction * n_users)].astype(np.int32)
        items = rng.permutation(n_items)[: int(fraction * n_items)].astype(np.int32)
        found = case.model.score(case.queries(users), items)
        assert_close(found, case.scores[np.ix_(users, items)])


@on_shared_fit
def score_ignores_batch(case: Case) -> None:
    """A single user or a single item gets the same scores as in a batch."""
    n_users, n_items = case.scores.shape
    for user in range(0, n_users, 5):
        found = case.model.score(case.queries(np.array([user], np.int32)), rows(n_items))
        assert_close(found, case.scores[[user]])
    for item in range(0, n_items, 5):
        found = case.model.score(case.queries(n_users), np.array([item], np.int32))
        assert_close(found, case.scores[:, [item]])


# -- order --


@on_shared_fit
def order_follows_parity(case: Case) -> None:
    """Even users prefer even items: warm ones, and cold ones if the method ranks them."""
    assert_learned(case.model, case)


@on_shared_fit
def order_is_no_better_than_declared(case: Case) -> None:
    """Without interactions rankings are at chance; impersonal scores are equal for all users."""
    traits = case.cls.traits
    if not traits.personal:
        expected = np.broadcast_to(case.scores[:1], case.scores.shape)
        np.testing.assert_array_equal(case.scores, expected)
    if not traits.reads & {"interactions", "order"} and not case.knows_taste:
        assert_at_chance(case.model, "warm", case)
    if traits.cold_items == "prior":
        assert_at_chance(case.model, "cold", case)


# -- recommend --


@on_shared_fit
def recommend_returns_the_best(case: Case) -> None:
    """Each user gets k distinct unseen items, best first; no item left out has a better score."""
    lists, data = case.lists.frame, case.world.data
    assert lists.columns == ["user", "item", "score", "rank", "is_cold"]
    assert lists["score"].dtype == pl.Float32
    users = data.user_ids.known_rows(lists["user"].to_list())
    items = data.catalogue.item_ids.known_rows(lists["item"].to_list())
    by_score = np.isin(users, case.world.active_users) | (not case.cls.traits.personal)
    expected = case.scores[users, items]
    assert_close(lists["score"].to_numpy()[by_score], expected[by_score])
    np.testing.assert_array_equal(lists["is_cold"].to_numpy(), ~data.warm[items])
    seen = case.world.seen
    for user in np.unique(users[by_score]):
        mine = users == user
        ranked, values = items[mine], case.scores[user, items[mine]]
        assert len(set(ranked.tolist())) == K
        assert not seen[user, ranked].any()
        assert (np.diff(values) <= 0).all()
        assert lists["rank"].to_numpy()[mine].tolist() == list(range(1, K + 1))
        left_out = np.setdiff1d(np.flatnonzero(~seen[user]), ranked)
        assert values[-1] >= np.nanmax(case.scores[user, left_out]) - 1e-5


@on_shared_fit
def recommend_without_history(case: Case) -> None:
    """A user without history is ranked for by popularity if asked, and refused otherwise."""
    if not case.cls.traits.personal or "user" not in case.model.answers:
        return
    data = case.world.data
    name = data.user_ids.values[case.world.empty_user]
    with raises(DataError, repr(name), "popular"):
        case.model.recommend([name], K)
    assert case.model.recommend([name], K, on_unknown="ignore").is_empty()
    popularity = data.matrix.getnnz(axis=0)
    for user in (name, "nobody"):
        found = case.model.recommend([user], K, on_unknown="popular")
        assert found["user"].to_list() == [user] * K
        items = data.catalogue.item_ids.known_rows(found["item"].to_list())
        np.testing.assert_array_equal(found["score"].to_numpy(), popularity[items])
        assert sorted(popularity[items]) == sorted(np.sort(popularity)[-K:])


@on_shared_fit
def recommend_in_blocks(case: Case) -> None:
    """The lists do not depend on how many users are scored at a time."""
    users = case.world.data.user_ids.values
    found = case.recommend(users, K, on_unknown="popular", memory_mb=1e-3)
    assert found.drop("score").equals(case.lists.frame.drop("score"))


@on_shared_fit
def recommend_whole_catalogue(case: Case) -> None:
    """With k above the size of the catalogue, a list holds every item that can be scored."""
    data, user = case.world.data, int(case.world.active_users[0])
    name = data.user_ids.values[user]
    scored = ~np.isnan(case.scores[user])
    unseen = scored & ~case.world.seen[user]
    for seen, expected in ((True, unseen), (False, scored)):
        k = data.n_items + 1
        items = case.recommend([name], k, exclude_seen=seen)["item"].to_list()
        assert sorted(items) == sorted(data.catalogue.item_ids.take(np.flatnonzero(expected)))


@on_shared_fit
def recommend_among_candidates(case: Case) -> None:
    """``items`` and ``only_cold`` restrict the candidates; a repeated item counts once."""
    data, warm = case.world.data, case.world.data.warm
    users, ids = data.user_ids.take(case.world.active_users), data.catalogue.item_ids
    allowed = ids.take(np.flatnonzero(warm)[:7])
    found = case.recommend(users, 3, items=[*allowed, allowed[0]], exclude_seen=False)
    assert set(found["item"]) <= set(allowed)
    assert len(found) == 3 * len(users)
    if case.cls.traits.cold_items == "none":
        with warns("get no list"):
            assert case.recommend(users, 3, only_cold=True).is_empty()
        return
    cold = case.recommend(users, 3, only_cold=True)
    assert set(cold["item"]) <= set(ids.take(np.flatnonzero(~warm)))
    assert cold["is_cold"].all()
    assert len(cold) == 3 * len(users)


@on_shared_fit
def recommend_refuses_bad_requests(case: Case) -> None:
    """A wrong k, unknown ids and a wrong ``on_unknown`` are errors that name value and limits."""
    model, data = case.model, case.world.data
    users: Any = data.user_ids.take(case.world.active_users)[:2]
    for k in (0, -1, 2.0, "3"):
        with raises(DataError, "k ", repr(k)):
            model.recommend(users, k)  # pyright: ignore[reportArgumentType]
    with raises(DataError, "users", "list", repr(users[0])):
        model.recommend(users[0], 1)
    with raises(DataError, "'nobody'", "user"):
        model.recommend([*users, "nobody"], 1)
    with raises(DataError, "'nothing'", "item"):
        model.recommend(users, 1, items=["nothing"])
    with raises(ConfigError, "on_unknown", "'skip'"):
        model.recommend(users, 1, on_unknown="skip")  # pyright: ignore[reportArgumentType]


@on_shared_fit
def recommend_skips_unknown_users(case: Case) -> None:
    """``on_unknown`` "warn" and "ignore" leave unknown users out, with and without a warning."""
    if "user" not in case.model.answers:
        return
    users = case.world.data.user_ids.take(case.world.active_users)[:2]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warned = case.model.recommend([users[0], "nobody", users[1]], 2, on_unknown="warn")
    assert ["'nobody'" in str(warning.message) for warning in caught] == [True]
    quiet = case.model.recommend(["nobody", *users], 2, on_unknown="ignore")
    assert warned.equals(quiet)
    assert warned.equals(case.model.recommend(users, 2))
    none = case.model.recommend(["nobody"], 2, on_unknown="ignore")
    assert none.is_empty()
    assert none.schema == warned.schema


@refits
def recommend_keeps_id_types(case: Case) -> None:
    """Integer ids stay integers and string ids stay strings, also after saving."""
    world = case.fixtures.other_world
    users = world.data.user_ids.values
    found = recommend_to(case.loaded(other=True), users, 2, on_unknown="popular")
    assert (found["user"].dtype, found["item"].dtype) == (pl.Int64, pl.Int64)
    assert set(found["user"]) == set(world.data.user_ids.values)
    assert set(found["item"]) <= set(world.data.catalogue.item_ids.values)
    lists = case.lists.frame
    assert (lists["user"].dtype, lists["item"].dtype) == (pl.String, pl.String)

"""``score``, its order, and ``recommend``."""

import warnings

import numpy as np
import polars as pl

from warmstart.errors import ConfigError, DataError
from warmstart.testing.case import Case, K, all_scores, rows
from warmstart.testing.checks.shared import at_chance, cheap, close, dear, raises, ranks_right

# -- score --


@cheap
def score_has_the_shape(case: Case) -> None:
    """float32, users x items, a plain array; also of no users or no items."""
    n_users, n_items = case.world.data.n_users, case.world.data.n_items
    for users, items in ((n_users, n_items), (1, 1), (0, n_items), (n_users, 0)):
        scores = case.model.score(rows(users), rows(items))
        assert type(scores) is np.ndarray
        assert scores.shape == (users, items), f"expected {(users, items)}, got {scores.shape}"
        assert scores.dtype == np.float32


@cheap
def score_is_finite_or_nan_as_declared(case: Case) -> None:
    """NaN for all cold items where none can be scored, else finite; textless items survive."""
    unknown = np.zeros(case.scores.shape, bool)
    if case.cls.traits.cold_items == "none":
        unknown[:, ~case.world.data.warm] = True
    np.testing.assert_array_equal(np.isnan(case.scores), unknown)
    assert np.isfinite(case.scores[~unknown]).all()


@cheap
def score_repeats(case: Case) -> None:
    """Asked twice, the answer is the same, though the caller wrote into the first one."""
    first = all_scores(case.model)
    expected = first.copy()
    first.flags.writeable = True
    first[:] = 7
    np.testing.assert_array_equal(all_scores(case.model), expected)


@cheap
def score_permutes(case: Case) -> None:
    """The order of users and items does not matter, and a part is a part of the whole."""
    rng = np.random.default_rng(0)
    n_users, n_items = case.scores.shape
    for share in (1, 0.4):
        users = rng.permutation(n_users)[: int(share * n_users)].astype(np.int32)
        items = rng.permutation(n_items)[: int(share * n_items)].astype(np.int32)
        close(case.model.score(users, items), case.scores[np.ix_(users, items)])


@cheap
def score_one_by_one(case: Case) -> None:
    """A user or an item alone scores as in company."""
    n_users, n_items = case.scores.shape
    for user in range(0, n_users, 5):
        found = case.model.score(np.array([user], np.int32), rows(n_items))
        close(found, case.scores[[user]])
    for item in range(0, n_items, 5):
        found = case.model.score(rows(n_users), np.array([item], np.int32))
        close(found, case.scores[:, [item]])


# -- order --


@cheap
def order_is_right(case: Case) -> None:
    """Even users prefer even items: warm ones, and cold ones where that is claimed."""
    ranks_right(case.model, case)


@cheap
def order_of_what_is_not_claimed(case: Case) -> None:
    """What does not read interactions is at chance; what is not personal is the same for all."""
    traits = case.cls.traits
    if not traits.personal:
        expected = np.broadcast_to(case.scores[:1], case.scores.shape)
        np.testing.assert_array_equal(case.scores, expected)
    if "interactions" not in traits.reads:
        at_chance(case.share(case.model.score, "warm"), "warm items")
    if traits.cold_items == "prior":
        at_chance(case.share(case.model.score, "cold"), "cold items")


# -- recommend --


@cheap
def recommend_gives_the_best(case: Case) -> None:
    """A user gets k distinct unseen items, sorted, ranked from 1, better than all left out."""
    lists, data = case.answers.lists, case.world.data
    assert lists.columns == ["user", "item", "score", "rank", "is_cold"]
    assert lists["score"].dtype == pl.Float32
    users = data.user_ids.known_rows(lists["user"].to_list())
    items = data.catalogue.item_ids.known_rows(lists["item"].to_list())
    np.testing.assert_array_equal(lists["score"].to_numpy(), case.scores[users, items])
    np.testing.assert_array_equal(lists["is_cold"].to_numpy(), ~data.warm[items])
    seen = data.matrix.toarray() > 0
    for user in range(data.n_users):
        mine = users == user
        ranked, values = items[mine], case.scores[user, items[mine]]
        assert len(set(ranked.tolist())) == K
        assert not seen[user, ranked].any()
        assert (np.diff(values) <= 0).all()
        assert lists["rank"].to_numpy()[mine].tolist() == list(range(1, K + 1))
        left_out = np.setdiff1d(np.flatnonzero(~seen[user]), ranked)
        assert values[-1] >= np.nanmax(case.scores[user, left_out])


@cheap
def recommend_everything(case: Case) -> None:
    """With k as large as the catalogue a list ends with what can be scored."""
    data, user = case.world.data, int(case.world.answered_users[0])
    name = data.user_ids.values[user]
    able = ~np.isnan(case.scores[user])
    unseen = able & (data.matrix[[user]].toarray()[0] == 0)
    for seen, expected in ((True, unseen), (False, able)):
        items = case.model.recommend([name], data.n_items, exclude_seen=seen)["item"].to_list()
        assert sorted(items) == sorted(data.catalogue.item_ids.take(np.flatnonzero(expected)))


@cheap
def recommend_among_candidates(case: Case) -> None:
    """An allow-list is obeyed, twice the same item is one; ``only_cold`` keeps to cold items."""
    data, warm = case.world.data, case.world.data.warm
    users, ids = data.user_ids.values, data.catalogue.item_ids
    allowed = ids.take(np.flatnonzero(warm)[:7])
    found = case.model.recommend(users, 3, items=[*allowed, allowed[0]], exclude_seen=False)
    assert set(found["item"]) <= set(allowed)
    assert len(found) == 3 * len(users)
    cold = case.model.recommend(users, 3, only_cold=True)
    assert set(cold["item"]) <= set(ids.take(np.flatnonzero(~warm)))
    assert cold["is_cold"].all()
    assert len(cold) == (0 if case.cls.traits.cold_items == "none" else 3 * len(users))


@cheap
def recommend_refuses_bad_requests(case: Case) -> None:
    """A wrong k, unknown ids and an unknown wish are errors that name value and limits."""
    model, data = case.model, case.world.data
    users, n_items = data.user_ids.values[:2], data.n_items
    for k in (0, -1, n_items + 1):
        with raises(DataError, str(k), str(n_items)):
            model.recommend(users, k)
    with raises(DataError, "2", "1"):
        model.recommend(users, 2, items=data.catalogue.item_ids.values[:1])
    with raises(DataError, "'nobody'", "user"):
        model.recommend([*users, "nobody"], 1)
    with raises(DataError, "'nothing'", "item"):
        model.recommend(users, 1, items=["nothing"])
    with raises(ConfigError, "on_unknown", "'skip'"):
        model.recommend(users, 1, on_unknown="skip")  # pyright: ignore[reportArgumentType]


@cheap
def recommend_without_unknown_users(case: Case) -> None:
    """Unknown users are left out, with or without a warning, as asked."""
    users = case.world.data.user_ids.values[:2]
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


@dear
def recommend_keeps_the_type_of_ids(case: Case) -> None:
    """Ids are integers or strings as they came, also after saving."""
    world = case.lab.other_world
    found = case.loaded(other=True).recommend(world.data.user_ids.values, 2)
    assert (found["user"].dtype, found["item"].dtype) == (pl.Int64, pl.Int64)
    assert set(found["user"]) == set(world.data.user_ids.values)
    assert set(found["item"]) <= set(world.data.catalogue.item_ids.values)
    lists = case.answers.lists
    assert (lists["user"].dtype, lists["item"].dtype) == (pl.String, pl.String)

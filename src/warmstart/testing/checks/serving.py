"""Checks of being served: the parts of the scores agree with the whole."""

from typing import Any

import numpy as np
from scipy import sparse

from warmstart.abilities import Simulates, require
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.data.readers.item_records import catalogue_of_records
from warmstart.errors import UnsupportedError
from warmstart.rank import top_k
from warmstart.servable import ItemRows, OtherItems, QueryStates, Servable, take_rows
from warmstart.similar_users import SimilarUsers
from warmstart.testing.case import Case, all_scores, rows
from warmstart.testing.checks.shared import assert_close, on_shared_fit, raises


def _served(case: Case) -> Any:
    """A loaded model; None for a method that cannot be served, which ``require`` must refuse."""
    if issubclass(case.cls, Servable):
        return case.loaded()
    with raises(UnsupportedError, case.cls.name, "be served"):
        require(case.model, Servable, "be served")
    return None


def _asked(case: Case, model: Servable) -> list[tuple[Queries, QueryStates]]:
    """All users by row, and the active ones by history, with their states."""
    histories = case.world.data.histories.take(case.world.active_users)
    similar = SimilarUsers(model.fitted.positives)
    everyone = rows(len(model.fitted.user_ids))
    return [
        (Queries.of_users(everyone), model.user_states(everyone)),
        (Queries.of_histories(histories), model.history_states(histories, similar)),
    ]


def _cold_scores(model: Servable, states: QueryStates, items: ItemRows, n: int) -> np.ndarray:
    """Scores of ``n`` items by their rows; NaN for those that cannot be scored."""
    if not items:
        return np.full((len(states), n), np.nan, np.float32)
    scores = model.score_item_rows(states, items)
    scores[:, ~model.can_score(items)] = np.nan
    return scores


@on_shared_fit
def abilities_serve_the_scores_of_the_library(case: Case) -> None:
    """Warm and cold items, and new ones by their encoding, score as in ``score``.

    A service encodes new items from the records of their columns, which gives the same.
    """
    model = _served(case)
    if model is None:
        return
    grown: Any = case.loaded()
    fitted, new = model.fitted, case.world.new_items((0, 1, 1, 0))
    warm = np.flatnonzero(fitted.warm).astype(np.int32)
    cold = np.flatnonzero(~fitted.warm & fitted.catalogue.has_text).astype(np.int32)
    encoding, encoded = model.encode_items(new)
    served = catalogue_of_records(new.columns.to_dicts(), new.texts, fitted.catalogue)
    _, of_records = model.encode_items(served)
    added = grown.add_items(new)["row"].to_numpy()
    for queries, states in _asked(case, model):
        found = model.score_warm(states, model.warm_items(warm))
        assert_close(found, model.score(queries, warm))
        found = _cold_scores(model, states, model.cold_rows(cold), len(cold))
        assert_close(found, model.score(queries, cold))
        for items in (encoded, of_records, model.item_rows(encoding)):
            found = _cold_scores(model, states, items, len(added))
            assert_close(found, grown.score(queries, added))
    np.testing.assert_array_equal(all_scores(model), case.scores)  # serving changes nothing


@on_shared_fit
def abilities_serve_products_that_are_scores(case: Case) -> None:
    """Where scores are said to be products of vectors, they are: on the same scale, up to caps."""
    model = _served(case)
    if model is None:
        return
    fitted = model.fitted
    states = model.user_states(case.world.active_users)
    warm = model.warm_items(np.flatnonzero(fitted.warm).astype(np.int32))
    cold = model.cold_rows(
        np.flatnonzero(~fitted.warm & fitted.catalogue.has_text).astype(np.int32)
    )
    if cold:
        cold = take_rows(cold, model.can_score(cold))
    sides = [(model.warm_vectors(warm), model.warm_queries, lambda: model.score_warm(states, warm))]
    if cold:
        scores = lambda: model.score_item_rows(states, cold)  # noqa: E731
        sides.append((model.cold_vectors(cold), model.cold_queries, scores))
    for vectors, queries_of, score in sides:
        queries = None if vectors is None else queries_of(states)
        if vectors is None or queries is None:
            continue
        products, found = queries.vectors @ vectors.T, score()
        free = products <= queries.caps[:, None]
        assert_close(found[free], products[free])
        assert (found[~free] <= products[~free] + 1e-5).all()


@on_shared_fit
def abilities_search_for_the_lists_of_all_scores(case: Case) -> None:
    """A search gives each query, known or not, the list that all scores give, and the same ties."""
    model = _served(case)
    if model is None:
        return
    candidates = rows(len(model.fitted.catalogue))[1:]
    search = model.item_search(candidates, smallest=0)
    if search is None:
        return
    n_users = len(model.fitted.user_ids)
    for queries in (Queries.of_users(rows(n_users)), _asked(case, model)[1][0]):
        masked = sparse.random_array(
            (len(queries), len(candidates)), density=0.2, rng=np.random.default_rng(0)
        )
        masked = sparse.csr_matrix(masked > 0)
        shift = np.arange(len(queries)) % len(candidates)
        scores = model.score(queries, candidates)
        for k in (1, 7, len(candidates) + 2):
            expected, best = top_k(scores, k, masked=masked, tie_shift=shift)
            found = search.top_items(queries, k, masked=masked, tie_shift=shift)
            assert_close(found[1], best)
            differ = (found[0] != expected) & ~_nearly_tied(best)
            assert not differ.any(), "a search found another item"
            ranked = ~np.isnan(scores) & ~masked.toarray()
            np.testing.assert_array_equal(found[2], ranked.sum(axis=1))


def _nearly_tied(best: np.ndarray) -> np.ndarray:
    """Places whose score differs from a neighbour's by rounding only, or which are the last."""
    close = np.abs(np.diff(best, axis=1)) <= 1e-5 * np.maximum(np.abs(best[:, 1:]), 1e-3)
    last = np.ones((len(best), 1), bool)
    return np.hstack([close, last]) | np.hstack([~last, close])


@on_shared_fit
def abilities_serve_an_item_alone_as_among_others(case: Case) -> None:
    """An item has the same encoding and rows alone as among others; none at all are allowed."""
    model = _served(case)
    if model is None:
        return
    items = case.world.new_items((0, 1, 1, 0))
    together = model.encode_items(items, audience=3)
    for at in range(len(items)):
        alone = model.encode_items(items.take(np.array([at])), audience=3)
        for found, expected in zip(alone, together, strict=True):
            assert found.keys() == expected.keys()
            for name, array in take_rows(expected, slice(at, at + 1)).items():
                assert_close(found[name], array)
    for arrays in model.encode_items(items.take(np.arange(0)), audience=3):
        assert all(len(array) == 0 for array in arrays.values())


@on_shared_fit
def abilities_serve_clicks_to_similar_users(case: Case) -> None:
    """An item clicked by users of one parity scores higher for the others of that parity."""
    model = _served(case)
    if model is None:
        return
    users = case.world.active_users
    parity = case.world.user_parity[users]
    clicks = np.zeros((2, len(model.fitted.user_ids)), np.float32)
    others = np.ones(len(users), bool)
    for item in (0, 1):
        chosen = np.flatnonzero(parity == item)[::2]
        clicks[item, users[chosen]] = 1
        others[chosen] = False
    observed = model.observed_rows(sparse.csr_matrix(clicks))
    if not observed:
        return
    (_, by_user), (_, by_history) = _asked(case, model)
    for scores in (
        model.score_observed_rows(by_user, observed)[users[others]],
        model.score_observed_rows(by_history, observed)[others],
    ):
        assert scores.dtype == np.float32
        right = (scores[:, 0] > scores[:, 1]) == (parity[others] == 0)
        assert right.mean() > 0.8, f"clicks put the right item first for {right.mean():.0%} only"


@on_shared_fit
def abilities_serve_likely_users(case: Case) -> None:
    """The audience of an encoding has the parity of the item; none without ``Simulates``."""
    model = _served(case)
    if model is None:
        return
    parities = np.array([0, 1, 1, 0])
    encoding, _ = model.encode_items(case.world.new_items(tuple(parities)), audience=6)
    if not isinstance(model, Simulates):
        assert "audience" not in encoding
        return
    users, weights = encoding["audience"], encoding["probabilities"]
    assert users.shape == weights.shape == (4, 6)
    assert all(len(set(line)) == 6 for line in users.tolist())
    assert ((weights > 0) & (weights <= 1)).all()
    assert (np.diff(weights, axis=1) <= 0).all()
    hits = (case.world.user_parity[users] == parities[:, None]).mean()
    assert hits > 0.8, f"only {hits:.0%} of the audience have the parity of the item"


@on_shared_fit
def abilities_serve_other_items_of_a_history(case: Case) -> None:
    """An item that is not warm counts in a history through its users; alone it is enough."""
    model = _served(case)
    if model is None:
        return
    similar = SimilarUsers(model.fitted.positives)
    warm = np.flatnonzero(model.fitted.warm).astype(np.int32)
    users, n_users = case.world.active_users[:5], case.world.data.n_users
    clicks = sparse.csr_matrix(
        (np.ones(5, np.float32), (np.zeros(5, int), users)), shape=(1, n_users)
    )
    others = OtherItems(np.ones(1), clicks)
    states = model.history_states(Histories.from_lists([[]]), similar, others)
    assert states.answered.all()
    nothing = sparse.csr_matrix((1, len(model.fitted.catalogue)), dtype=np.float32)
    weights = similar.weights(nothing, clicks)[:, users]
    expected = weights @ model.score(Queries.of_users(users), warm)
    assert_close(model.score_warm(states, model.warm_items(warm)), expected)
    unread = np.flatnonzero(~model.counts_in_histories)
    some_known = Histories.from_lists([[], warm[:2], unread[:1]])
    assert model.history_states(some_known, similar).answered.tolist() == [False, True, False]
    scores = model.score(Queries.of_histories(some_known), warm)
    assert np.isnan(scores[[0, 2]]).all()
    assert np.isfinite(scores[1]).any()

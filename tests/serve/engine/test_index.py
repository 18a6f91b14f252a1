"""The index depends only on artefact and store, not on the order of changes."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from tests.serve.encoding import encode_texts
from tests.serve.engine.clicks import clicks_on
from warmstart.data.queries import Queries
from warmstart.serve.engine.candidates import Candidates
from warmstart.serve.engine.encodings import pack
from warmstart.serve.engine.exposure import TOP
from warmstart.serve.engine.index import Index
from warmstart.serve.engine.lists import ListRequest, ListRules, UnknownUserError, select_list
from warmstart.serve.storage.records import Item, ItemState

NAMES = ["new-a", "new-b", "new-c"]


@pytest.fixture(scope="module")
def model(model_folder, lm_folder):
    import warmstart as ws
    from warmstart.artefact import read_manifest
    from warmstart.lm import TextEncoder

    spec = read_manifest(model_folder)["lms"]["encoder"]
    return ws.load_model(
        model_folder, encoder=TextEncoder.from_spec(spec, source=str(lm_folder), use_cache=False)
    )


@pytest.fixture(scope="module")
def texts(toy_data):
    return list(toy_data.catalogue.texts[:6])


@pytest.fixture(scope="module")
def packed(model, texts):
    return [pack(one.encoding) for one in encode_texts(model, texts)]


def state_of(name, texts, packed, which, *, deleted=False):
    item = Item(name, {"title": texts[which]}, texts[which], str(which), "owner", deleted=deleted)
    return ItemState(item, packed[which])


def scores_for(index, users):
    """All items of each user's list, with their scores."""
    requests = [ListRequest(user=user, k=500, exclude_seen=False) for user in users]
    return [{hit.item: hit.score for hit in hits} for hits in index.recommend(requests)]


def assert_same_scores(lists, others):
    for scores, other in zip(lists, others, strict=True):
        assert scores.keys() == other.keys()
        for name, score in scores.items():
            assert score == pytest.approx(other[name], rel=1e-4, abs=1e-5)


def test_scores_are_those_of_the_model_without_an_exposure_cap(model):
    index = Index(model, max_exposure=1.0)
    users = model.fitted.user_ids.values[:7]
    rows = np.arange(7, dtype=np.int32)
    scores = model.score(
        Queries.of_users(rows), np.arange(len(model.fitted.catalogue), dtype=np.int32)
    )
    names = model.fitted.catalogue.item_ids.values
    for row, found in enumerate(scores_for(index, users)):
        for item, score in found.items():
            expected = scores[row, names.index(item)]
            assert score == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_new_item_scores_as_if_added_to_the_model(model, model_folder, lm_folder, texts, packed):
    import warmstart as ws
    from warmstart.lm import TextEncoder

    lm = TextEncoder.from_spec(model.fitted.lms["encoder"], source=str(lm_folder), use_cache=False)
    grown = ws.load_model(model_folder, encoder=lm)
    grown.add_items({"item": ["new-a"], "title": [""], "text": [texts[0]]})
    index = Index(model, max_exposure=1.0)
    index.apply({"new-a": state_of("new-a", texts, packed, 0)})
    users = model.fitted.user_ids.values[:5]
    assert_same_scores(scores_for(index, users), scores_for(Index(grown, max_exposure=1.0), users))


change = st.tuples(
    st.sampled_from([*NAMES, "BASE"]),
    st.integers(0, 5),
    st.frozensets(st.integers(0, 7), max_size=4),
    st.booleans(),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(change, max_size=12))
def test_any_sequence_of_changes_gives_the_same_index_as_a_rebuild(model, texts, packed, changes):
    users = model.fitted.user_ids.values
    base = str(model.fitted.catalogue.item_ids.values[int(np.flatnonzero(~model.fitted.warm)[0])])
    followed, last, clicked = Index(model), {}, []
    for name, which, clickers, deleted in changes:
        named = base if name == "BASE" else name
        new = [*(users[row] for row in clickers), *(["unknown"] if which == 3 else [])]
        clicked += (clicks := clicks_on(named, new))
        last[named] = state_of(named, texts, packed, which, deleted=deleted)
        if which % 2:  # interactions may be followed before or after the item
            followed.record(clicks)
            followed.apply({named: last[named]})
        else:
            followed.apply({named: last[named]})
            followed.record(clicks)
        if which == 4 and clicks:
            followed.forget(clicks[0].user, clicks[-1].number)
            clicked = [click for click in clicked if click.user != clicks[0].user]
    rebuilt = Index(model)
    rebuilt.apply(last)
    rebuilt.record(clicked)
    assert_same_scores(scores_for(followed, users[:6]), scores_for(rebuilt, users[:6]))
    assert followed.counts() == rebuilt.counts()
    for name in last:
        assert followed.clicks_of(name) == rebuilt.clicks_of(name)
    for user in (*users[:8], "unknown"):
        assert followed.history(str(user)) == rebuilt.history(str(user))


def test_an_item_warms_up_without_a_jump(model, texts, packed):
    users = [str(user) for user in model.fitted.user_ids.values]
    index, before, moved = Index(model, prior_strength=10.0), None, []
    index.apply({"new-a": state_of("new-a", texts, packed, 0)})
    for clicks in range(30):
        index.record(clicks_on("new-a", users[:clicks]))
        now = np.array([found["new-a"] for found in scores_for(index, users)])
        if before is not None:
            moved.append(np.abs(now - before).max())
        before = now
    entry = index.entry("new-a")
    assert entry.click_weight == pytest.approx(29 / 39)
    scores = np.concatenate([list(found.values()) for found in scores_for(index, users[:5])])
    assert max(moved) < 3 * scores.std()
    assert moved[-1] < max(moved)  # each click counts for less than those before


def test_an_item_without_known_clicks_has_its_simulated_scores_exactly(model, texts, packed):
    users = [str(user) for user in model.fitted.user_ids.values]
    index = Index(model)
    index.apply({"new-a": state_of("new-a", texts, packed, 0)})
    plain = scores_for(index, users)
    index.record(clicks_on("new-a", ["u-unknown"]))
    assert scores_for(index, users) == plain  # a click by an unknown user changes no score
    index.record(clicks_on("new-a", users[:1]))
    assert scores_for(index, users) != plain
    index.forget(users[0], 10**9)
    assert_same_scores(scores_for(index, users), plain)


def spam(name, model, packed):
    """An item whose vector gives every user a score of about 1000."""
    users = model.hybrid.backbone.vectors[0]
    vector = np.linalg.lstsq(users, np.ones(len(users)), rcond=None)[0]
    encoding = load(packed[0]) | {"folded": (1000 * vector).astype(np.float32)}
    return ItemState(Item(name, {"title": "x"}, "x", "x", "mallory"), pack(encoding))


def test_a_crafted_text_cannot_flood_the_top_lists(model, texts, packed):
    crafted = spam("spam", model, packed)
    users = [str(user) for user in model.fitted.user_ids.values]

    def exposure(max_exposure):
        index = Index(model, max_exposure=max_exposure, max_owner_share=1.0)
        index.apply({"spam": crafted})
        requests = [ListRequest(user=user, k=TOP, exclude_seen=False) for user in users]
        lists = index.recommend(requests)
        return np.mean([any(hit.item == "spam" for hit in hits) for hits in lists])

    assert exposure(1.0) > 0.5  # without the cap, it floods the lists
    assert exposure(0.1) <= 0.1 + 1e-9


def test_one_owner_cannot_fill_a_list(model, texts, packed):
    index = Index(model, max_exposure=1.0, max_owner_share=0.3)
    index.apply({f"spam-{n}": spam(f"spam-{n}", model, packed) for n in range(40)})
    user = str(model.fitted.user_ids.values[0])
    (hits,) = index.recommend([ListRequest(user=user, k=10)])
    assert sum(hit.item.startswith("spam") for hit in hits) <= 3


def test_all_allowed_items_of_one_owner_need_a_minimum_of_cold_items(model, texts, packed):
    index = Index(model, max_owner_share=0.5)
    names = tuple(f"mine-{n}" for n in range(10))
    index.apply({name: spam(name, model, packed) for name in names})
    user = str(model.fitted.user_ids.values[0])
    (hits,) = index.recommend([ListRequest(user=user, k=10, allow=names)])
    assert len(hits) == 5
    (hits,) = index.recommend([ListRequest(user=user, k=10, allow=names, cold_share_min=1)])
    assert len(hits) == 10


def test_an_unknown_user_gets_a_list_by_history(model):
    index, items = Index(model), [str(i) for i in model.fitted.catalogue.item_ids.values]
    warm = [items[row] for row in np.flatnonzero(model.fitted.warm)[:3]]
    hits, error = index.recommend(
        [ListRequest(history=tuple(warm), k=5), ListRequest(history=("no such item",), k=5)]
    )
    assert len(hits) == 5
    assert not {hit.item for hit in hits} & set(warm)
    assert isinstance(error, UnknownUserError)
    assert "no known user has interacted with any of these items" in str(error)


def test_lists_obey_the_options_of_the_request(model, texts, packed):
    index = Index(model)
    index.apply({name: state_of(name, texts, packed, n) for n, name in enumerate(NAMES)})
    user = str(model.fitted.user_ids.values[0])

    def recommend(**options):
        (hits,) = index.recommend([ListRequest(user=user, **options)])
        return hits

    plain = recommend(k=10)
    assert [hit.score for hit in plain] == sorted((hit.score for hit in plain), reverse=True)
    denied = plain[0].item
    assert denied not in {hit.item for hit in recommend(k=10, deny=(denied,))}
    assert {hit.item for hit in recommend(k=10, allow=("new-a", "new-b"))} <= {"new-a", "new-b"}
    assert all(hit.is_cold for hit in recommend(k=5, cold_share_min=1.0))
    assert not any(hit.is_cold for hit in recommend(k=5, cold_share_max=0.0))
    half = recommend(k=10, cold_share_min=0.5, cold_share_max=0.5)
    assert sum(hit.is_cold for hit in half) == 5
    seen = set(index.history(user))
    assert seen
    assert not seen & {hit.item for hit in recommend(k=50)}
    assert seen & {hit.item for hit in recommend(k=500, exclude_seen=False)}
    evidence = recommend(k=3, explain=True)[0].evidence
    assert {row["item"] for row in evidence["similar_in_history"]} <= seen


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.floats(-5, 5, width=32) | st.just(float("nan")), min_size=1, max_size=60),
    k=st.integers(1, 12),
    least=st.floats(0, 1),
    most=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_select_list_obeys_its_rules(scores, k, least, most, seed):
    least, most = min(least, most), max(least, most)
    rng, values = np.random.default_rng(seed), np.array(scores, np.float32)
    cold = rng.random(len(values)) < 0.5
    ranked = np.flatnonzero(~np.isnan(values))
    ties = rng.permutation(len(values)).astype(np.uint64)
    candidates = Candidates(ranked, ranked, values[ranked], cold[ranked], ties[ranked])
    chosen = select_list(candidates, lambda _: None, ListRules(k, least, most, 1.0)).columns
    picked = values[chosen]
    equal = np.diff(picked) == 0
    assert (np.diff(ties[chosen].astype(int))[equal] > 0).all()
    assert (np.diff(picked) <= 0).all()
    assert len(set(chosen)) == len(chosen) <= k
    n_cold = int(cold[chosen].sum())
    assert n_cold <= np.floor(most * k)
    n_cold_items = int((cold & ~np.isnan(values)).sum())
    assert n_cold >= min(np.ceil(least * k), np.floor(most * k), n_cold_items)
    if least == 0 and most == 1:
        best = np.sort(values[~np.isnan(values)])[::-1][:k]
        assert np.array_equal(picked, best)


def test_only_interactions_before_an_erasure_are_forgotten(model, texts, packed):
    """The follower may read a later interaction before the erasure."""
    index = Index(model)
    index.apply({name: state_of(name, texts, packed, n) for n, name in enumerate(NAMES[:2])})
    user = str(model.fitted.user_ids.values[0])
    trained = index.history(user)
    before, early = clicks_on("new-a", [user]), clicks_on("new-c", [user, "stranger"])
    later = [*clicks_on("new-b", [user, "stranger"]), *clicks_on("new-c", ["stranger"])]
    index.record([*before, *early, *later])
    for each in (user, "stranger"):
        index.forget(each, early[-1].number)
    assert index.history(user) == [*trained, "new-b"]
    assert [index.clicks_of(name) for name in NAMES] == [0, 2, 1]
    index.apply({"new-c": state_of("new-c", texts, packed, 2)})
    assert index.history("stranger") == ["new-b", "new-c"]

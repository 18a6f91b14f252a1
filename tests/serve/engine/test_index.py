"""The index is a function of artefact and store, whatever came in between."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warmstart.serve.engine.encodings import encode_and_place, pack, unpack
from warmstart.serve.engine.index import TOP, Index
from warmstart.serve.engine.lists import ListRequest, ListRules, UnknownUserError, select_list
from warmstart.serve.storage.store import Item, ItemState

NAMES = ["new-a", "new-b", "new-c"]


@pytest.fixture(scope="module")
def model(model_folder, lm_folder):
    import warmstart as ws
    from warmstart.artefact import read_manifest
    from warmstart.lm import TextEncoder

    spec = read_manifest(model_folder)["lm"]
    return ws.load_model(
        model_folder, lm=TextEncoder.from_spec(spec, source=str(lm_folder), use_cache=False)
    )


@pytest.fixture(scope="module")
def texts(toy_data):
    return list(toy_data.catalogue.texts[:6])


@pytest.fixture(scope="module")
def packed(model, texts):
    return [pack(encoding) for encoding in encode_and_place(model, texts)]


def stored(name, texts, packed, which, users=(), *, deleted=False):
    item = Item(name, {"title": texts[which]}, texts[which], str(which), "owner", deleted=deleted)
    return ItemState(item, packed[which], frozenset(users))


def seen_by(index, users):
    """What every user gets, with scores."""
    asks = [ListRequest(user=user, k=500, exclude_seen=False) for user in users]
    return [{hit.item: hit.score for hit in hits} for hits in index.recommend(asks)]


def same(one, other):
    for mine, theirs in zip(one, other, strict=True):
        assert mine.keys() == theirs.keys()
        for name, score in mine.items():
            assert score == pytest.approx(theirs[name], rel=1e-4, abs=1e-5)


def test_scores_are_the_models_where_nothing_was_cut(model):
    index = Index(model, max_exposure=1.0)
    users = model.fitted.user_ids.values[:7]
    rows = np.arange(7, dtype=np.int32)
    scores = model.score(rows, np.arange(len(model.fitted.catalogue), dtype=np.int32))
    names = model.fitted.catalogue.item_ids.values
    for row, got in enumerate(seen_by(index, users)):
        for item, score in got.items():
            expected = scores[row, names.index(item)]
            assert score == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_new_item_scores_as_if_added_to_the_model(model, model_folder, lm_folder, texts, packed):
    import warmstart as ws
    from warmstart.lm import TextEncoder

    lm = TextEncoder.from_spec(model.fitted.lm_spec, source=str(lm_folder), use_cache=False)
    grown = ws.load_model(model_folder, lm=lm)
    grown.add_items({"item": ["new-a"], "title": [""], "text": [texts[0]]})
    index = Index(model, max_exposure=1.0)
    index.apply({"new-a": stored("new-a", texts, packed, 0)})
    users = model.fitted.user_ids.values[:5]
    same(seen_by(index, users), seen_by(Index(grown, max_exposure=1.0), users))


change = st.tuples(
    st.sampled_from([*NAMES, "BASE"]),
    st.integers(0, 5),
    st.frozensets(st.integers(0, 7), max_size=4),
    st.booleans(),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(change, max_size=12))
def test_any_sequence_of_changes_comes_to_the_same_as_a_rebuild(model, texts, packed, changes):
    users = model.fitted.user_ids.values
    base = str(model.fitted.catalogue.item_ids.values[int(np.flatnonzero(~model.fitted.warm)[0])])
    followed, last = Index(model), {}
    for name, which, clickers, deleted in changes:
        named = base if name == "BASE" else name
        who = [*(str(users[row]) for row in clickers), *(["stranger"] if which == 3 else [])]
        last[named] = stored(named, texts, packed, which, who, deleted=deleted)
        followed.apply({named: last[named]})
    rebuilt = Index(model)
    rebuilt.apply(last)
    same(seen_by(followed, users[:6]), seen_by(rebuilt, users[:6]))
    assert followed.counts() == rebuilt.counts()
    for name in last:
        assert followed.entry(name).users == rebuilt.entry(name).users


def test_an_item_warms_up_without_a_jump(model, texts, packed):
    users = [str(user) for user in model.fitted.user_ids.values]
    index, before, moved = Index(model, prior_strength=10.0), None, []
    for clicks in range(30):
        index.apply({"new-a": stored("new-a", texts, packed, 0, users[:clicks])})
        now = np.array([got["new-a"] for got in seen_by(index, users)])
        if before is not None:
            moved.append(np.abs(now - before).max())
        before = now
    entry = index.entry("new-a")
    assert index.click_weight(entry) == pytest.approx(29 / 39)
    spread = np.concatenate([list(got.values()) for got in seen_by(index, users[:5])]).std()
    assert max(moved) < 3 * spread
    assert moved[-1] < max(moved)  # each click counts for less than the ones before


def test_without_clicks_it_is_the_simulation_exactly(model, texts, packed):
    users = [str(user) for user in model.fitted.user_ids.values]
    index = Index(model)
    index.apply({"new-a": stored("new-a", texts, packed, 0)})
    plain = seen_by(index, users)
    index.apply({"new-a": stored("new-a", texts, packed, 0, ["u-unknown"])})
    assert seen_by(index, users) == plain  # a stranger's click moves no vector
    index.apply({"new-a": stored("new-a", texts, packed, 0, users[:1])})
    assert seen_by(index, users) != plain
    index.apply({"new-a": stored("new-a", texts, packed, 0)})
    same(seen_by(index, users), plain)


def spam(name, model, packed):
    """An item whose vector is what pleases everybody, a thousand times over."""
    users = model.hybrid.backbone.vectors[0]
    pleasing = np.linalg.lstsq(users, np.ones(len(users)), rcond=None)[0]
    encoding = unpack(packed[0]) | {"folded": (1000 * pleasing).astype(np.float32)}
    return ItemState(Item(name, {"title": "x"}, "x", "x", "mallory"), pack(encoding), frozenset())


def test_a_crafted_text_cannot_flood_the_top_lists(model, texts, packed):
    crafted = spam("spam", model, packed)
    users = [str(user) for user in model.fitted.user_ids.values]

    def reached(claim):
        index = Index(model, max_exposure=claim, max_owner_share=1.0)
        index.apply({"spam": crafted})
        asks = [ListRequest(user=user, k=TOP, exclude_seen=False) for user in users]
        lists = index.recommend(asks)
        return np.mean([any(hit.item == "spam" for hit in hits) for hits in lists])

    assert reached(1.0) > 0.5  # without the bound it would
    assert reached(0.1) <= 0.1 + 1e-9


def test_one_owner_cannot_fill_a_list(model, texts, packed):
    index = Index(model, max_exposure=1.0, max_owner_share=0.3)
    index.apply({f"spam-{n}": spam(f"spam-{n}", model, packed) for n in range(40)})
    user = str(model.fitted.user_ids.values[0])
    (hits,) = index.recommend([ListRequest(user=user, k=10)])
    assert sum(hit.item.startswith("spam") for hit in hits) <= 3


def test_an_unknown_user_is_answered_by_history(model):
    index, items = Index(model), [str(i) for i in model.fitted.catalogue.item_ids.values]
    warm = [items[row] for row in np.flatnonzero(model.fitted.warm)[:3]]
    hits, nothing = index.recommend(
        [ListRequest(history=tuple(warm), k=5), ListRequest(history=("no such item",), k=5)]
    )
    assert len(hits) == 5
    assert not {hit.item for hit in hits} & set(warm)
    assert isinstance(nothing, UnknownUserError)


def test_lists_obey(model, texts, packed):
    index = Index(model)
    index.apply({name: stored(name, texts, packed, n) for n, name in enumerate(NAMES)})
    user = str(model.fitted.user_ids.values[0])

    def ask(**how):
        (hits,) = index.recommend([ListRequest(user=user, **how)])
        return hits

    plain = ask(k=10)
    assert [hit.score for hit in plain] == sorted((hit.score for hit in plain), reverse=True)
    denied = plain[0].item
    assert denied not in {hit.item for hit in ask(k=10, deny=(denied,))}
    assert {hit.item for hit in ask(k=10, allow=("new-a", "new-b"))} <= {"new-a", "new-b"}
    assert all(hit.is_cold for hit in ask(k=5, cold_share_min=1.0))
    assert not any(hit.is_cold for hit in ask(k=5, cold_share_max=0.0))
    half = ask(k=10, cold_share_min=0.5, cold_share_max=0.5)
    assert sum(hit.is_cold for hit in half) == 5
    seen = set(index.history(user))
    assert seen
    assert not seen & {hit.item for hit in ask(k=50)}
    assert seen & {hit.item for hit in ask(k=500, exclude_seen=False)}
    why = ask(k=3, explain=True)[0].evidence
    assert {row["item"] for row in why["similar_in_history"]} <= seen


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.floats(-5, 5, width=32) | st.just(float("nan")), min_size=1, max_size=60),
    k=st.integers(1, 12),
    least=st.floats(0, 1),
    most=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_choose_keeps_its_rules(scores, k, least, most, seed):
    least, most = min(least, most), max(least, most)
    rng, values = np.random.default_rng(seed), np.array(scores, np.float32)
    cold = rng.random(len(values)) < 0.5
    chosen = select_list(values, cold, lambda _: None, ListRules(k, least, most, 1.0))
    picked = values[chosen]
    assert not np.isnan(picked).any()
    assert (np.diff(picked) <= 0).all()
    assert len(set(chosen)) == len(chosen) <= k
    n_cold = int(cold[chosen].sum())
    assert n_cold <= np.floor(most * k)
    there = int((cold & ~np.isnan(values)).sum())
    assert n_cold >= min(np.ceil(least * k), np.floor(most * k), there)
    if least == 0 and most == 1:
        best = np.sort(values[~np.isnan(values)])[::-1][:k]
        assert np.array_equal(picked, best)

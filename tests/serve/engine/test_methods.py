"""Every method that can be served: library and service give the same scores."""

import numpy as np
import pytest

import warmstart as ws
from tests.serve.encoding import encode_texts
from tests.serve.engine.clicks import clicks_by, clicks_on
from warmstart.artefact import read_manifest
from warmstart.config import Config
from warmstart.core import Recommender, Traits
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.lm import TextEncoder
from warmstart.methods import METHODS, method
from warmstart.servable import Servable
from warmstart.serve.engine.encodings import pack
from warmstart.serve.engine.index import Index
from warmstart.serve.engine.lists import ListRequest, UnknownUserError
from warmstart.serve.storage.records import Item, ItemState
from warmstart.testing.tiny_lm import tiny_causal

IALS = {"kind": "ials", "width": 8, "epochs": 3}
BPR = {"kind": "bpr", "width": 8, "epochs": 3}
EASE = {"kind": "ease", "l2": 5}
RIDGE = {"l2": 1.0}
SHORT = {
    **{"introduction": "this person chose", "question": "choose", "answer": "answer"},
    **{"history_length": 3, "title_tokens": 3, "n_candidates": 4},
}
MODELS = {
    "cf_only[ials]": lambda: ws.CFOnly(backbone=IALS),
    "cf_only[bpr]": lambda: ws.CFOnly(backbone=BPR),
    "cf_only[ease]": lambda: ws.CFOnly(backbone=EASE),
    "ease_text": lambda: ws.EaseText(ease={"l2": 5}, ridge=RIDGE),
    "ease_text[linear]": lambda: ws.EaseText(ridge={"kernel": "linear", "l2": 1}),
    "text_ridge": lambda: ws.TextRidge(**RIDGE),
    "text_to_vector[ials]": lambda: ws.TextToVector(backbone=IALS, ridge=RIDGE),
    "text_ridge[landmarks]": lambda: ws.TextRidge(landmarks=20, **RIDGE),
    "filterllm[ials]": lambda: ws.FilterLLM(backbone=IALS, ridge=RIDGE, epochs=1, width=8),
    "filterllm[bpr]": lambda: ws.FilterLLM(
        backbone=BPR, ridge=RIDGE, epochs=0, width=8, cold_score="fold_in"
    ),
    "filterllm[ease]": lambda: ws.FilterLLM(backbone=EASE, ridge=RIDGE, epochs=0, width=8),
    "content_mean": lambda: ws.ContentMean(),
    "a_llmrec": lambda: ws.ALLMRec(
        backbone={"width": 8, "heads": 1, "epochs": 2},
        alignment={"width": 8, "epochs": 2},
        tuning={"epochs": 1, "head_width": 8, **SHORT},
    ),
    "item_knn": lambda: ws.ItemKNN(neighbours=40),
    "sasrec": lambda: ws.SasRec(width=8, epochs=2, heads=1),
    "gru4rec": lambda: ws.Gru4Rec(width=8, epochs=2),
    "fism": lambda: ws.Fism(width=8, epochs=2),
    "coldllm[bpr]": lambda: ws.ColdLLM(
        backbone=BPR, filter={"signals": "content", "ridge": RIDGE}, judge=None
    ),
}
FOLDS_IN = {name for name in MODELS if "bpr" not in name}
WITHOUT_TEXTS = sorted(
    name for name in MODELS if name.startswith(("cf_only", "item_knn", "sasrec", "gru4rec", "fism"))
)


@pytest.fixture(scope="session")
def causal(tmp_path_factory, toy_data):
    words = {word for text in toy_data.catalogue.texts for word in text.split()}
    folder = tiny_causal(tmp_path_factory.mktemp("causal") / "lm", sorted(words))
    return ws.load_causal_lm(ws.CausalLMConfig(source=str(folder)))


@pytest.fixture(scope="session")
def saved(tmp_path_factory, lm_folder, causal, toy_split):
    """Artefacts by name, fitted when they are first asked for."""
    folder, made = tmp_path_factory.mktemp("served"), {}

    def save(name):
        if name not in made:
            model = MODELS[name]()
            lm = ws.load_encoder(ws.LMConfig(source=str(lm_folder)), use_cache=False)
            fitted = model.fit(toy_split.train, encoder=lm, lm=causal)
            made[name] = fitted.save(folder / str(len(made)))
        return made[name]

    return save


@pytest.fixture
def load(saved, lm_folder, causal):
    def load(name):
        folder = saved(name)
        spec = read_manifest(folder)["lms"].get("encoder")
        lm = spec and TextEncoder.from_spec(spec, source=str(lm_folder), use_cache=False)
        return ws.load_model(folder, encoder=lm, lm=causal)

    return load


@pytest.fixture
def texts(toy_data):
    return list(toy_data.catalogue.texts[:4])


def written(name, text, encoded):
    item = Item(name, {"text": text}, text, f"hash of {text}", "shop")
    return ItemState(item, pack(encoded.encoding))


def place(index, texts, users=()):
    """Add the items new-0, new-1, ... with these texts, clicked by these users."""
    encoded = encode_texts(index.model, texts)
    index.apply(
        {
            f"new-{at}": written(f"new-{at}", text, one)
            for at, (text, one) in enumerate(zip(texts, encoded, strict=True))
        }
    )
    for at in range(len(texts)):
        index.record(clicks_on(f"new-{at}", users))


def lists(index, users=(), histories=()):
    """The scores of all items that each user, or history, can get."""
    requests = [ListRequest(user=str(user), k=500, exclude_seen=False) for user in users]
    requests += [
        ListRequest(history=tuple(map(str, items)), k=500, exclude_seen=False)
        for items in histories
    ]
    return [{hit.item: hit.score for hit in hits} for hits in index.recommend(requests)]


def asked(model, n=5):
    """Some users, and the histories of warm items by which unknown users are asked for."""
    users = np.flatnonzero(np.diff(model.fitted.positives.indptr) > 2)[:n].astype(np.int32)
    return users, model.fitted.histories.take(users)


def assert_scored_as(found, names, expected):
    """Lists have the expected scores, and no item whose expected score is NaN."""
    for scores, line in zip(found, expected, strict=True):
        finite = {name: x for name, x in zip(names, line.tolist(), strict=True) if x == x}
        assert scores.keys() == finite.keys()
        scale = max(map(abs, finite.values()))
        for name, score in scores.items():
            assert score == pytest.approx(finite[name], rel=1e-4, abs=1e-5 * scale), name


def test_the_table_has_every_method_that_can_be_served():
    served = {name for name in METHODS if issubclass(method(name), Servable)}
    served.remove("rta")  # learns from dialogues: api/test_converse_rta.py
    assert {name.partition("[")[0] for name in MODELS} == served


@pytest.mark.parametrize("name", MODELS)
def test_served_scores_are_those_of_the_library(name, load, texts):
    """For known users and for histories, old items and new ones."""
    model, grown = load(name), load(name)
    index = Index(model, max_exposure=1.0)
    place(index, texts)
    new = {"item": [f"new-{at}" for at in range(len(texts))], "text": texts}
    grown.add_items({**new, "title": [""] * len(texts)})
    users, histories = asked(model)
    ids = grown.fitted.catalogue.item_ids
    items = np.arange(len(ids), dtype=np.int32)
    names = [str(item) for item in ids.values]
    by_user = lists(index, users=model.fitted.user_ids.take(users))
    assert_scored_as(by_user, names, grown.score(Queries.of_users(users), items))
    given = [ids.take(history) for history in histories]
    by_history = lists(index, histories=given)
    assert_scored_as(by_history, names, grown.score(Queries.of_histories(histories), items))
    assert ("new-0" in by_user[0]) == (name not in WITHOUT_TEXTS)
    one = lists(index, histories=given[:1])
    assert_scored_as(one, names, grown.score(Queries.of_histories(histories), items)[:1])
    if name in FOLDS_IN:  # a known user's history gives nearly the known user's list
        best = [max(scores, key=scores.get) for scores in (by_user[0], by_history[0])]
        ranks = sorted(by_history[0], key=by_history[0].get, reverse=True)
        assert ranks.index(best[0]) < 10


@pytest.mark.parametrize("name", MODELS)
def test_a_rebuilt_index_has_the_same_scores(name, load, texts):
    model = load(name)
    users = [str(user) for user in model.fitted.user_ids.values]
    followed, rebuilt = Index(model), Index(load(name))
    place(followed, texts[:2])
    place(followed, texts, users[:3])
    place(followed, texts[:3], users[:5])
    place(rebuilt, texts, users[:3])
    place(rebuilt, texts[:3], users[:5])
    _, histories = asked(model)
    given = [model.fitted.catalogue.item_ids.take(history) for history in histories]
    given.append([*given[0], "new-0", "new-3"])
    expected = lists(rebuilt, users[:4], given)
    for scores, other in zip(lists(followed, users[:4], given), expected, strict=True):
        assert scores == pytest.approx(other, rel=1e-4, abs=1e-5)
    assert followed.counts() == rebuilt.counts()


@pytest.mark.parametrize("name", MODELS)
def test_a_new_item_in_a_history_counts_through_its_users(name, load, texts):
    model = load(name)
    index = Index(model, max_exposure=1.0)
    place(index, texts[:1])
    ids = model.fitted.catalogue.item_ids
    warm = [str(item) for item in ids.take(np.flatnonzero(model.fitted.warm)[:2])]
    request = ListRequest(history=("new-0",), k=500)
    (found,) = index.recommend([request])
    if name in WITHOUT_TEXTS:  # nobody is likely to like it, as far as the model knows
        assert isinstance(found, UnknownUserError)
    else:
        assert found
    clicked = [str(user) for user in model.fitted.user_ids.take(asked(model, 3)[0])]
    place(index, texts[:1], clicked)
    (alone,) = lists(index, histories=[["new-0"]])
    known = lists(index, users=clicked)
    for item in warm:  # a weighted mean of the users who clicked it
        scores = [line[item] for line in known]
        assert min(scores) - 1e-5 <= alone[item] <= max(scores) + 1e-5
    before, both = (lists(index, histories=[given])[0] for given in (warm, [*warm, "new-0"]))
    assert both[warm[0]] != pytest.approx(before[warm[0]], rel=1e-4)
    if name in FOLDS_IN:  # in proportion to the numbers of items
        for item in warm:
            expected = (2 * before[item] + alone[item]) / 3
            assert both[item] == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", WITHOUT_TEXTS)
def test_without_texts_an_item_is_scored_from_its_first_click_on(name, load, texts):
    model, grown = load(name), load(name)
    users = [str(user) for user in model.fitted.user_ids.values]
    index = Index(model)
    place(index, texts[:2])
    entry = index.entry("new-0")
    assert not entry.is_scored
    assert entry.click_weight == entry.exposure_penalty == 0
    assert all("new-0" not in scores for scores in lists(index, users))
    place(index, texts[:1], ["nobody known"])
    assert not index.entry("new-0").is_scored
    clicks = users[:3]
    place(index, texts[:1], clicks)
    entry = index.entry("new-0")
    assert entry.is_scored
    assert entry.click_weight == 1
    row = grown.add_items({"item": ["new-0"], "text": [""], "title": [""]})["row"][0]
    grown.fold_in(ws.Interactions.from_arrays([0, 1, 2], [row] * 3))
    expected = grown.score(Queries.of_users(np.arange(len(users))), np.array([row]))[:, 0]
    has_history = np.diff(model.fitted.positives.indptr) > 0
    for at in np.flatnonzero(has_history).tolist():
        (scores,) = lists(index, users[at : at + 1])
        assert scores["new-0"] == pytest.approx(expected[at], rel=1e-4, abs=1e-6)
        assert "new-1" not in scores
    for user in clicks:
        index.forget(user, 10**9)
    assert not index.entry("new-0").is_scored
    assert all("new-0" not in scores for scores in lists(index, users))


def test_clicks_lift_the_penalty_where_they_teach_nothing_else(load, texts):
    model = load("text_ridge")
    users = [str(user) for user in model.fitted.user_ids.values]
    index, uncapped = (
        Index(model, max_exposure=0.02, prior_strength=4),
        Index(model, max_exposure=1.0),
    )
    for each in (index, uncapped):
        place(each, texts[:1])
    penalty = index.entry("new-0").exposure_penalty
    assert penalty > 0
    for clicks in (0, 2, 12):
        place(index, texts[:1], users[:clicks])
        expected = penalty * 4 / (4 + clicks)
        for capped, free in zip(lists(index, users[:6]), lists(uncapped, users[:6]), strict=True):
            assert free["new-0"] - capped["new-0"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert index.entry("new-0").click_weight == pytest.approx(12 / 16)


def test_an_item_without_text_is_not_scored_by_a_method_of_texts(load, texts):
    """It can only come from a store that served a method without texts before."""
    index = Index(load("ease_text"))
    (encoded,) = encode_texts(index.model, [""])
    index.apply({"new-0": written("new-0", "", encoded)})
    assert not index.entry("new-0").is_scored
    user = str(index.model.fitted.user_ids.values[0])
    assert "new-0" not in lists(index, [user])[0]


def test_the_model_is_not_changed(load, texts):
    model = load("filterllm[ials]")
    cold = str(model.fitted.catalogue.item_ids.take(np.flatnonzero(~model.fitted.warm)[:1])[0])
    before = {name: array.copy() for name, array in model._state().items()}
    index = Index(model)
    (encoded,) = encode_texts(model, texts[:1])
    index.apply({cold: written(cold, texts[0], encoded)})
    index.record(clicks_on(cold, index.model.fitted.user_ids.values[:2]))
    lists(index, model.fitted.user_ids.values[:3], [[cold]])
    for name, array in model._state().items():
        np.testing.assert_array_equal(array, before[name])


# -- a method whose score is state @ item vector --


class NoSettings(Config):
    """A method without settings."""


class LastItem(Servable):
    """The state of a history is the vector of its last item; there is no text model."""

    name, config_type = "last_item", NoSettings
    traits = Traits(
        reads=frozenset({"order"}), cold_items="none", answers=frozenset({"user", "history"})
    )

    def _fit(self, data, context):
        self._vectors = np.random.default_rng(0).normal(size=(data.n_items, 5)).astype(np.float32)

    def _user_states(self, users):
        return self._history_states(self.fitted.histories.take(users), None)

    def _history_states(self, histories, similar):
        known = histories.where(self.fitted.warm[histories.items])
        return self._vectors[known.padded(1, padding=0)[:, 0]]

    def warm_items(self, items):
        return self._vectors[items]

    def _score_warm(self, states, items):
        return states @ items.T

    def _add_items(self, items):
        pass

    def _state(self):
        return {"vectors": self._vectors}

    def _restore(self, state, lm):
        self._vectors = state["vectors"]


def test_a_method_of_states_and_vectors_needs_a_few_lines(toy_split, texts):
    model = LastItem().fit(toy_split.train)
    index = Index(model)
    place(index, texts[:1])
    users, histories = asked(model)
    ids, warm = model.fitted.catalogue.item_ids, np.flatnonzero(model.fitted.warm)
    names = [str(item) for item in ids.take(warm)]
    expected = model.score(Queries.of_users(users), warm.astype(np.int32))
    assert_scored_as(lists(index, model.fitted.user_ids.take(users)), names, expected)
    given = [ids.take(history) for history in histories]
    assert_scored_as(lists(index, histories=given), names, expected)
    backwards = [items[::-1] for items in given]  # the order of a request is kept
    last = Histories.from_lists([history[::-1] for history in histories])
    expected = model.score(Queries.of_histories(last), warm.astype(np.int32))
    assert_scored_as(lists(index, histories=backwards), names, expected)
    clicked = [str(user) for user in model.fitted.user_ids.values[:2]]
    place(index, texts[:1], clicked)
    assert not index.entry("new-0").is_scored  # it learns nothing from clicks either
    assert index.entry("new-0").click_weight > 0


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_recorded_clicks_are_a_history_in_their_order(name, load, texts):
    """For a user without training interactions, and for a known one after those of training."""
    model = load(name)
    index = Index(model)
    ids = model.fitted.catalogue.item_ids
    chosen = [str(item) for item in ids.take(np.flatnonzero(model.fitted.warm)[[2, 9, 5]])]
    (known,) = [str(user) for user in model.fitted.user_ids.take(asked(model, 1)[0])]
    for user in ("somebody", known):
        trained = [] if user == "somebody" else index.history(user)
        for order in ([0, 1, 2], [2, 0, 1]):
            recorded = [chosen[at] for at in order]
            index.record(clicks_by(user, recorded))
            assert index.history(user)[-3:] == recorded
            before = [item for item in trained if item not in recorded]
            expected = lists(index, histories=[[*before, *recorded]])[0]
            assert lists(index, [user])[0] == pytest.approx(expected, rel=1e-5)
            index.forget(user, 10**9)


def test_recommenders_that_lack_the_ability_are_no_servable():
    assert not issubclass(Recommender, Servable)
    assert not issubclass(method("popular"), Servable)

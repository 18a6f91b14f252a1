"""What the base class provides, tested on a recommender whose scores are set by hand."""

import copy
import pickle
import re
import tracemalloc
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from warmstart.abilities import AddsItems, Simulates, require
from warmstart.config import Config
from warmstart.core import LanguageModels, Recommender, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
from warmstart.data.queries import Queries
from warmstart.data.ratings import Ratings
from warmstart.errors import (
    ConfigError,
    DataError,
    DataWarning,
    NotFittedError,
    UnsupportedError,
    WarmstartError,
)
from warmstart.methods.popular import Popular, PopularConfig
from warmstart.methods.random import Random
from warmstart.run import Run


class Inner(Config):
    """A nested configuration.

    Attributes:
        epochs: chosen by the fit.
        width: not chosen.
    """

    epochs: int = 9
    width: int = 4


class LookupConfig(Config):
    """Settings of lookup.

    Attributes:
        inner: a nested configuration.
        scale: chosen by the fit.
        fails: whether the fit raises.
    """

    inner: Inner = Inner()
    scale: float = 1.0
    fails: bool = False


class Lookup(Recommender, AddsItems, Simulates):
    """Looks scores up in a table, and records the arguments of its fit."""

    name = "lookup"
    config_type = LookupConfig
    # Not personal: a user without history is ranked for like any other.
    traits = Traits(reads=frozenset(), cold_items="prior", personal=False)
    table = np.zeros((0, 0), np.float32)

    def _fit(self, data, context):
        self.context = context
        self.drawn = context.rng.integers(2**40)
        self.texts = []
        if self.config.fails:
            raise MemoryError("no more")
        if context.valid is not None:
            self.fitted.choices = {"inner": {"epochs": 3}, "scale": 2.5}

    def _score_users(self, users, items):
        return self.table[np.ix_(users, items)]

    def simulate_texts(self, texts, k):
        users = np.tile(np.arange(k), len(texts))
        weights = np.tile(np.linspace(1, 0.1, k), len(texts))
        return Interactions.from_arrays(
            users, np.repeat(np.arange(len(texts)), k), weights=weights, provenance=self.name
        )

    def _add_items(self, items):
        self.texts += list(items.texts)
        new = np.full((len(self.table), len(items)), 0.5, np.float32)
        self.table = np.concatenate([self.table, new], axis=1)

    def _state(self):
        return {}

    def _restore(self, state, lm): ...


def catalogue(names, texts=None):
    texts = tuple(texts or [f"text of {name}" for name in names])
    return Catalogue(Ids(names, "item"), texts, None, pl.DataFrame({"title": texts}), ("title",))


def dataset(matrix, items=None, users=None):
    matrix = np.asarray(matrix)
    users = users or [f"u{n}" for n in range(len(matrix))]
    items = items or [f"i{n}" for n in range(matrix.shape[1])]
    events = Interactions.from_arrays(*np.nonzero(matrix))
    return Dataset("toy", Ids(users, "user"), catalogue(items), events)


MATRIX = np.array([[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]])


@pytest.fixture
def model():
    """Three users, three warm items, two cold ones; the third user has no history."""
    model = Lookup().fit(dataset(MATRIX))
    model.table = np.array(
        [[9, 8, 3, 4, np.nan], [1, 2, 3, 4, 5], [0.5, 0.25, -1, 0, -2]], np.float32
    )
    return model


# -- construct and fit --


def test_the_constructor_takes_a_configuration_or_single_settings():
    assert Lookup().config == LookupConfig()
    assert Lookup(LookupConfig(scale=3)).config.scale == 3
    assert Lookup(scale=3, inner={"width": 8}).config.inner == Inner(width=8)
    with pytest.raises(ConfigError, match="lookup: give a config or single settings, not both"):
        Lookup(LookupConfig(), scale=3)
    with pytest.raises(ConfigError, match="lookup: config must be a LookupConfig, got PopularConf"):
        Lookup(PopularConfig())
    with pytest.raises(ConfigError, match=r"inner\.width"):
        Lookup(inner={"width": "wide"})


def test_fit_passes_its_arguments_on(tmp_path):
    data, run = dataset(MATRIX), Run(tmp_path)
    model = Lookup().fit(
        data, rng=np.random.default_rng(5), run=run, lm="a causal LM", encoder="an encoder"
    )
    assert model.context.run is run
    assert model.context.models == LanguageModels()
    assert model.fitted.lms == {}  # its traits do not need one
    assert model.drawn == Lookup().fit(data, rng=5).drawn
    assert model.drawn != Lookup().fit(data, rng=6).drawn
    assert Lookup().fit(data).context.run.folder is None


@pytest.mark.parametrize(
    ("role", "given", "message"),
    [
        ("encoder", {}, r"needs a text encoder, got encoder=None; pass load_encoder\(\)"),
        ("encoder", {"encoder": "default"}, r"got a str; pass load_encoder\(\)"),
        ("causal", {"encoder": "default"}, r"needs a causal language model, got lm=None"),
        ("causal", {"lm": 3}, r"got a int; pass load_causal_lm\(\)"),
    ],
)
def test_what_is_no_language_model_is_refused_before_anything_is_fitted(role, given, message):
    class Reads(Lookup):
        traits = Traits(reads=frozenset(), cold_items="prior", needs=frozenset({role}))

    with pytest.raises(ConfigError, match=message):
        Reads(fails=True).fit(dataset(MATRIX), **given)


def test_a_failed_fit_leaves_the_model_unfitted(model):
    broken = Lookup(fails=True)
    with pytest.raises(MemoryError):
        broken.fit(dataset(MATRIX))
    with pytest.raises(NotFittedError, match="lookup: call fit or load first"):
        broken.recommend(["u0"])
    model.config = LookupConfig(fails=True)
    with pytest.raises(MemoryError):
        model.fit(dataset(MATRIX))
    with pytest.raises(NotFittedError):
        _ = model.fitted


def test_no_interactions_are_refused_before_anything_else():
    with pytest.raises(DataError, match="lookup: 'toy' has no training interactions"):
        Lookup(fails=True).fit(dataset(np.zeros((2, 2))))


def test_data_without_what_a_method_learns_from_are_refused():
    class Rated(Lookup):
        traits = Traits(reads=frozenset({"ratings"}), cold_items="prior")

    class Spoken(Lookup):
        traits = Traits(reads=frozenset({"dialogues"}), cold_items="prior")

    data = dataset(MATRIX)
    ratings = Ratings(*np.zeros((2, 1), np.int32), np.ones(1, np.float32))
    for method, lacking, message in (
        (Rated, data, "learns from liked and disliked items, but 'toy' has no ratings"),
        (Rated, replace(data, ratings=ratings), "but 'toy' has no positive_rating; give a column"),
        (Spoken, data, "lookup: learns from dialogues, but 'toy' has none"),
    ):
        with pytest.raises(DataError, match=message):
            method().fit(lacking)
    Rated().fit(replace(data, ratings=ratings, positive_rating=1.0))


def test_a_method_that_scores_histories_answers_known_users_by_theirs():
    class Newest(Lookup):
        """Scores the item after the newest one of the history 1."""

        traits = Traits(
            reads=frozenset({"order"}), cold_items="none", answers=frozenset({"history"})
        )

        def _score_users(self, users, items):
            return Recommender._score_users(self, users, items)

        def _score_histories(self, histories, items):
            newest = histories.padded(1, padding=-9)
            return (newest + 1 == items).astype(np.float32)

    model = Newest().fit(dataset(MATRIX))
    assert model.answers == {"user", "history"}
    given = Queries(np.array([0, 1, -1], np.int32), Histories.from_lists([[], [0], [3]]))
    items = np.arange(5, dtype=np.int32)
    assert model.score(given, items).argmax(axis=1).tolist() == [2, 1, 4]
    assert model.score(Queries.of_users([0, 1]), items).argmax(axis=1).tolist() == [2, 3]


def test_chosen_fills_in_the_choices_and_keeps_the_other_settings():
    start = Lookup(inner={"width": 7}, scale=9.0)
    valid = {}
    assert start.fit(dataset(MATRIX), valid=valid).chosen == LookupConfig(
        inner=Inner(epochs=3, width=7), scale=2.5
    )
    assert start.config == LookupConfig(inner=Inner(width=7), scale=9.0)
    assert start.fit(dataset(MATRIX)).chosen == start.config


def test_an_unfitted_recommender_can_be_copied_and_its_errors_name_fit():
    for again in (copy.deepcopy(Popular()), pickle.loads(pickle.dumps(Popular()))):
        assert again.config == PopularConfig()
        with pytest.raises(NotFittedError, match="popular: call fit"):
            again.score(Queries.of_users([0]), np.arange(1))
    with pytest.raises(AttributeError, match="'Popular' object has no attribute 'nonsense'"):
        _ = Popular().nonsense
    with pytest.raises(AttributeError, match="_nonsense"):
        _ = Popular().fit(dataset(MATRIX))._nonsense


def test_all_errors_are_ours():
    for error in (ConfigError, DataError, NotFittedError, UnsupportedError):
        assert issubclass(error, WarmstartError)


# -- recommend --


def rows(frame):
    return [tuple(row) for row in frame.iter_rows()]


def test_recommend_by_hand(model):
    found = model.recommend(["u1", "u0"], 2)
    assert rows(found) == [
        ("u1", "i4", 5.0, 1, True),
        ("u1", "i3", 4.0, 2, True),
        ("u0", "i3", 4.0, 1, True),  # i0 and i1 are seen
        ("u0", "i2", 3.0, 2, False),
    ]
    assert found.schema == {
        "user": pl.String,
        "item": pl.String,
        "score": pl.Float32,
        "rank": pl.Int32,
        "is_cold": pl.Boolean,
    }


def test_exclude_seen_false_allows_seen_items(model):
    assert rows(model.recommend(["u0"], 2, exclude_seen=False))[0][:3] == ("u0", "i0", 9.0)


def test_a_list_ends_when_no_item_can_be_scored(model):
    found = model.recommend(["u0", "u2"], 5)
    assert found.filter(user="u0")["item"].to_list() == ["i3", "i2"]  # two seen, one NaN
    assert found.filter(user="u2")["item"].to_list() == ["i0", "i1", "i3", "i2", "i4"]
    assert found["rank"].to_list() == [1, 2, 1, 2, 3, 4, 5]


def test_candidates_are_an_allow_list_or_the_cold_items_or_both(model):
    assert model.recommend(["u1"], 1, items=["i0", "i2", "i0"], exclude_seen=False)["item"][0] == (
        "i2"
    )
    assert model.recommend(["u1"], 2, only_cold=True)["item"].to_list() == ["i4", "i3"]
    assert model.recommend(["u1"], 1, items=["i0", "i3"], only_cold=True)["item"][0] == "i3"
    with pytest.warns(DataWarning, match=r"1 user\(s\) get no list.*there are no candidates"):
        none = model.recommend(["u1"], 1, items=["i0"], only_cold=True)
    assert none.is_empty()
    assert none.schema == model.recommend(["u1"], 1).schema


def test_a_user_whom_popularity_ranks_gets_no_cold_items_and_the_reason():
    model = Random().fit(dataset(MATRIX))
    with pytest.warns(DataWarning) as caught:
        found = model.recommend(["u2", "u0"], 2, only_cold=True, on_unknown="popular")
    assert set(found["user"]) == {"u0"}
    assert [str(warning.message) for warning in caught] == [
        "recommend: 1 user(s) get no list, the first: ['u2']; they have no training interactions, "
        "and none of the candidates has any, so popularity cannot rank them"
    ]
    with pytest.warns(DataWarning) as caught:
        model.recommend(["nobody", "u0"], items=["i1"], on_unknown="popular")
    assert [str(warning.message) for warning in caught] == [
        "recommend: 1 user(s) get no list, the first: ['u0']; every candidate was seen or cannot "
        "be scored, or no list is as the control asks"
    ]


def test_messages_name_arguments_as_the_command_line_does_too(model):
    with pytest.raises(DataError, match='on_unknown "popular" gives') as caught:
        model.recommend(["nobody"])
    assert "='" not in str(caught.value)


# -- copies --


def test_a_shallow_copy_has_its_own_items_and_a_refit_its_own_data(model):
    other = copy.copy(model)
    assert (other.config, other.recommend(["u1"], 3).rows()) == (
        model.config,
        model.recommend(["u1"], 3).rows(),
    )
    other.add_items(catalogue(["n0", "n1"]))
    assert (len(model.fitted.catalogue), len(other.fitted.catalogue)) == (5, 7)
    assert (model.texts, other.texts) == ([], ["text of n0", "text of n1"])
    assert len(model.recommend(["u2"], 9)) == 5
    model.add_items(catalogue(["m0"]))
    assert other.fitted.catalogue.item_ids.values[5:] == ["n0", "n1"]
    assert isinstance(copy.copy(Popular()), Popular)
    with pytest.raises(NotFittedError):
        _ = copy.copy(Popular()).fitted


def test_users_may_repeat_or_be_empty(model):
    twice = model.recommend(["u2", "u2"], 1)
    assert rows(twice) == [("u2", "i0", 0.5, 1, False)] * 2
    none = model.recommend([], 1)
    assert none.is_empty()
    assert none.schema == twice.schema


def test_integer_ids_stay_integers():
    model = Lookup().fit(dataset(MATRIX, items=[50, 40, 30, 20, 10], users=[3, 2, 1]))
    model.table = np.tile(np.arange(5, dtype=np.float32), (3, 1))
    found = model.recommend(np.array([1, 3]), 1)
    assert rows(found) == [(1, 10, 4.0, 1, True), (3, 10, 4.0, 1, True)]
    assert (found["user"].dtype, found["item"].dtype) == (pl.Int64, pl.Int64)
    assert model.recommend([], 1)["user"].dtype == pl.Int64
    with pytest.raises(DataError, match=r"users '3'; allowed: integers, as all"):
        model.recommend(["3"], 1)


def test_ties_have_the_same_order_in_every_request(model):
    model.table = np.zeros((3, 5), np.float32)
    order = model.recommend(["u2"], 5)["item"].to_list()
    assert sorted(order) == ["i0", "i1", "i2", "i3", "i4"]
    for k in (1, 3):
        assert model.recommend(["u2"], k)["item"].to_list() == order[:k]
    assert model.recommend(["u0", "u2"], 5).filter(user="u2")["item"].to_list() == order


@pytest.mark.filterwarnings("ignore:.*get no list:warmstart.errors.DataWarning")
@given(st.data())
def test_recommend_sorts_the_unmasked_items(data):
    n_users, n_items = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    matrix = rng.random((n_users, n_items)) < 0.4
    matrix[0, 0] = True
    model = Lookup().fit(dataset(matrix))
    model.table = rng.normal(size=matrix.shape).astype(np.float32)
    model.table[rng.random(matrix.shape) < 0.2] = np.nan
    users = data.draw(st.lists(st.integers(0, n_users - 1), max_size=4))
    k = data.draw(st.integers(1, n_items + 3))
    memory = data.draw(st.sampled_from([1e-6, 1e-4, 256]))
    seen = data.draw(st.booleans())
    found = model.recommend([f"u{u}" for u in users], k, exclude_seen=seen, memory_mb=memory)
    expected = []
    for user in users:
        left = [
            i
            for i in range(n_items)
            if not np.isnan(model.table[user, i]) and not (seen and matrix[user, i])
        ]
        left.sort(key=lambda i: -model.table[user, i])
        expected += [(f"u{user}", f"i{i}", rank + 1) for rank, i in enumerate(left[:k])]
    assert rows(found.select("user", "item", "rank")) == expected


# -- add items --


def test_added_items_are_cold_and_unseen_and_keep_their_columns(model):
    new = catalogue(["n0", "n1"], ["a book", ""])
    added = model.add_items(new)
    assert rows(added) == [("n0", 5, True), ("n1", 6, False)]
    assert added.schema == {"item": pl.String, "row": pl.Int32, "has_text": pl.Boolean}
    fitted = model.fitted
    assert len(fitted.catalogue) == 7
    assert fitted.catalogue.columns["title"].to_list()[5:] == ["a book", ""]
    assert fitted.warm.tolist() == [True] * 3 + [False] * 4
    assert fitted.positives.shape == (3, 7)
    assert fitted.positives.nnz == 4
    assert model.texts == ["a book", ""]
    assert rows(model.recommend(["u2"], 1, items=["n1", "i2"]))[0] == ("u2", "n1", 0.5, 1, True)
    assert model.recommend(["u2"], 4, only_cold=True)["item"].to_list()[:2] != ["i3", "i4"]


def test_adding_does_not_change_the_training_data():
    data = dataset(MATRIX)
    model = Lookup().fit(data)
    before = sparse.csr_matrix(data.matrix, copy=True)
    model.add_items(catalogue(["n0"]))
    assert (len(data.catalogue), data.warm.shape) == (5, (5,))
    assert data.matrix.shape == before.shape
    assert (data.matrix != before).nnz == 0


def test_known_items_are_refused_and_nothing_changes(model):
    with pytest.raises(DataError, match=r"1 item id\(s\) are already in the catalogue: \['i1'\]"):
        model.add_items(catalogue(["n0", "i1"]))
    assert (len(model.fitted.catalogue), model.texts, model.table.shape) == (5, [], (3, 5))
    with pytest.raises(DataError, match="all int or all str"):
        model.add_items(catalogue([7]))
    assert (len(model.fitted.catalogue), model.texts) == (5, [])


# -- simulate --


def test_simulate_names_items_and_users_by_their_ids(model):
    found = model.simulate(["i4", "i0"], 2)
    assert rows(found) == [
        ("i4", "u0", 1.0, 1, "lookup"),
        ("i4", "u1", pytest.approx(0.1), 2, "lookup"),
        ("i0", "u0", 1.0, 1, "lookup"),
        ("i0", "u1", pytest.approx(0.1), 2, "lookup"),
    ]
    assert found.schema == {
        "item": pl.String,
        "user": pl.String,
        "weight": pl.Float32,
        "rank": pl.Int32,
        "provenance": pl.String,
    }
    outside = model.simulate(catalogue(["z"]), 1)
    assert rows(outside) == [("z", "u0", 1.0, 1, "lookup")]
    assert "z" not in model.fitted.catalogue.item_ids
    assert model.simulate([], 1).schema == found.schema


@pytest.mark.parametrize("k", [0, -1, 2.0, True, "3"])
def test_a_wrong_k_is_refused(model, k):
    with pytest.raises(DataError, match=f"simulate: k must be a whole number from 1, got {k!r}"):
        model.simulate(["i0"], k)
    with pytest.raises(DataError, match=f"recommend: k must be a whole number from 1, got {k!r}"):
        model.recommend(["u0"], k)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), None, "a", 0, -1, True, 1j])
def test_a_wrong_memory_is_refused(model, value):
    message = rf"recommend: memory_mb must be a finite number above 0, got {re.escape(repr(value))}"
    with pytest.raises(ConfigError, match=message):
        model.recommend(["u0"], memory_mb=value)


def test_any_memory_above_0_is_enough(model):
    expected = model.recommend(["u0", "u2"], 3)
    for value in (1e-300, np.float32(0.5), 1, 10**300, 1.7e308):
        assert model.recommend(["u0", "u2"], 3, memory_mb=value).equals(expected)


@pytest.mark.parametrize("value", [-1, 1.5, "a", None, True, np.random.RandomState(0)])
def test_a_wrong_generator_is_refused(value):
    with pytest.raises(ConfigError, match=r"lookup: fit: rng must be a numpy Generator or a whole"):
        Lookup().fit(dataset(MATRIX), rng=value)


@pytest.mark.parametrize("k", [10**9, 2**63, 10**20, np.int64(2**62)])
def test_a_k_of_any_size_takes_no_more_memory_than_the_candidates(model, k):
    tracemalloc.start()
    try:
        assert model.recommend(["u2"], k)["rank"].to_list() == [1, 2, 3, 4, 5]
        assert model.recommend(["u2"], k, items=["i0"])["rank"].to_list() == [1]
        assert model.simulate(["i0"], k)["rank"].to_list() == [1, 2, 3]
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


def test_a_k_above_the_number_of_users_or_items_gives_fewer_rows(model):
    assert model.simulate(["i0"], 9)["rank"].to_list() == [1, 2, 3]
    assert model.recommend(["u2"], 9)["rank"].to_list() == [1, 2, 3, 4, 5]


def test_an_ability_that_is_missing_is_named():
    model = Random().fit(dataset(MATRIX))
    assert require(model, AddsItems, "add items") is model
    with pytest.raises(UnsupportedError, match="random cannot simulate"):
        require(model, Simulates, "simulate")

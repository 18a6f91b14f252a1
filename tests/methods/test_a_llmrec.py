"""a_llmrec as a method: what the contract checks do not ask."""

import numpy as np
import pytest

from warmstart import run as run_module
from warmstart.backbones.next_item import next_item_state
from warmstart.collaborative_lm.prompts import PromptConfig
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.errors import ConfigError, DataError, DataWarning, UnsupportedError
from warmstart.methods import a_llmrec, load_model
from warmstart.methods.a_llmrec import PAPER, ALLMRec
from warmstart.run import Run
from warmstart.testing.case import Fixtures
from warmstart.testing.small_settings import METHOD_SETTINGS


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory):
    return Fixtures(tmp_path_factory.mktemp("a-llmrec"))


@pytest.fixture(scope="module")
def case(fixtures):
    return fixtures.case(ALLMRec, METHOD_SETTINGS["a_llmrec"])


def with_scoring(case, scoring):
    return case.loaded().with_scoring(scoring)


def test_scoring_does_not_change_what_is_trained(case, tmp_path):
    """The four ways of scoring are settings of one trained model: one run trains it once."""
    run = Run(tmp_path)
    model = case.fit(run=run)
    before = set(tmp_path.iterdir())
    settings = {**case.settings, "scoring": "likelihood"}
    other = ALLMRec(ALLMRec.config_type.build(settings))
    case.fit(model=other, run=run)
    assert set(tmp_path.iterdir()) == before
    np.testing.assert_array_equal(other._item_rows, model._item_rows)


def test_vectors_of_users_are_resumed_in_blocks(case, tmp_path, monkeypatch):
    """A fit that is interrupted among the users computes only the others again."""
    read = run_module.resumable_rows
    asked = []

    def counted(self, histories):
        asked.append(len(histories))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return rows_of(self, histories)

    rows_of = ALLMRec._rows_of

    def interrupted(compute, n, folder):
        monkeypatch.setattr(ALLMRec, "_rows_of", counted)
        return read(compute, n, folder, at_once=10)

    monkeypatch.setattr(a_llmrec, "resumable_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        case.fit(run=Run(tmp_path))
    monkeypatch.setattr(ALLMRec, "_rows_of", rows_of)
    resumed = case.fit(run=Run(tmp_path))
    assert asked[:4] == [10] * 4
    assert sum(asked[4:]) == case.world.data.n_users - 30
    np.testing.assert_allclose(resumed._user_rows, case.model._user_rows, atol=1e-4)


def test_both_stages_leave_the_backbone_bitwise_as_it_was(case, tmp_path):
    run = Run(tmp_path)
    model = case.fit(run=run)
    alone = ALLMRec(
        ALLMRec.config_type.build(
            {
                **case.settings,
                "scoring": "alignment",
                "alignment": {**case.settings["alignment"], "epochs": 1},
            }
        )
    )
    case.fit(model=alone, run=run)
    first, second = (next_item_state(m._backbone) for m in (model, alone))
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)


@pytest.mark.parametrize("scoring", ["likelihood", "generation"])
def test_titles_change_the_order_of_the_best_items_only(case, scoring):
    model, users = with_scoring(case, scoring), case.world.active_users
    items = np.arange(40, dtype=np.int32)
    before, after = (m.score(Queries.of_users(users), items) for m in (case.model, model))
    n = model.config.tuning.n_candidates
    had = case.world.data.matrix[users][:, items].toarray() > 0  # never in a question
    best = np.argsort(-np.where(np.isnan(before) | had, -9e9, before), axis=1, kind="stable")
    for row in range(len(users)):
        np.testing.assert_array_equal(after[row, best[row, n:]], before[row, best[row, n:]])
        assert sorted(after[row, best[row, :n]]) == sorted(before[row, best[row, :n]])
    assert not np.array_equal(before, after, equal_nan=True)


def test_candidates_of_each_query_may_come_in_any_order(case):
    model, rng = with_scoring(case, "likelihood"), np.random.default_rng(0)
    users = case.world.active_users[:10]
    items = np.stack([rng.permutation(48)[:4] for _ in users]).astype(np.int32)
    turned = model.score(Queries.of_users(users), items[:, ::-1].copy())[:, ::-1]
    found = model.score(Queries.of_users(users), items)
    np.testing.assert_array_equal(np.argsort(-turned, axis=1), np.argsort(-found, axis=1))


def test_a_history_of_new_items_alone_is_answered_by_their_texts(case):
    model, world = case.model, case.world
    cold = np.flatnonzero(~world.data.warm & world.data.catalogue.has_text)
    warm = np.flatnonzero(world.data.warm).astype(np.int32)
    for parity in (0, 1):
        history = cold[world.item_parity[cold] == parity][:4]
        scores = model.score(Queries.of_histories(Histories.from_lists([history])), warm)[0]
        same = world.item_parity[warm] == parity
        assert scores[same].mean() > scores[~same].mean()


def test_the_order_of_a_history_changes_its_scores(case):
    items = np.flatnonzero(case.world.data.warm).astype(np.int32)
    histories = Histories.from_lists([items[:3], items[:3][::-1]])
    scores = case.model.score(Queries.of_histories(histories), items)
    assert np.abs(scores[0] - scores[1]).max() > 1e-3


def test_a_history_of_an_added_item_alone_gets_a_list(case):
    """Nobody has had the item, but its text tells something."""
    model = case.loaded()
    text = model.fitted.catalogue.texts[int(np.flatnonzero(model.fitted.catalogue.has_text)[0])]
    ids = model.fitted.catalogue.item_ids
    added = 10**6 if ids.is_integer else "added"
    columns = {name: [""] for name in model.fitted.catalogue.text_columns}
    model.add_items({"item": [added], **columns, model.fitted.catalogue.text_columns[0]: [text]})
    assert len(model.recommend(histories=[[added]], k=3)) == 3


def test_questions_in_words(case):
    users = Queries.of_users([*case.world.active_users[:3], case.world.empty_user, -1])
    found = case.model.text_likelihoods(users, "this person chose", ["even", "odd one"])
    assert found.shape == (5, 2)
    assert np.isnan(found).any(axis=1).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("question", "answers", "message"),
    [
        ("this", ["even", " "], "answers has ' '"),
        ("this", [], r"answers has \[\]"),
        ("this", "even", "answers has 'even'"),
        ("this", ["even", None], "answers has None"),
        ("  ", ["even"], "question is '  '"),
        (None, ["even"], "question is None"),
    ],
)
def test_wrong_questions_are_refused(case, question, answers, message):
    with pytest.raises(DataError, match=message):
        case.model.text_likelihoods(Queries.of_users([0]), question, answers)


def test_wrong_queries_are_refused(case):
    with pytest.raises(DataError, match="user 9999; allowed: rows from 0 to"):
        case.model.text_likelihoods(Queries.of_users([9999]), "this", ["even"])
    with pytest.raises(DataError, match="allowed: Queries"):
        case.model.text_likelihoods(["u1"], "this", ["even"])
    with pytest.raises(UnsupportedError, match="cannot answer a query by text"):
        case.model.text_likelihoods(Queries.of_texts(["hello"]), "this", ["even"])


def test_what_the_lm_cannot_read_is_refused_before_anything_is_trained(case, monkeypatch):
    def trained(*_):
        raise AssertionError("the backbone was trained first")

    monkeypatch.setattr(a_llmrec, "fit_next_item", trained)
    for settings in ({"history_length": 45}, {"n_candidates": 90}, {"title_tokens": 60}):
        tuning = {**case.settings["tuning"], **settings}
        model = ALLMRec(ALLMRec.config_type.build({**case.settings, "tuning": tuning}))
        with pytest.raises(ConfigError, match=r"prompts: .* the LM reads at most 64"):
            case.fit(model=model)
    tuning = {**case.settings["tuning"], "n_candidates": 90, "question_rate": 0}
    model = ALLMRec(ALLMRec.config_type.build({**case.settings, "tuning": tuning}))
    with pytest.raises(AssertionError, match="trained first"):  # no question, no candidates
        case.fit(model=model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tuning": {"retrieval_weight": 0}}, "without a loss"),
        ({"tuning": {"retrieval_weight": 0, "question_rate": 1, "title_weight": 0}}, "without a"),
        ({"warm_weights": {"backbone": 0, "lm": 0, "text": 0}}, "warm_weights are all 0"),
        (
            {"scoring": "alignment", "cold_weights": {"backbone": 0, "lm": 1, "text": 0}},
            "cold_weights are all 0",
        ),
        (
            {"backbone": {"max_length": 5}, "tuning": {"history_length": 6}},
            r"tuning.history_length is 6, .* newest 5 events \(backbone.max_length\)[^{]*$",
        ),
    ],
)
def test_settings_that_leave_nothing_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ALLMRec.config_type.build(settings)


def test_without_a_causal_lm_there_is_nobody_to_ask(fixtures):
    case = fixtures.case(ALLMRec, METHOD_SETTINGS["a_llmrec/ridge"], "a_llmrec/ridge")
    assert case.model.needs == {"encoder"}
    with pytest.raises(UnsupportedError, match="no causal LM to ask"):
        case.model.text_likelihoods(Queries.of_users([0]), "this", ["even"])


def test_known_users_need_no_language_model(case):
    """Their vectors are computed by the fit: a plain list is one product."""
    model = load_model(case.saved)
    users = case.world.active_users
    found = model.score(Queries.of_users(users), np.arange(20, dtype=np.int32))
    np.testing.assert_allclose(found, case.scores[users][:, :20], rtol=1e-5, atol=1e-6)
    assert model._prompts is None


def test_the_published_settings():
    assert PAPER.tuning.question_rate == 1
    assert PAPER.tuning.retrieval_weight == 0
    assert PAPER.tuning.n_candidates == 20
    assert PAPER.alignment.recommendation_loss == "bce"
    assert PAPER.backbone.temperature is None
    assert PromptConfig().history_length == 10


def test_scoring_is_exchanged_only_where_the_lm_was_trained(case):
    assert with_scoring(case, "likelihood").config.scoring == "likelihood"
    assert case.model.config.scoring == "retrieval"
    with pytest.raises(UnsupportedError, match="in place of each other"):
        case.model.with_scoring("alignment")
    with pytest.raises(ConfigError, match="scoring"):
        case.model.with_scoring("best")


def test_an_item_of_which_nothing_is_known_changes_no_list(case):
    model, ids = case.loaded(), case.world.data.catalogue.item_ids.values
    new, columns = "added", {name: [""] for name in model.fitted.catalogue.text_columns}
    with pytest.warns(DataWarning, match="no text"):
        model.add_items({"item": [new], **columns})
    alone = model.recommend(histories=[[ids[0], ids[1]]], k=4, exclude_seen=False)
    beside = model.recommend(histories=[[new, ids[0], ids[1]]], k=4, exclude_seen=False)
    assert alone["item"].to_list() == beside["item"].to_list()
    np.testing.assert_allclose(alone["score"], beside["score"], atol=1e-5)


def test_added_items_with_the_titles_of_old_ones_do_not_fill_the_lists(case):
    """Without a cold slice of validation nothing calibrates the weights of cold items."""
    data = case.world.data
    model = ALLMRec(ALLMRec.config_type.build({**case.settings, "scoring": "alignment"}))
    model.fit(data, encoder=case.model._texts.encoder, rng=0)
    warm = np.flatnonzero(data.warm)
    frame = data.catalogue.take(warm).columns
    new = [f"added {n}" for n in range(len(warm))]
    texts = {name: frame[name].to_list() for name in data.catalogue.text_columns}
    with pytest.warns(DataWarning, match="1 of 48 items has no text"):
        model.add_items({"item": new, **texts})
    found = model.recommend(
        list(data.user_ids.values), k=10, exclude_seen=False, on_unknown="ignore"
    )
    share = found["item"].is_in(new).mean()
    assert 0.2 < share < 0.8

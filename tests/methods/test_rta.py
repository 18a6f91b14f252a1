from dataclasses import replace

import numpy as np
import pytest

import warmstart as ws
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.errors import ConfigError, DataError
from warmstart.methods import load_model
from warmstart.rank import mean_metric
from warmstart.testing.case import rows

FISM = {"kind": "fism", "width": 16, "epochs": 5}
OFF = dict.fromkeys(("lm", "query_regression", "mentioned", "co_mention", "similar_requests"))
TEXTS = ("User: a book about rail journeys", "User: i liked trains\nSystem: more?\nUser: yes")


@pytest.fixture(scope="module")
def split():
    return ws.split(ws.synthetic_dialogues(rng=np.random.default_rng(0)), "dialogues")


@pytest.fixture(scope="module")
def encoder():
    return ws.load_encoder()


@pytest.fixture(scope="module")
def model(split, encoder):
    fitted = ws.RTA(lm=None, mentioned=FISM, bias={"steps": 30})
    return fitted.fit(split.train, valid=split.validation(), encoder=encoder)


def ndcg(model, split):
    return mean_metric(model.score, split.tasks("test")["all"], "ndcg@10")


def test_plain_lists_run_no_language_model(model, monkeypatch):
    def refuse(*_):
        raise AssertionError("a language model is run")

    monkeypatch.setattr(type(model._texts), "encode", refuse)
    histories = [[model.fitted.catalogue.item_ids.values[0]]]
    assert len(model.recommend(histories=histories, k=3)) == 3
    with pytest.raises(AssertionError, match="a language model is run"):
        model.recommend(texts=["User: hello"], k=3)


def test_conversation_states_score_as_texts_do(model):
    histories = Histories.from_lists([[1, 5], []])
    items = rows(len(model.fitted.catalogue))
    expected = model.score(Queries.of_texts(TEXTS, histories), items)
    states = model.conversation_states(TEXTS, histories)
    found = model.score_item_rows(states, model.cold_rows(items))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_parts_help_and_the_bias_of_other_items_hurts(split, encoder, model, monkeypatch):
    words, biased = (
        ws.RTA(**OFF, mentioned_texts=False, bias={"kind": kind, "steps": 30}).fit(
            split.train, encoder=encoder
        )
        for kind in ("absent", "additive")
    )
    right = ndcg(biased, split)
    assert ndcg(model, split) > 1.1 * max(right, ndcg(words, split))
    order = np.random.default_rng(0).permutation(len(model.fitted.catalogue))
    monkeypatch.setitem(biased._rows, "biases", biased._rows["biases"][order])
    assert ndcg(biased, split) < right, "the bias of other items does not hurt"


def test_a_new_item_has_the_bias_of_its_genres(model, tmp_path):
    grown = load_model(model.save(tmp_path / "rta"), encoder=ws.load_encoder())
    genre = grown._genre_names[0]
    titles = ["A new one", "Another one"]
    new = {
        "item": ["new-1", "new-2"],
        "title": titles,
        "text": ["Of all.", "Of none."],
        "genres": [genre, "unheard of"],
    }
    added = grown.add_items(new)["row"].to_numpy()
    own = grown._parts.bias.shared[0, 0]
    np.testing.assert_allclose(grown._rows["biases"][added, 0], [own, 0], rtol=1e-5)
    listed = grown.recommend(texts=["User: hello"], k=500)["item"].to_list()
    assert {"new-1", "new-2"} <= set(listed)
    assert grown.mentioned_items(["User: I have read A new one"]) == [["new-1"]]


def test_parts_that_are_off_are_not_fitted(split, encoder):
    found = ws.RTA(**OFF, bias={"steps": 5}).fit(split.train, encoder=encoder)
    assert found._gates.gates[0].parts == ("bias", "content")
    with pytest.raises(ConfigError, match="one of lm, text and mentioned_texts"):
        ws.RTA(lm=None, text=False, mentioned_texts=False)


def test_data_without_dialogues_are_refused(split, encoder):
    with pytest.raises(DataError, match="learns from dialogues"):
        ws.RTA(lm=None).fit(replace(split.train, dialogues=None), encoder=encoder)

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import warmstart as ws
from warmstart.conversation.query_texts import newest_turns
from warmstart.data.queries import Queries
from warmstart.data.splits.dialogue_split import requests_of
from warmstart.methods import load_model
from warmstart.testing.case import rows
from warmstart.testing.worlds.checkerboard import checkerboard, world_encoder
from warmstart.testing.worlds.dialogues import dialogue_world

text = pytest.importorskip("sklearn.feature_extraction.text", reason="needs the extra tfidf")

TFIDF = {"kind": "tfidf", "stop_words": None}
ASKED = (
    "User: i want four eight",
    "User: i liked odd book\nSystem: try the six story\nUser: yes pair of two",
    "User: nothing here is known",
)


@pytest.fixture(scope="module")
def data():
    return dialogue_world().split.train


@pytest.fixture(scope="module")
def tfidf(data):
    return ws.TextSearch(**TFIDF).fit(data)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return world_encoder(tmp_path_factory.mktemp("lm"))


@pytest.fixture(params=["encoder", "tfidf"])
def model(request, data, encoder):
    """A model of each kind that a test may change."""
    if request.param == "tfidf":
        return ws.TextSearch(**TFIDF).fit(data)
    return ws.TextSearch().fit(data, encoder=encoder)


def scores(model, texts, items=None):
    items = rows(len(model.fitted.catalogue)) if items is None else items
    return model.score(Queries.of_texts(texts), items)


def test_tfidf_scores_are_the_cosines_of_scikit_learn(data, tfidf):
    said = requests_of(data.dialogues).queries.texts
    corpus = [*data.catalogue.texts, *{newest_turns(each) for each in said}]
    vectorizer = text.TfidfVectorizer(sublinear_tf=True).fit(corpus)
    asked = vectorizer.transform([newest_turns(each) for each in ASKED])
    expected = (asked @ vectorizer.transform(data.catalogue.texts).T).toarray()
    np.testing.assert_allclose(scores(tfidf, ASKED), expected, atol=1e-6)
    assert expected[:2].max() > 0.3
    assert (scores(tfidf, ASKED)[2] == 0).all()


def test_encoder_scores_are_cosines_of_text_vectors(data, encoder):
    model = ws.TextSearch().fit(data, encoder=encoder)
    asked = encoder.encode([newest_turns(each) for each in ASKED])
    expected = asked @ encoder.encode(data.catalogue.texts).T
    np.testing.assert_allclose(scores(model, ASKED), expected, atol=1e-6)


def test_only_the_newest_turns_are_read(model):
    model.config = model.config.model_copy(update={"turns": 1})
    long, last = ASKED[1], ASKED[1].splitlines()[-1]
    np.testing.assert_array_equal(scores(model, [long]), scores(model, [last]))
    model.config = model.config.model_copy(update={"turns": 2})
    assert (scores(model, [long]) != scores(model, [last])).any()


def test_the_names_of_speakers_are_not_read(model):
    by_others = [text.replace("User:", "System:") for text in ASKED]
    np.testing.assert_array_equal(scores(model, ASKED), scores(model, by_others))


def test_words_of_training_dialogues_count(data, tfidf):
    """A word of no item is known from the dialogues; without any, the items' words are enough."""
    words = tfidf._state()["words"].tobytes().decode().split("\n")
    assert {"liked", "four", "book"} <= set(words)
    assert words == sorted(words)
    alone = ws.TextSearch(**TFIDF).fit(replace(data, dialogues=None))
    words = alone._state()["words"].tobytes().decode().split("\n")
    assert "liked" not in words
    assert "four" in words


def test_english_stop_words_are_not_read(data, tfidf):
    model = ws.TextSearch(kind="tfidf").fit(data)
    assert (scores(model, ["User: the six of four"]) == 0).all()
    assert (scores(tfidf, ["User: the six of four"]) > 0).any()


def test_new_items_are_scored_by_the_words_of_the_fit(model, data):
    world = checkerboard()
    new = model.add_items(world.new_items((0, 1)))["row"].to_numpy()
    texts = [model.fitted.catalogue.texts[row] for row in new]
    found = scores(model, [f"User: {text}" for text in texts], new)
    assert (found.argmax(axis=1) == [0, 1]).all()
    np.testing.assert_allclose(np.diagonal(found), 1, atol=1e-5)  # asked for by its own words


def test_a_mentioned_item_is_not_listed_again(model):
    title = model.fitted.catalogue.texts[3]
    text = f"User: i liked {title}"
    best = int(scores(model, [text])[0].argmax())
    assert model.fitted.catalogue.texts[best] == title  # it would be the first of the list
    found = model.recommend(texts=[text], k=5)["item"].to_list()
    mentioned = model.mentioned_items([text])[0]
    assert len(mentioned) == 1
    assert len(found) == 5
    assert not set(found) & set(mentioned)


def test_an_artefact_of_numbers_gives_equal_scores(model, encoder, tmp_path):
    assert all(array.dtype.kind in "fiu" for array in model._state().values())
    expected = scores(model, ASKED)
    needed = {"encoder": encoder} if model.needs else {}
    again = load_model(model.save(tmp_path / "model"), **needed)
    np.testing.assert_array_equal(scores(again, ASKED), expected)
    world = checkerboard()
    for each in (model, again):
        each.add_items(world.new_items((0, 1)))
    np.testing.assert_array_equal(scores(again, ASKED), scores(model, ASKED))


def test_what_is_missing_is_named(data, monkeypatch):
    with pytest.raises(ws.ConfigError, match="text encoder"):
        ws.TextSearch().fit(data)
    with pytest.raises(ws.UnsupportedError, match="cannot answer a query by user"):
        ws.TextSearch(**TFIDF).fit(data).score(Queries.of_users([0]), rows(2))
    silent = replace(data.catalogue, texts=("?",) * data.n_items)
    with pytest.raises(ws.DataError, match="no word of two or more letters is left in 24 texts"):
        ws.TextSearch(kind="tfidf").fit(replace(data, catalogue=silent, dialogues=None))
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(ws.UnsupportedError, match=r"scikit-learn.*warmstart\[tfidf\]"):
        ws.TextSearch(**TFIDF).fit(data)


def test_the_package_is_imported_by_tfidf_only():
    code = "import sys, warmstart as ws; ws.TextSearch(); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

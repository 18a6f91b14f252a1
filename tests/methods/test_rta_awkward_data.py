"""rta on data that are small or odd, and with parts left out."""

import warnings

import numpy as np
import pytest
from scipy import sparse

import warmstart as ws
from warmstart.conversation.bias import BiasConfig, fit_bias
from warmstart.data.readers.frames import from_frames
from warmstart.errors import DataError
from warmstart.testing.worlds.checkerboard import world_encoder
from warmstart.testing.worlds.dialogues import dialogue_world

ITEMS = {"item": ["a", "b"], "title": ["Odd book", "Six story"], "text": ["one", "two four"]}
ALONE = {"mentioned": None, "co_mention": None, "similar_requests": None, "query_regression": None}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return world_encoder(tmp_path_factory.mktemp("lm"))


def talk(*turns):
    """A dialogue, by the items of its turns; every second turn is one of the system."""
    speakers = ["user", "system"] * len(turns)
    said = [
        {"speaker": who, "text": "i want four", "items": items}
        for who, items in zip(speakers, turns, strict=False)
    ]
    return {"turns": said}


def data_of(*dialogues, items=ITEMS):
    named = [{"dialogue": f"d{n}", **one} for n, one in enumerate(dialogues)]
    return from_frames(None, items, dialogues=named)


def scores_of(model, **asked):
    found = model.recommend(**asked, k=100).sort("item")
    return found["score"].to_numpy()


def test_the_text_of_a_query_is_not_read_when_it_is_left_out(encoder):
    data = dialogue_world().split.train
    model = ws.RTA(lm=None, text=False, **ALONE, gate={"kind": "equal"}).fit(data, encoder=encoder)
    liked = [list(data.catalogue.item_ids.values[:2])]
    said = [
        scores_of(model, texts=[text], histories=liked)
        for text in ("User: i want four eight", "User: odd seven")
    ]
    np.testing.assert_array_equal(*said)


def test_the_texts_of_mentioned_items_are_not_read_when_they_are_left_out(encoder):
    data = dialogue_world().split.train
    settings = {**ALONE, "mentioned_texts": False, "gate": {"kind": "equal"}}
    model = ws.RTA(lm=None, **settings).fit(data, encoder=encoder)
    text, ids = ["User: i want four eight"], data.catalogue.item_ids.values
    found = [
        scores_of(model, texts=text, histories=[[ids[row]]], items=list(ids[4:]))
        for row in range(2)
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("kind", ["constant", "query"])
def test_the_requests_of_one_dialogue_have_equal_weights(encoder, kind):
    model = ws.RTA(lm=None, gate={"kind": kind}).fit(data_of(talk(["b"], ["a"])), encoder=encoder)
    found = model.recommend(texts=["User: hello"], k=2)
    assert len(found) == 2
    assert np.isfinite(found["score"].to_numpy()).all()


def test_dialogues_without_two_items_say_which_setting_helps(encoder):
    data = data_of(talk([], ["a"]), talk([], ["b"]))
    with pytest.raises(DataError, match="mentioned = none leaves this part out"):
        ws.RTA(lm=None).fit(data, encoder=encoder)
    model = ws.RTA(lm=None, mentioned=None).fit(data, encoder=encoder)
    assert np.isfinite(scores_of(model, texts=["User: four"])).all()


@pytest.mark.parametrize("method", [ws.RTA(lm=None), ws.NBCRS()])
def test_dialogues_in_which_nothing_is_recommended_are_refused(encoder, method):
    data = data_of(talk(["a", "b"], []), talk(["a"], ["a"]))
    with pytest.raises(DataError, match=r"no turn of the system has an item that was not"):
        method.fit(data, encoder=encoder)


def test_a_catalogue_of_one_item_gives_no_warning(encoder):
    items = {name: column[:1] for name, column in ITEMS.items()}
    data = data_of(talk([], ["a"]), talk([], ["a"]), items=items)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ws.RTA(lm=None, mentioned=None).fit(data, encoder=encoder)
    assert np.isfinite(scores_of(model, texts=["User: four"])).all()


def test_requests_that_are_all_too_old_to_count_leave_the_bias_finite():
    scores = np.eye(4, 20, dtype=np.float32)
    fitted = fit_bias(
        lambda rows: [scores[rows]], np.arange(4, dtype=np.int32), np.zeros(4, np.float32),
        np.ones(20, bool), sparse.csr_matrix((20, 0), dtype=np.float32), BiasConfig(steps=3),
        np.random.default_rng(0),
    )  # fmt: skip
    assert np.isfinite(fitted.temperatures).all()
    assert np.isfinite(fitted.own).all()

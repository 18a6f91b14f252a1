"""Lists under a control over HTTP: new items, clicks, and what is refused with which words."""

import pytest

import warmstart as ws
from warmstart.data.control import Control
from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service


def ask(client, **body):
    response = client.post("/v1/recommend", json={"with": ["categories"], **body})
    assert response.status_code == 200, response.text
    return response.json()["items"]


def refused(client, pointer="#/control", path="/v1/recommend", **body):
    response = client.post(path, json=body)
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert error["pointer"] == pointer
    assert error["detail"] == response.json()["detail"]
    return error["detail"]


def genres_of(hits):
    return {genre for hit in hits for genre in hit["columns"]["categories"].split("|")}


def up_to_date(status):
    return status["waiting"] == status["behind"] == 0


def test_a_new_item_stands_in_lists_by_its_genres(running, until, texts, user):
    assert running.get("/v1/model").json()["genre_column"] == "categories"
    new = {"id": "p-1", "columns": {"text": texts[0], "categories": ["noir, dark", "Ünïcode"]}}
    assert running.post("/v1/items", json={"items": [new]}).status_code == 202
    until("/v1/items/p-1", lambda item: item["state"] == "ready")
    control = {"genres": ["noir, dark", "Ünïcode"]}
    (hit,) = running.post("/v1/recommend", json={"user": user, "control": control}).json()["items"]
    assert (hit["item"], hit["is_cold"]) == ("p-1", True)
    five = ask(running, user=user, control={"n_genres": 5})
    assert len(genres_of(five)) == 5
    assert [hit["rank"] for hit in five] == [*range(1, len(five) + 1)]
    (explained,) = ask(running, user=user, k=1, control={"diversity": 0.2}, explain=True)
    assert explained["evidence"]["similar_in_history"]

    renamed = {"columns": {"text": texts[0], "categories": "comedy"}}
    running.put("/v1/items/p-1", json=renamed)
    until("/v1/status", up_to_date)
    assert ask(running, user=user, control={"genres": ["comedy"]})[0]["item"] == "p-1"
    running.delete("/v1/items/p-1")
    until("/v1/status", up_to_date)
    words = refused(running, user=user, control={"genres": ["comedy"]})
    assert words.startswith("control: unknown categories ['comedy']; allowed: ancient history, ")


def test_clicks_and_histories_count_for_calibration(running, until, user):
    plain = [hit["item"] for hit in ask(running, user=user, k=4)]
    events = [{"user": "guest", "item": item} for item in plain[:3]]
    running.post("/v1/interactions", json={"interactions": events})
    until("/v1/status", up_to_date)
    by_history = ask(running, history=plain[:3], control={"calibrate": True})
    assert by_history == ask(running, user="guest", control={"calibrate": True})
    (last,) = plain[3:]
    running.post("/v1/interactions", json={"interactions": [{"user": user, "item": last}]})
    until("/v1/status", up_to_date)
    listed = ask(running, user=user, k=40, control={"calibrate": True})
    assert last not in [hit["item"] for hit in listed]


@pytest.mark.parametrize(
    ("control", "words"),
    [
        ({"n_genres": 46}, "control: n_genres = 46, but the items have 45 categories; allowed: 1"),
        ({"genres": ["x", "crafts"]}, "control: unknown categories ['x']; allowed: ancient histo"),
        ({"n_genres": 45}, "exact_k: no list of at most 10 items has exactly 45 genres"),
    ],
)
def test_a_wish_that_cannot_be_met_gets_the_words_of_the_library(running, user, control, words):
    assert refused(running, user=user, control=control).startswith(words)
    with pytest.raises(ws.ConfigError) as error:
        Control.build({"genres": ["a"], "n_genres": 2})
    both = {"genres": ["a"], "n_genres": 2}
    answer = running.post("/v1/recommend", json={"user": user, "control": both}).json()
    assert answer["errors"][0]["detail"] in str(error.value)


def test_long_lists_and_unknown_users(running, user):
    control = {"n_genres": 2}
    words = refused(running, pointer="#/k", user=user, k=101, control=control)
    assert words == "k may be at most 100 with a control"
    assert ask(running, user=user, k=101, control={})
    assert running.post("/v1/recommend", json={"user": "x", "control": control}).status_code == 404


def test_no_wish_is_a_plain_list(running, user):
    plain = ask(running, user=user)
    assert plain == ask(running, user=user, control=None)
    assert plain == ask(running, user=user, control={})
    assert plain == ask(running, user=user, control={"calibrate": False, "n_genres": None})
    assert running.app.state.service.deployment.index.genres._changed is None


def test_items_without_genres_are_named(settings, lm_folder, toy_split, tmp_path):
    from starlette.testclient import TestClient

    train = toy_split.train
    bare = ws.from_frames(
        {
            "user": train.user_ids.take(train.interactions.users),
            "item": train.catalogue.item_ids.take(train.interactions.items),
        },
        {"item": train.catalogue.item_ids.values, "title": train.catalogue.columns["title"]},
        text=["title"],
    )
    lm = ws.load_encoder(ws.LMConfig(source=str(lm_folder)), use_cache=False)
    model = ws.EaseText(ease={"l2": 5}, ridge={"l2": 1.0}).fit(bare, encoder=lm)
    update = {"model": model.save(tmp_path / "bare"), "anonymous_read": True}
    with TestClient(create_app(Service(settings.model_copy(update=update)))) as client:
        assert client.get("/v1/model").json()["genre_column"] is None
        user = str(train.user_ids.values[0])
        words = refused(client, user=user, control={"diversity": 0.5})
        assert words == (
            "control: the items have no column genres, categories or tags; their columns are "
            "['title']"
        )

"""New items of click methods: predicted from genres, whatever their columns hold."""

import polars as pl
import pytest

import warmstart as ws
from warmstart import from_frames
from warmstart.data.queries import Queries


@pytest.fixture(scope="module")
def data():
    """Users 0, 2, ... like comedies, users 1, 3, ... horror films; the last of each is unrated."""
    films = [(f"c{n}", "comedy|film") for n in range(8)] + [
        (f"h{n}", "film|horror") for n in range(8)
    ]
    rows = [
        (f"u{user:02d}", item, 5 if (user % 2 == 0) == (item[0] == "c") else 1)
        for user in range(20)
        for item, _ in films
        if item not in ("c7", "h7") and (user + int(item[1])) % 4
    ]
    users, items, ratings = zip(*rows, strict=True)
    return from_frames(
        {"user": users, "item": items, "rating": ratings},
        {
            "item": [item for item, _ in films],
            "title": [f"film {item}" for item, _ in films],
            "genres": [genres for _, genres in films],
        },
        rating="rating",
        positive_rating=4.0,
    )


@pytest.mark.parametrize("method", [ws.LogisticCtr, ws.DeepFM, ws.DIN])
def test_a_new_item_is_predicted_from_the_genres_of_the_fit(data, method, tmp_path):
    model = method().fit(data, rng=0)
    new = pl.DataFrame(
        {"item": ["new", "other", "none"], "genres": ["horror|film|western", "western", None]}
    )
    model = ws.load_model(model.save(tmp_path / "model"))
    model.add_items(new)
    model.add_items(pl.DataFrame({"item": ["bare"], "title": ["a film"]}))
    fan = {"users": ["u01"], "items": ["h7", "new", "other", "none", "bare"], "k": 5}
    found = dict(zip(*model.recommend(**fan, exclude_seen=False)["item", "score"], strict=True))
    assert found["new"] == pytest.approx(found["h7"], rel=1e-5)
    assert found["other"] == found["none"] == found["bare"] < found["new"]
    again = ws.load_model(model.save(tmp_path / "grown"))
    again.add_items(pl.DataFrame({"item": ["last"], "genres": ["western|comedy"]}))
    rows = again.fitted.catalogue.item_ids.rows(["last", "new", "h7"])
    last, *others = again.score(Queries.of_users([1]), rows)[0]
    assert others == pytest.approx([found["new"], found["h7"]], rel=1e-5)
    assert last < others[0]

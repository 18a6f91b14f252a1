"""An item of histories of one event only: it has interactions, and a sequence model no vector."""

import numpy as np
import pytest

import warmstart as ws
from warmstart.data.queries import Queries
from warmstart.errors import DataError
from warmstart.serve.engine.index import Index
from warmstart.serve.engine.lists import ListRequest

ALIGNED = {"backbone": {"width": 8, "heads": 1, "epochs": 2}, "scoring": "alignment"}
MODELS = {
    "sasrec": lambda: ws.SasRec(width=8, heads=1, epochs=2),
    "gru4rec": lambda: ws.Gru4Rec(width=8, epochs=2),
    "fism": lambda: ws.Fism(width=8, epochs=2),
    "a_llmrec": lambda: ws.ALLMRec(**ALIGNED, alignment={"width": 8, "epochs": 2}),
    "a_llmrec by ridge": lambda: ws.ALLMRec(**ALIGNED, alignment={"kind": "ridge"}),
}


@pytest.fixture
def data(toy_data):
    """A new user had a new item, and nothing else; its text is that of another item."""
    catalogue, events = toy_data.catalogue, toy_data.interactions
    lone = int(np.flatnonzero(catalogue.has_text)[-1])
    kept = events.items != lone
    users = toy_data.user_ids.values
    ids = catalogue.item_ids.values
    rows = {
        "user": [str(users[row]) for row in events.users[kept]] + ["newcomer"],
        "item": [str(ids[row]) for row in events.items[kept]] + [str(ids[lone])],
    }
    rows["position"] = list(range(len(rows["user"])))
    items = {"item": [str(row) for row in ids], "text": list(catalogue.texts)}
    return ws.from_frames(rows, items, text=["text"], position="position"), str(ids[lone])


@pytest.mark.parametrize("name", MODELS)
def test_such_an_item_disturbs_no_other(name, data, lm_folder):
    dataset, lone = data
    encoder = ws.load_encoder(ws.LMConfig(source=str(lm_folder)), use_cache=False)
    model = MODELS[name]().fit(dataset, encoder=encoder)
    row = int(dataset.catalogue.item_ids.rows([lone])[0])
    assert dataset.warm[row]
    items = np.arange(dataset.n_items, dtype=np.int32)
    scores = model.score(Queries.of_users(np.arange(5)), items)
    others = dataset.warm.copy()
    others[row] = False
    assert np.isfinite(scores[:, others]).all()
    by_text = name.startswith("a_llmrec")
    assert np.isfinite(scores[:, row]).all() == by_text
    users = [str(user) for user in dataset.user_ids.values[:5]]
    k = dataset.n_items
    lists = model.recommend(users, k=k, on_unknown="ignore")
    assert (lone in lists["item"].to_list()) == by_text
    if not by_text:  # then nothing is known of the user who had nothing else
        with pytest.raises(DataError, match=r"1 user\(s\) without .* that the method knows"):
            model.recommend(["newcomer"])
    assert len(model.recommend(["newcomer"], k=3, on_unknown="popular")) == 3
    search = model.item_search(items, smallest=1)
    assert search is not None
    found, _, _ = search.top_items(Queries.of_users(np.arange(5)), k)
    assert (row in found) == by_text
    served = Index(model, max_exposure=1.0).recommend(
        [ListRequest(user=user, k=k) for user in users]
    )
    assert any(hit.item == lone for hits in served for hit in hits) == by_text
    assert all(np.isfinite(hit.score) for hits in served for hit in hits)

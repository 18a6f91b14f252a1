"""Lists that are made while items change break no rule of their request."""

import threading
import time

import pytest

import warmstart as ws
from tests.serve.encoding import encode_texts
from tests.serve.engine.clicks import clicks_on
from warmstart.artefact import read_manifest
from warmstart.lm import TextEncoder
from warmstart.serve.engine import score_table
from warmstart.serve.engine.encodings import pack
from warmstart.serve.engine.index import Index
from warmstart.serve.engine.lists import ListRequest
from warmstart.serve.storage.records import Item, ItemState

SECONDS = 3.0
IALS = {"kind": "ials", "width": 8, "epochs": 3}


@pytest.fixture(scope="module", params=["fold_in", "both"])
def model(request, tmp_path_factory, lm_folder, toy_split):
    lm = ws.load_encoder(ws.LMConfig(source=str(lm_folder)), use_cache=False)
    fitted = ws.FilterLLM(
        backbone=IALS, ridge={"l2": 1.0}, epochs=0, width=8, cold_score=request.param
    ).fit(toy_split.train, encoder=lm)
    folder = fitted.save(tmp_path_factory.mktemp("races") / "model")
    spec = read_manifest(folder)["lms"]["encoder"]
    return ws.load_model(
        folder, encoder=TextEncoder.from_spec(spec, source=str(lm_folder), use_cache=False)
    )


def test_lists_keep_to_the_request_while_items_change(model, toy_data, monkeypatch):
    monkeypatch.setattr(score_table, "_MIN_CHANGED", 20)
    index, catalogue = Index(model, max_exposure=1.0, max_owner_share=1.0), model.fitted.catalogue
    arrays = [pack(o.encoding) for o in encode_texts(model, list(toy_data.catalogue.texts[:6]))]
    cold = [str(catalogue.item_ids.values[row]) for row in (~model.fitted.warm).nonzero()[0][:4]]
    stable, churned = [f"s-{n}" for n in range(6)], [f"c-{n}" for n in range(6)]
    users = [str(user) for user in model.fitted.user_ids.values[:5]]
    end, faults, lists = time.monotonic() + SECONDS, [], []

    def state(name, number, *, deleted=False):
        item = Item(name, {"n": number}, "text", str(number), "o", deleted=deleted)
        return {name: ItemState(item, None if deleted else arrays[number % 6])}

    def change():
        number = 0
        while time.monotonic() < end:
            number += 1
            for name in (*stable, *cold):  # rewritten, but always there
                index.apply(state(name, number))
            name = churned[number % 6]
            index.apply(state(name, number))
            index.record(clicks_on(name, users[: number % 3]))
            index.apply(state(name, number, deleted=True))

    def read():
        while time.monotonic() < end:
            try:
                for request in (
                    ListRequest(user=users[0], k=500, exclude_seen=False),
                    ListRequest(user=users[1], k=500, exclude_seen=False, deny=tuple(stable)),
                    ListRequest(user=users[2], k=500, exclude_seen=False, allow=(*stable, *cold)),
                ):
                    (hits,) = index.recommend([request])
                    names = [hit.item for hit in hits]
                    lists.append(len(names))
                    if len({*names}) < len(names) or "" in names:
                        faults.append(("twice or without a name", names))
                    wanted = {*cold, *(() if request.deny else stable)}
                    if not wanted <= {*names} or {*names} & {*request.deny}:
                        faults.append((request.user, wanted - {*names}, {*names} & {*request.deny}))
                found = [name for name, _ in index.similar(stable[0], 30)]
                if len({*found}) < len(found) or "" in found:
                    faults.append(("similar", found))
            except Exception as error:  # noqa: BLE001 - reported below
                faults.append(error)

    for name in (*stable, *cold):
        index.apply(state(name, 0))
    threads = [threading.Thread(target=work) for work in (change, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lists) > 50
    assert not faults, (len(faults), len(lists), faults[:3])

"""Snapshots of the stored items: what is mapped is what the store has."""

import pytest

import warmstart as ws
from tests.serve.encoding import encode_texts
from warmstart.artefact import read_manifest
from warmstart.lm import TextEncoder
from warmstart.serve.engine import deployment
from warmstart.serve.engine import snapshot as snapshot_module
from warmstart.serve.engine.deployment import Loader
from warmstart.serve.engine.encodings import pack
from warmstart.serve.engine.lists import ListRequest
from warmstart.serve.engine.snapshot import Snapshot
from warmstart.serve.storage.records import Event, Item
from warmstart.serve.storage.store import Store

N = 40
METHODS = {
    "products": lambda: ws.FilterLLM(  # cold scores are products of vectors
        backbone={"kind": "ials", "width": 8, "epochs": 3},
        ridge={"l2": 1.0},
        epochs=0,
        width=8,
        cold_score="fold_in",
    ),
    "tables": lambda: ws.FilterLLM(
        backbone={"kind": "ials", "width": 8, "epochs": 3}, ridge={"l2": 1.0}, text_weight=0.5
    ),
    "no-texts": lambda: ws.ItemKNN(neighbours=40),
}


@pytest.fixture(scope="module", params=METHODS)
def model(request, tmp_path_factory, lm_folder, toy_split):
    lm = ws.load_encoder(ws.LMConfig(source=str(lm_folder)), use_cache=False)
    fitted = METHODS[request.param]().fit(toy_split.train, encoder=lm)
    folder = fitted.save(tmp_path_factory.mktemp("snapshot") / "model")
    spec = read_manifest(folder)["lms"].get("encoder")
    lm = spec and TextEncoder.from_spec(spec, source=str(lm_folder), use_cache=False)
    return ws.load_model(folder, encoder=lm)


@pytest.fixture
def store(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield store
    store.close()


@pytest.fixture
def loader(settings, tmp_path):
    return Loader(settings.model_copy(update={"index_folder": tmp_path / "index"}))


def item(number, text, owner="shop"):
    return Item(f"new-{number}", {"title": f"no. {number}"}, text, f"{number} {text}", owner)


def put(store, model, texts, numbers=range(N)):
    items = [item(number, texts[number % len(texts)], f"shop {number % 3}") for number in numbers]
    store.items.write(items)
    encoded = encode_texts(model, [one.text for one in items])
    packed = [pack(one.encoding) for one in encoded]
    store.encodings.save("model", list(zip(items, packed, strict=True)))


def build(loader, model, store, **options):
    return loader.build_index(model, "model", store, **options)[0]


class Close(float):
    """A number that equals those which differ from it by the rounding of sums in another order."""

    def __eq__(self, other):
        return abs(self - other) < 1e-4

    __hash__ = None


def state_of(index, model):
    """All that can be seen of an index."""
    users = [str(user) for user in model.fitted.user_ids.values[:8]]
    requests = [ListRequest(user=user, k=500, exclude_seen=False) for user in users]
    requests += [ListRequest(user="stranger", k=5), ListRequest(history=("new-1", "new-2"), k=5)]
    lists = [
        {hit.item: (Close(hit.score), hit.is_cold) for hit in hits}
        if isinstance(hits, list)
        else str(hits)
        for hits in index.recommend(requests)
    ]
    names = [f"new-{number}" for number in range(N + 5)]
    entries = [index.entry(name) for name in names]
    seen = [
        None
        if entry is None
        else (entry.name, entry.owner, entry.columns, entry.is_scored, entry.clicks)
        for entry in entries
    ]
    columns = [index.columns(name, ["title"]) for name in names]
    similar = None
    if model.text_vectors is not None:
        found = index.similar(str(model.fitted.catalogue.item_ids.values[1]), 30)
        similar = {name: Close(similarity) for name, similarity in found}
    return lists, seen, columns, similar, index.counts()


def same(loader, model, store, settings):
    """The index by snapshot, after a check that it is as one without."""
    index = build(loader, model, store)
    plain = build(Loader(settings), model, store)
    assert state_of(index, model) == state_of(plain, model)
    return index


def snapshots(loader):
    return list(loader._settings.index_folder.glob("*/snapshot.json"))


def test_an_index_by_snapshot_is_as_one_without(loader, model, store, texts, settings):
    put(store, model, texts)
    same(loader, model, store, settings)
    assert len(snapshots(loader)) == 1
    index = same(loader, model, store, settings)  # mapped now
    assert index.table.nbytes < build(Loader(settings), model, store).table.nbytes
    assert snapshots(loader)[0].parent.stat().st_mode & 0o777 == 0o700


def test_what_differs_from_the_store_is_brought_up_to_date(loader, model, store, texts, settings):
    put(store, model, texts)
    build(loader, model, store)
    put(store, model, texts[5:], range(10))  # other texts
    put(store, model, texts, range(N, N + 4))  # new
    store.items.delete("new-20", "shop")
    trained = str(model.fitted.catalogue.item_ids.values[0])
    store.items.delete(trained, "shop")
    user = str(model.fitted.user_ids.values[0])
    pairs = [(n, who) for n in range(12) for who in (user, "x")]
    events = [Event(f"{who} {n}", who, f"new-{n}", "shop") for n, who in pairs]
    store.events.record(events)
    index = same(loader, model, store, settings)
    assert index.entry("new-20") is None
    assert index.history("x")[-1] == "new-11"
    assert index.entry(trained).is_deleted
    assert index.columns(trained, ["title"]) == {"title": None}
    assert trained not in {hit.item for hit in index.recommend([ListRequest(user=user, k=500)])[0]}


def test_changes_after_the_start_apply_to_mapped_items(loader, model, store, texts, settings):
    put(store, model, texts)
    build(loader, model, store)
    index = build(loader, model, store)
    put(store, model, texts[3:], range(6))
    store.items.delete("new-30", "shop")
    put(store, model, texts, [30, 31])
    names = [f"new-{n}" for n in range(N)]
    index.apply(store.item_states("model", names))
    store.items.delete("new-31", "shop")
    index.apply(store.item_states("model", names))
    plain = build(Loader(settings), model, store)
    assert state_of(index, model) == state_of(plain, model)


def test_another_store_or_a_damaged_snapshot_costs_time_only(
    loader, model, store, texts, settings, tmp_path
):
    put(store, model, texts)
    build(loader, model, store)
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    put(other, model, texts[7:], range(0, N, 2))
    same(loader, model, other, settings)
    other.close()
    for damage in ("manifest", "array", "missing"):
        (place,) = [path.parent for path in snapshots(loader)]
        if damage == "manifest":
            (place / "snapshot.json").write_text("{}")
        elif damage == "array":
            (place / "penalty.npy").write_bytes(b"?")
        else:
            (place / "names.ends.npy").unlink()
        same(loader, model, store, settings)


def test_a_deleted_item_is_erased_in_the_files(loader, model, store, texts):
    put(store, model, texts)
    store.items.write([Item("secret", {"title": "SECRET-WORD"}, texts[0], "c", "shop")])
    encoded = encode_texts(model, [texts[0]])
    secret = store.items.get("secret")
    store.encodings.save("model", [(secret, pack(encoded[0].encoding))])
    build(loader, model, store)
    (place,) = [path.parent for path in snapshots(loader)]
    kept = b"".join(path.read_bytes() for path in place.glob("*.npy"))
    assert b"SECRET-WORD" in kept
    index = build(loader, model, store)
    store.items.delete("secret", "shop")
    index.apply(store.item_states("model", ["secret"]))
    kept = b"".join(path.read_bytes() for path in place.glob("*.npy"))
    assert b"SECRET-WORD" not in kept
    store.items.write([secret])  # the same item again: its row has no vectors any more
    store.encodings.save("model", [(secret, pack(encoded[0].encoding))])
    again = build(loader, model, store)
    assert again.columns("secret", ["title"]) == {"title": "SECRET-WORD"}
    if model.text_vectors is not None:
        assert again.texts.vector(again.slot("secret")).any()


def test_workers_of_one_run_compare_once(settings, model, store, texts, tmp_path, monkeypatch):
    put(store, model, texts)
    put(store, model, texts[1:], [3])
    shared = settings.model_copy(update={"index_folder": tmp_path / "index"})
    first, second, later = Loader(shared, "run"), Loader(shared, "run"), Loader(shared, "later")
    build(first, model, store)
    store.items.write([item(99, texts[0])])  # waits to be encoded
    compared = []
    compare = Snapshot.compare
    monkeypatch.setattr(
        Snapshot, "compare", lambda self, items: compared.append(1) or compare(self, items)
    )
    index = build(second, model, store)
    assert not compared
    assert len(index) == len(build(later, model, store))
    assert len(compared) == 1
    build(second, model, store, verify=True)
    assert len(compared) == 2


def test_many_items_go_to_the_snapshot_page_by_page(settings, model, store, texts, tmp_path):
    """Reading the store needs no more memory than the setting says."""
    put(store, model, texts)
    tight = settings.model_copy(
        update={"index_folder": tmp_path / "index", "max_index_gib": 1e-6}  # one item is too much
    )
    index = build(Loader(tight), model, store)
    assert state_of(index, model) == state_of(build(Loader(settings), model, store), model)


def test_a_new_snapshot_is_written_when_many_items_differ(
    loader, model, store, texts, settings, monkeypatch
):
    monkeypatch.setattr(deployment, "_FEW", 5)
    put(store, model, texts)
    build(loader, model, store)
    put(store, model, texts[2:], range(20))
    index = same(loader, model, store, settings)
    assert len(index.table.segments[-1]) == 0  # all are mapped


@pytest.mark.parametrize("fault", ["folder", "disk"])
def test_without_room_for_a_snapshot_items_stay_in_memory(
    fault, settings, model, store, texts, tmp_path, monkeypatch
):
    put(store, model, texts)
    folder = tmp_path / "index"
    if fault == "folder":
        folder.write_text("a file")
    else:

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(snapshot_module.np, "save", full)
    changed = {"index_folder": folder, "max_index_gib": 1e-6}
    index = build(Loader(settings.model_copy(update=changed)), model, store)
    assert state_of(index, model) == state_of(build(Loader(settings), model, store), model)


def test_items_that_wait_do_not_make_a_new_snapshot_each_time(
    loader, model, store, texts, settings, monkeypatch
):
    monkeypatch.setattr(deployment, "_FEW", 5)
    put(store, model, texts)
    store.items.write([item(1000 + number, texts[0]) for number in range(30)])  # not encoded yet
    trained = [str(name) for name in model.fitted.catalogue.item_ids.values[:20]]
    store.items.write([Item(name, {"title": "new"}, texts[1], name, "shop") for name in trained])
    same(loader, model, store, settings)
    index = same(loader, model, store, settings)
    assert index.columns(trained[3], ["title"]) == {"title": "new"}


def test_what_is_deleted_is_erased_in_a_snapshot_that_another_process_has_written(
    loader, settings, model, store, texts, monkeypatch
):
    """A rolling restart: the old process deletes by the rows of the files that it has mapped."""
    monkeypatch.setattr(deployment, "_FEW", 5)
    put(store, model, texts)
    build(loader, model, store)
    old = build(loader, model, store)
    store.items.write([Item(f"a-{n}", {"title": "x" * 200}, texts[0], "c", "o") for n in range(30)])
    encoded = encode_texts(model, [texts[0]])
    written = list(store.items.among([f"a-{n}" for n in range(30)]).values())
    store.encodings.save("model", [(one, pack(encoded[0].encoding)) for one in written])
    for number in range(20):
        store.items.delete(f"new-{number}", "o")
    new = build(loader, model, store)  # in place of the one that is mapped
    (place,) = [path.parent for path in snapshots(loader)]
    for number in range(20, 30):
        assert f"no. {number}".encode() in (place / "columns.content.npy").read_bytes()
        store.items.delete(f"new-{number}", "o")
    names = [f"new-{number}" for number in range(20, 30)]
    assert not old.apply(store.item_states("model", names)).failed
    for number in range(20, 30):
        assert f"no. {number}".encode() not in (place / "columns.content.npy").read_bytes()
    new.apply(store.item_states("model", names))
    assert state_of(new, model) == state_of(build(Loader(settings), model, store), model)
    assert len([new.entry(f"a-{n}").columns["title"] for n in range(30)]) == 30


def test_an_item_that_another_worker_erases_is_listed_without_columns(
    settings, model, store, texts, tmp_path
):
    rows = [Item(f"a-{n}", {"title": "x" * 500}, texts[0], str(n), "o") for n in range(40)]
    store.items.write(rows)
    (encoded,) = encode_texts(model, [texts[0]])
    store.encodings.save("model", [(row, pack(encoded.encoding)) for row in rows])
    shared = Loader(settings.model_copy(update={"index_folder": tmp_path / "index"}))
    first, second = build(shared, model, store), build(shared, model, store)
    store.items.delete("a-7", "o")
    first.apply(store.item_states("model", ["a-7"]))
    assert second.entry("a-7").columns == {}
    assert second.columns("a-7", ["title"]) == {"title": None}
    second.apply(store.item_states("model", ["a-7"]))
    assert second.entry("a-7") is None


def test_other_snapshots_of_the_store_are_removed(settings, model, store, texts, tmp_path):
    put(store, model, texts)
    folder = tmp_path / "index"
    other = settings.model_copy(update={"index_folder": folder, "store": "sqlite:///other.db"})
    build(Loader(other), model, store)
    loaders = [
        Loader(settings.model_copy(update={"index_folder": folder, "max_exposure": exposure}))
        for exposure in (0.1, 0.2)
    ]
    for loader in loaders:
        build(loader, model, store)
    (folder / f".{loaders[0]._snapshot_name('model')}-killed" / "new").mkdir(parents=True)
    loaders[1].remove_other_snapshots("model")
    left = {path.parent.name for path in folder.glob("*/snapshot.json")}
    assert left == {Loader(other)._snapshot_name("model"), loaders[1]._snapshot_name("model")}
    assert not list(folder.glob(".*-killed"))

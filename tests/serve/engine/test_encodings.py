"""Encodings from the store are checked in full before anything computes with them."""

import numpy as np
import pytest

from warmstart.errors import ArtefactError
from warmstart.serve.engine.encodings import pack, unpack
from warmstart.serve.storage.records import Event, Item

EXAMPLE = {
    "vectors": np.ones(4, np.float32),
    "audience": np.array([0, 2, 5], np.int32),
    "probabilities": np.array([0.9, 0.5, 0.1], np.float32),
}


def test_a_packed_encoding_is_unpacked():
    found = unpack(pack(EXAMPLE), EXAMPLE, n_users=6)
    assert found.keys() == EXAMPLE.keys()
    assert all((found[name] == array).all() for name, array in EXAMPLE.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": np.ones(5, np.float32)}, r"shape \(5,\) .* expected \(4,\)"),
        ({"vectors": np.ones((4, 4), np.float32)}, r"shape \(4, 4\)"),
        ({"vectors": np.ones(4, np.float64)}, "type float64, expected .* float32"),
        ({"vectors": np.array([1, np.nan, 1, 1], np.float32)}, "'vectors' .* not finite"),
        ({"probabilities": np.array([1, np.inf, 0], np.float32)}, "not finite"),
        ({"audience": np.array([0, 2, 6], np.int32)}, "beyond the 6 of the model"),
        ({"audience": np.array([0, 2, -1], np.int32)}, "beyond the 6 of the model"),
        ({"audience": np.array([0.0, 2, 1], np.float32)}, "type float32, expected .* int32"),
        ({"extra": np.ones(1, np.float32)}, r"has arrays \['audience', 'extra'"),
    ],
)
def test_an_encoding_that_is_none_of_the_model_is_refused(change, message):
    with pytest.raises(ArtefactError, match=message):
        unpack(pack(EXAMPLE | change), EXAMPLE, n_users=6)


@pytest.mark.parametrize("content", [b"", b"?", b"\xff" * 100, pack(EXAMPLE)[:-3]])
def test_damaged_bytes_are_refused(content):
    with pytest.raises(ArtefactError, match="damaged"):
        unpack(content, EXAMPLE, n_users=6)


def test_a_poisoned_encoding_stops_neither_other_items_nor_clicks(service, toy_data, toy_split):
    """A safetensors file that is right, with arrays of another shape, and then a click."""
    texts, user = list(toy_data.catalogue.texts), str(toy_split.train.user_ids.values[0])
    items = [Item(f"p-{n}", {}, texts[n], f"hash {n}", "shop") for n in range(3)]
    service.encoder.write_items(items)
    assert service.encoder.encode_waiting(service.deployment) == 3
    poison = pack({"vectors": np.ones(3, np.float32)})
    service.store.encodings.save(service.deployment.model_hash, [(items[1], poison)])
    service.store.events.record([Event("e", user, "p-1", "shop"), Event("f", user, "p-2", "shop")])
    while service.follower.follow(service.deployment):
        pass
    index = service.deployment.index
    assert [index.entry(f"p-{n}") is not None for n in range(3)] == [True, False, True]
    assert index.clicks_of("p-2") == 1
    service.encoder.encode_waiting(service.deployment)  # it is computed again
    service.follower.follow(service.deployment)
    assert index.clicks_of("p-1") == 1
    assert index.history(user)[-2:] == ["p-1", "p-2"]


def test_a_change_that_cannot_be_applied_is_set_aside(service, toy_data, monkeypatch):
    texts, index = list(toy_data.catalogue.texts), service.deployment.index
    service.encoder.write_items(
        [Item(f"p-{n}", {}, texts[n], f"hash {n}", "shop") for n in range(3)]
    )
    service.encoder.encode_waiting(service.deployment)
    apply = index._apply

    def fails_for_one(name, *arguments):
        if name == "p-1":
            raise ValueError("a bug")
        apply(name, *arguments)

    monkeypatch.setattr(index, "_apply", fails_for_one)
    while service.follower.follow(service.deployment):
        pass
    assert [index.entry(f"p-{n}") is not None for n in range(3)] == [True, False, True]
    assert service.deployment.last_change == service.store.changes.latest()

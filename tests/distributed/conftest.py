"""A cluster of two nodes for all tests here, and a model that can be simulated with on it."""

import fcntl
import logging
import time
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pytest

from warmstart.data.readers.files import read_items, write_dataset
from warmstart.data.sources.synthetic import synthetic, synthetic_items
from warmstart.lm import LMConfig, load_encoder
from warmstart.methods import build
from warmstart.testing.ray_nodes import SECONDS, two_nodes
from warmstart.testing.tiny_lm import tiny_encoder


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, worker_id):
    """The cluster; other processes of the test run wait, since nodes start late if all are busy."""
    if find_spec("ray") is None:
        pytest.skip("needs the extra ray")
    alone = worker_id == "master"
    shared = tmp_path_factory.getbasetemp() if alone else tmp_path_factory.getbasetemp().parent
    with open(shared / "ray.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with two_nodes() as started:
            import ray  # reads the environment that two_nodes sets

            ray.init(started.address, log_to_driver=False, logging_level=logging.ERROR)
            ends = time.monotonic() + SECONDS
            while sum(node["Alive"] for node in ray.nodes()) < 2 and time.monotonic() < ends:
                time.sleep(0.2)
            ray.shutdown()
            yield started


@dataclass
class Shop:
    """Files of a shop, and what is loaded from them."""

    root: object
    config: LMConfig
    model: object
    encoder: object
    new: object


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    root = tmp_path_factory.mktemp("shop")
    data = synthetic(120, 160, rng=np.random.default_rng(3))
    write_dataset(data, root / "data")
    frame = synthetic_items(40, rng=np.random.default_rng(4))
    frame.write_ndjson(root / "new.jsonl")
    new = read_items(frame, data.catalogue.text_columns, data.catalogue.item_ids)
    words = {word for text in (*data.catalogue.texts, *new.texts) for word in text.split()}
    tiny_encoder(root / "lm", sorted(words))
    config = LMConfig(source=str(root / "lm"))
    encoder = load_encoder(config, folder=root / "cache of the fit")
    model = build("text_ridge", {"rank": 12}).fit(data, encoder=encoder)
    model.save(root / "model")
    return Shop(root, config, model, encoder, new)

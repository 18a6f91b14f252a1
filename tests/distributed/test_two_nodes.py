"""Two nodes in separate processes give what one process gives, also if workers are killed."""

import os
import signal
import time

import numpy as np
import polars as pl
import pytest

from tests.cli.test_commands import done, run
from warmstart.data.readers.files import read_dataset
from warmstart.distributed.cluster import cluster
from warmstart.distributed.simulation import by_items, with_positions
from warmstart.distributed.user_shards import by_users
from warmstart.lm import load_encoder
from warmstart.methods import build
from warmstart.shards import Shards
from warmstart.testing.ray_nodes import SECONDS

pytestmark = pytest.mark.ray

K, SIZE = 5, 4  # users per item; items per shard, so that there are ten shards


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WARMSTART_CACHE", str(tmp_path / "cache"))


def kill_one(nodes, kind):
    """End a worker as the system does if memory runs out."""
    pids = nodes.workers(kind)
    assert len(pids) == 2
    os.kill(pids[0], signal.SIGKILL)


def one_process(shop, model=None):
    def work(rows):
        return with_positions((model or shop.model).simulate(shop.new.take(rows), K), shop.new)

    return Shards(None, "", SIZE).run(keys(shop), work, "items")


def keys(shop):
    return [str(item) for item in shop.new.item_ids.values]


def and_then(work, harm):
    """Do work, and some harm after the first shard."""

    def harmed(shards):
        for number, finished in enumerate(work(shards)):
            if number == 0:
                harm()
            yield finished

    return harmed


def test_encoding_on_two_nodes_with_a_killed_worker(nodes, shop, monkeypatch, tmp_path, capfd):
    kept, original = [], type(shop.encoder).keep

    def keep(encoder, texts, vectors):
        original(encoder, texts, vectors)
        if not kept:
            kill_one(nodes, "EncodingWorker")
        kept.append(len(texts))

    monkeypatch.setattr("warmstart.distributed.encoding._TEXTS", 10)
    monkeypatch.setattr(type(shop.encoder), "keep", keep)
    out = tmp_path / "vectors.parquet"
    given = ("encode", shop.root / "data", "--encoder", shop.root / "lm")
    text = done(*given, "--ray", nodes.address, "--out", out)
    assert capfd.readouterr().out == ""  # Ray writes nothing to the stdout of the process
    texts = read_dataset(shop.root / "data").catalogue.texts
    n = len(set(texts))
    assert text.startswith(f"{n} of {n} texts encoded")
    assert sum(kept) == n
    expected = load_encoder(shop.config, use_cache=False).encode(texts)
    found = np.stack(pl.read_parquet(out)["vector"].to_list())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert done(*given).startswith(f"0 of {n} texts encoded")


def by_items_on_two_nodes(nodes, shop, between=lambda work: work):
    with cluster(nodes.address) as places:
        assert len({place.node for place in places}) == 2
        work = by_items(shop.model, shop.encoder, shop.new, K, places)
        return Shards(None, "", SIZE).run_all(keys(shop), between(work), "items")


def test_by_items(nodes, shop):
    assert_same(by_items_on_two_nodes(nodes, shop), one_process(shop))


@pytest.mark.slow
def test_by_items_with_a_killed_worker(nodes, shop):
    def killing(work):
        return and_then(work, lambda: kill_one(nodes, "SimulationWorker"))

    assert_same(by_items_on_two_nodes(nodes, shop, killing), one_process(shop))


def test_by_users_with_a_killed_worker_prints_what_one_process_prints(
    nodes, shop, monkeypatch, capfd
):
    written, original = [], Shards._write

    def write(*arguments):
        original(*arguments)
        if not written:
            kill_one(nodes, "UserShard")
        written.append(arguments)

    given = ("simulate", shop.root / "model", "--items", shop.root / "new.jsonl", "-k", K)
    given += ("--encoder", shop.root / "lm")
    monkeypatch.setattr(Shards.__init__, "__defaults__", (SIZE,))
    expected = done(*given)
    monkeypatch.setattr(Shards, "_write", write)
    assert done(*given, "--ray", nodes.address, "--by", "users") == expected
    assert len(written) == len(shop.new) / SIZE
    assert capfd.readouterr().out == ""


def test_by_users_where_users_are_items(nodes, shop):
    data = read_dataset(shop.root / "data")
    model = build("text_ridge", {"rank": 12, "items_per_user": 3}).fit(data, encoder=shop.encoder)
    with cluster(nodes.address) as places:
        work = by_users(model, shop.encoder, shop.new, K, places)
        found = Shards(None, "", SIZE).run_all(keys(shop), work, "items")
    assert_same(found, one_process(shop, model))


@pytest.mark.slow
def test_the_work_of_a_dead_node_is_done_on_the_others(nodes, shop):
    """The third node dies, as if its machine lost its power."""
    third = join(nodes)
    with cluster(nodes.address) as places:
        assert len(places) == 3
        work = by_users(shop.model, shop.encoder, shop.new, K, places)
        dying = and_then(work, lambda: nodes.end(third, signal.SIGKILL))
        found = Shards(None, "", SIZE).run_all(keys(shop), dying, "items")
    assert_same(found, one_process(shop))


@pytest.mark.slow
def test_a_node_that_has_just_died_is_left_out(nodes):
    third = join(nodes)
    nodes.end(third, signal.SIGKILL)
    with cluster(nodes.address) as places:
        assert len(places) == 2


def join(nodes):
    """Let a third node join, and wait until it is there."""
    nodes.join()
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        with cluster(nodes.address) as places:
            if len(places) == 3:
                return nodes.processes[-1]
        time.sleep(0.5)
    raise TimeoutError(f"no third node after {SECONDS} s")


def assert_same(found, expected):
    exact = pl.exclude("weight")
    assert found.select(exact).equals(expected.select(exact))
    np.testing.assert_allclose(found["weight"], expected["weight"], rtol=1e-5)


def test_an_unreachable_address_is_one_line(nodes, shop):
    given = ("encode", shop.root / "data", "--encoder", shop.root / "lm")
    found = run(*given, "--ray", "127.0.0.1:1")
    assert found.code == 2
    assert "warmstart: --ray 127.0.0.1:1: no Ray cluster can be reached" in found.err
    assert "Traceback" not in found.err


def test_another_version_on_a_node_is_an_error(nodes, shop, monkeypatch):
    monkeypatch.setattr("warmstart.distributed.cluster.__version__", "0.0.1")
    given = ("encode", shop.root / "data", "--encoder", shop.root / "lm")
    found = run(*given, "--ray", nodes.address)
    assert found.code == 2
    assert "this process has 0.0.1; install the same version on all machines" in found.err

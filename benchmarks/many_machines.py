"""One process against two nodes of a Ray cluster, each with one core, in separate processes.

    python benchmarks/many_machines.py RESULT.json [--texts 3000] [--users 2000000] [--items 2048]

Times, each alone and with a worker killed after the first piece: encoding texts by the default
encoder, and simulating items by users, as searches of a table of random vectors of width 64. Each
result is compared with that of one process. RESULT gets the seconds of each, until the first piece
and in all, what goes over the network for an item, and the environment.

One process has as many threads as the two nodes together. Both nodes are on this machine, so the
network is its memory.
"""

import json
import os
import pickle
import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from environment import environment

from warmstart.data.sources.synthetic import synthetic_items
from warmstart.distributed.cluster import cluster
from warmstart.distributed.encoding import encode_missing
from warmstart.distributed.table import DistributedTable
from warmstart.lm import load_encoder
from warmstart.retrieval.found import merge
from warmstart.retrieval.table import VectorTable
from warmstart.testing.ray_nodes import two_nodes

WIDTH, K, BATCH = 64, 20, 256


def main(
    result: Path,
    texts: Annotated[int, typer.Option(help="texts to encode")] = 3000,
    users: Annotated[int, typer.Option(help="rows of the table")] = 2_000_000,
    items: Annotated[int, typer.Option(help="queries")] = 2048,
) -> None:
    """Measure, print, and write the JSON file."""
    torch.set_num_threads(2)
    table, queries = table_and_queries(users, items)
    measured = {"one process": {"search": search_alone(table, queries, 2)}}
    measured["one process, one thread"] = {"search": search_alone(table, queries, 1)}
    expected = table.search(queries, K, log_normalisers=True)
    given = sentences(texts)
    vectors, seconds = encode_alone(given)
    measured["one process"]["encode"] = {"seconds": seconds}
    with two_nodes(memory=3 * table.nbytes) as nodes:
        for name, killed in (("two nodes", False), ("two nodes, a worker killed", True)):
            measured[name] = {
                "encode": encode(nodes, given, vectors, killed),
                "search": search(nodes, table, queries, expected, killed),
            }
    written = {
        "counts": {"texts": texts, "users": users, "items": items, "k": K, "batch": BATCH},
        "bytes": bytes_of(table, queries),
        "measured": measured,
        "environment": environment(),
    }
    result.write_text(json.dumps(written, indent=1) + "\n")
    print(json.dumps(written, indent=1))


def table_and_queries(users, items):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(users, WIDTH)).astype(np.float32) / 8
    bias = rng.normal(size=users).astype(np.float32)
    return VectorTable(vectors, bias=bias), rng.normal(size=(items, WIDTH)).astype(np.float32)


def sentences(count):
    return [f"{title} {number}" for number, title in enumerate(
        synthetic_items(count, rng=np.random.default_rng(1))["title"]
    )]  # fmt: skip


def search_alone(table, queries, threads):
    table.search(queries[:BATCH], K, log_normalisers=True, threads=threads)  # numba compiles
    started = time.perf_counter()
    for at in range(0, len(queries), BATCH):
        table.search(queries[at : at + BATCH], K, log_normalisers=True, threads=threads)
    return {"seconds": time.perf_counter() - started}


def encode_alone(texts):
    encoder = load_encoder(use_cache=False)
    encoder.encode(texts[:32])
    started = time.perf_counter()
    return encoder.encode(texts), time.perf_counter() - started


def encode(nodes, texts, expected, killed):
    with tempfile.TemporaryDirectory() as cache, cluster(nodes.address) as places:
        encoder = load_encoder(folder=cache)
        first, started = [], time.perf_counter()

        def progress(done, total):
            if not first:
                first.append(time.perf_counter() - started)
                kill(nodes, "EncodingWorker", killed)

        encode_missing(encoder, texts, places, progress)
        seconds = time.perf_counter() - started
        difference = float(np.abs(encoder.encode(texts) - expected).max())
    return {"seconds": seconds, "until_first": first[0], "largest_difference": difference}


def search(nodes, table, queries, expected, killed):
    batches = [(queries[at : at + BATCH], None) for at in range(0, len(queries), BATCH)]
    with cluster(nodes.address) as places:
        started = time.perf_counter()
        found, first = [], None
        for one in DistributedTable(table, places).searches(batches, K):
            found.append(one)
            if first is None:
                first = time.perf_counter() - started
                kill(nodes, "UserShard", killed)
        seconds = time.perf_counter() - started
    same = bool(
        np.array_equal(np.concatenate([one.rows for one in found]), expected.rows)
        and np.array_equal(np.concatenate([one.scores for one in found]), expected.scores)
    )
    log_normalisers = np.concatenate([one.log_normalisers for one in found])
    difference = float(np.abs(log_normalisers - expected.log_normalisers).max())
    return {
        "seconds": seconds,
        "until_first": first,
        "same_rows_and_scores": same,
        "largest_difference_of_log_normalisers": difference,
    }


def kill(nodes, kind, killed):
    if killed:
        os.kill(nodes.workers(kind)[0], signal.SIGKILL)


def bytes_of(table, queries):
    """What is sent for an item: a query to each shard, and k rows from each shard or merge."""
    batch = queries[:BATCH]
    found = table.search(batch, K, log_normalisers=True)
    started = time.perf_counter()
    merge([found] * 4, K)
    return {
        "table_per_user": table.nbytes / len(table),
        "query_per_item": len(pickle.dumps(batch, 5)) / BATCH,
        "found_per_item": len(pickle.dumps(found, 5)) / BATCH,
        "merge_of_4_seconds_per_item": (time.perf_counter() - started) / BATCH,
    }


if __name__ == "__main__":
    typer.run(main)

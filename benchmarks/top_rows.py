"""The best rows of a table of users by inner product: milliseconds a query, against the memory.

    python benchmarks/top_rows.py --json top-rows.json --plot top-rows.svg
    python benchmarks/top_rows.py --rows 1e6 --widths 64 --batches 1,32
    python benchmarks/top_rows.py --rows 1e6 --widths 64 --approximate --json approximate.json

Systems are timed in turn, ``--rounds`` times, on the same vectors: clustered, with log-normal
lengths. "bandwidth" is the time in which the machine reads the codes and scales at the highest rate
of seven passes over a GiB, measured beside each table with as many threads. One of the systems
reads them in a plain loop, which is slower than that. A single query takes so little time that each
system gets one that is not timed first: a sleeping core, or what the system before has left in the
caches, is none of its own. Recall counts the exact best 100 (in float64) that a system finds. At
1e8 rows the table is generated as 8-bit codes, without vectors (7.6 GB), and there are no peers:
theirs would not fit.

With --approximate the systems are the exact search and the inverted indices of faiss (extra ann),
each at several numbers of lists read; recall is that of 100 queries.
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import torch
from environment import environment

from warmstart.machine import available_cores
from warmstart.retrieval.approximate import ApproximateTable, IVFConfig
from warmstart.retrieval.rounding import rounded_vectors
from warmstart.retrieval.table import Shard, VectorTable, sampling_keys

K = 100
PLAIN_LOOP, SAMPLED = "reading in a plain loop", "warmstart, sampled"
INDICES = [
    IVFConfig(storage="float16"),
    IVFConfig(storage="int8"),
    *(IVFConfig(storage="pq", pq_bytes=n) for n in (16, 32, 64)),
]
PROBES = [16, 64, 256]
BLOCK = 65_536


@numba.njit(nogil=True)
def _sum(values):
    total = 0
    for at in range(len(values)):
        total += values[at]
    return total


@numba.njit(fastmath=True, nogil=True)
def _sum_of_floats(values):
    total = np.float32(0)
    for at in range(len(values)):
        total += values[at]
    return total


def read_bandwidth(pool, threads):
    """Bytes a second that all threads together read, best of 7 passes over 1 GiB."""
    values = np.ones(2**28, np.float32)
    parts = np.array_split(values, threads)
    _sum_of_floats(values[:10])
    times = []
    for _ in range(7):
        started = time.perf_counter()
        list(pool.map(_sum_of_floats, parts))
        times.append(time.perf_counter() - started)
    return values.nbytes / min(times)


def reading(table, pool, threads):
    """A call that reads codes and scales: bounds are read for few rows."""
    arrays = [shard.arrays[name] for shard in table.shards for name in ("codes", "scales")]
    whole = [array.reshape(-1).view(np.int8) for array in arrays]
    whole = [array[: len(array) // 8 * 8].view(np.int64) for array in whole]
    parts = [part for array in whole for part in np.array_split(array, threads)]
    return lambda _: list(pool.map(_sum, parts))


def clustered(n, width, rng):
    centres = rng.normal(size=(1000, width)).astype(np.float32)
    vectors = np.empty((n, width), np.float32)
    for start in range(0, n, BLOCK):
        block = vectors[start : start + BLOCK]
        block[:] = centres[rng.integers(0, 1000, len(block))]
        block += rng.standard_normal(block.shape, np.float32)
        block *= rng.lognormal(0, 0.3, (len(block), 1)).astype(np.float32)
    return vectors


def codes_only(n, width, rng):
    """A table of random rounded vectors, made block by block."""
    arrays = {
        "codes": np.empty((n, width), np.int8),
        **{name: np.empty(n, np.float32) for name in ("scales", "errors", "norms")},
    }
    for start in range(0, n, 2**20):
        rounded = rounded_vectors(clustered(min(2**20, n - start), width, rng))
        for name, array in rounded.items():
            arrays[name][start : start + len(array)] = array
    return VectorTable.of_shards([Shard(arrays, width, 0)])


def blocked(queries, vectors, multiply, select):
    """Matrix product and selection, block by block."""
    scores, rows = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(vectors), BLOCK):
        found = select(multiply(queries, vectors[start : start + BLOCK]))
        scores = np.concatenate([scores, found[0]], axis=1)
        rows = np.concatenate([rows, found[1] + start], axis=1)
        best = np.argpartition(-scores, K - 1, axis=1)[:, :K]
        scores, rows = (np.take_along_axis(array, best, axis=1) for array in (scores, rows))
    return rows


def by_numpy(queries, vectors):
    def select(scores):
        best = np.argpartition(-scores, K - 1, axis=1)[:, :K]
        return np.take_along_axis(scores, best, axis=1), best

    return blocked(queries, vectors, lambda q, v: q @ v.T, select)


def by_torch(queries, vectors):
    def select(scores):
        values, places = torch.topk(scores, K, dim=1)
        return values.numpy(), places.numpy()

    multiply = lambda q, v: torch.from_numpy(q) @ torch.from_numpy(v).T  # noqa: E731
    return blocked(queries, vectors, multiply, select)


def peers(vectors, threads):
    systems = {"numpy": by_numpy, "torch": by_torch}
    systems = {name: (lambda q, f=f: f(q, vectors)) for name, f in systems.items()}
    try:
        import faiss
    except ImportError:
        return systems
    faiss.omp_set_num_threads(threads)
    width = vectors.shape[1]
    flat = faiss.IndexFlatIP(width)
    flat.add(vectors)
    systems["faiss IndexFlatIP"] = lambda q: flat.search(q, K)[1]
    sq8 = faiss.IndexScalarQuantizer(
        width, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    sq8.train(vectors[:100_000])
    sq8.add(vectors)
    systems["faiss SQ8"] = lambda q: sq8.search(q, K)[1]
    return systems


def exact_rows(queries, vectors):
    best = np.empty((len(queries), K), np.int64)
    for at, query in enumerate(queries):
        scores = np.concatenate(
            [
                vectors[start : start + BLOCK].astype(np.float64) @ query.astype(np.float64)
                for start in range(0, len(vectors), BLOCK)
            ]
        )
        best[at] = np.argpartition(-scores, K - 1)[:K]
    return best


def queries_near(table, n, rng):
    """Queries that lie near a row: half a row of the table, half noise."""
    shard = table.shards[0]
    rows = shard.vectors(rng.integers(0, len(shard), n), rounded=True)
    return (0.5 * rows + rng.normal(size=rows.shape)).astype(np.float32)


def measure_approximate(n, width, batches, rounds, threads):
    rng = np.random.default_rng(0)
    table = VectorTable(clustered(n, width, rng))
    queries = queries_near(table, max(100, *batches), rng)
    found = []

    def measured(name, search, **facts):
        for batch in batches:
            search(queries[:batch], K, threads=threads)
            times = []
            for _ in range(rounds):
                started = time.perf_counter()
                search(queries[:batch], K, threads=threads)
                times.append(time.perf_counter() - started)
            per_query = 1e3 * statistics.median(times) / batch
            record = {"rows": n, "width": width, "batch": batch, "system": name}
            found.append(record | {"ms_per_query": per_query, **facts})
            print(
                f"{n:>11} x {width:<4} batch {batch:<3} {name:<28} {per_query:9.3f} ms a query, "
                f"recall {facts['recall']:.4f}, {facts['bytes_per_row']:.0f} bytes a row, "
                f"built in {facts['build_seconds']:.1f} s",
                flush=True,
            )

    read = width + 4
    measured("warmstart", table.search, recall=1.0, bytes_per_row=read, build_seconds=0.0)
    for config in INDICES:
        started = time.perf_counter()
        index = ApproximateTable.build(table, config, threads=threads)
        seconds = time.perf_counter() - started
        name = config.storage + (f" {config.pq_bytes}" if config.storage == "pq" else "")
        for n_probes in PROBES:
            index.n_probes = n_probes
            measured(
                f"ivf {name}, {n_probes} of {index.config.n_lists}",
                index.search,
                recall=index.recall(queries[:100], K, threads=threads),
                bytes_per_row=index.nbytes / n,
                build_seconds=seconds,
            )
    return found


def measure(n, width, batches, rounds, threads, pool):
    rng = np.random.default_rng(0)
    if n > 3 * 10**7:
        vectors, table, others = None, codes_only(n, width, rng), {}
    else:
        vectors = clustered(n, width, rng)
        table, others = VectorTable(vectors), peers(vectors, threads)
    queries = queries_near(table, max(batches), rng)
    found, bandwidth = [], read_bandwidth(pool, threads)
    print(f"read bandwidth {bandwidth / 1e9:.1f} GB/s with {threads} threads", flush=True)
    seconds_to_read = n * (width + 4) / bandwidth
    for batch in batches:
        asked = queries[:batch]
        keys = sampling_keys(0, np.arange(batch))
        systems = {
            PLAIN_LOOP: reading(table, pool, threads),
            "warmstart": lambda q: table.search(q, K, threads=threads).rows,
            "warmstart, log-normalisers": lambda q: (
                table.search(q, K, threads=threads, log_normalisers=True).rows
            ),
            SAMPLED: lambda q, keys=keys: (
                table.search(q, K, threads=threads, log_normalisers=True, keys=keys).rows
            ),
            **others,
        }
        times = {name: [] for name in systems}
        results = {name: search(asked) for name, search in systems.items()}
        for _ in range(rounds):
            for name, search in systems.items():
                if batch == 1:
                    search(asked)
                started = time.perf_counter()
                search(asked)
                times[name].append(time.perf_counter() - started)
        checked = min(batch, 4)
        exact = None if vectors is None else exact_rows(asked[:checked], vectors)
        for name, seconds in times.items():
            per_query = 1e3 * statistics.median(seconds) / batch
            recall = None
            if exact is not None and name not in (PLAIN_LOOP, SAMPLED):
                pairs = zip(exact, results[name][:checked], strict=True)
                recall = float(np.mean([len(set(a) & set(b)) / K for a, b in pairs]))
            record = {
                "rows": n, "width": width, "batch": batch, "system": name,
                "ms_per_query": per_query, "best_ms_per_query": 1e3 * min(seconds) / batch,
                "times_bandwidth": statistics.median(seconds) / seconds_to_read,
                "bandwidth": bandwidth, "recall": recall,
            }  # fmt: skip
            found.append(record)
            print(
                f"{n:>11} x {width:<4} batch {batch:<3} {name:<28} {per_query:9.3f} ms a query, "
                f"{record['times_bandwidth']:6.2f} x bandwidth, recall {recall}",
                flush=True,
            )
    return found


def plot(records, path):
    import matplotlib.pyplot as plt

    sizes = sorted({(r["width"], r["batch"]) for r in records})
    figure, axes = plt.subplots(1, len(sizes), figsize=(4 * len(sizes), 4), squeeze=False)
    for axis, (width, batch) in zip(axes[0], sizes, strict=True):
        own = [r for r in records if (r["width"], r["batch"]) == (width, batch)]
        for name in dict.fromkeys(r["system"] for r in own):
            line = [(r["rows"], r["ms_per_query"]) for r in own if r["system"] == name]
            axis.loglog(*zip(*line, strict=True), marker="o", label=name)
        axis.set(title=f"width {width}, batch {batch}", xlabel="rows", ylabel="ms a query")
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1e6,1e7,1e8")
    parser.add_argument("--widths", default="64,128")
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--approximate", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    records, pool = [], ThreadPoolExecutor(options.threads)
    for rows in options.rows.split(","):
        for width in options.widths.split(","):
            if float(rows) > 3e7 and int(width) > 64:
                continue
            batches = [int(batch) for batch in options.batches.split(",")]
            asked = int(float(rows)), int(width), batches, options.rounds, options.threads
            if options.approximate:
                records += measure_approximate(*asked)
            else:
                records += measure(*asked, pool)
            if options.json:
                written = {
                    "environment": environment(), "threads": options.threads, "records": records,
                }  # fmt: skip
                options.json.write_text(json.dumps(written, indent=1))
    if options.plot:
        plot(records, options.plot)


if __name__ == "__main__":
    main()

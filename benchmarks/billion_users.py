"""Searches over up to a billion users: time, bytes a second, exactness, and text to K users.

    python benchmarks/billion_users.py --rows 1e9 --json FILE          on a GPU of 80 GB
    python benchmarks/billion_users.py --device cpu --rows 1e6 --json FILE

A random table of 8-bit codes is made on the device. For each batch a search is timed for the best
users alone, with log-normalisers, and as a sample, and compared with float64 over all rows. In the
same run: the bandwidth of a copy on the device, torch's product and topk in blocks, faiss if it can
be imported, rows streamed from host memory, a product-quantised table, and the whole path from a
text over an encoder of MiniLM's shape and a linear head to K users. --tune times other tiles too.
"""

import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer

from warmstart.retrieval import device_search
from warmstart.retrieval.device import DeviceTable, StreamedTable
from warmstart.retrieval.device_noise import gumbel
from warmstart.retrieval.device_queries import ask

_BLOCK = 1 << 20  # rows made or compared at once
_PEER_BYTES = 1 << 30  # of scores that a peer stores at once
_TEXT = "A quiet film about two sisters who repair old radios in a harbour town"


def main(
    json_file: Annotated[Path, typer.Option("--json")],
    rows: Annotated[float, typer.Option(help="of the table")] = 1e9,
    width: Annotated[int, typer.Option("--bytes", help="of a row")] = 64,
    batches: Annotated[str, typer.Option(help="queries at once, separated by commas")] = "1,32,256",
    k: int = 100,
    device: str = "cuda",
    repeats: int = 5,
    tune: Annotated[bool, typer.Option(help="time other tiles of the kernels too")] = False,
) -> None:
    place, n = torch.device(device), int(rows)
    results: dict[str, Any] = {"environment": environment(place), "rows": n, "width": width, "k": k}

    def note(name: str, measure: Callable[[], Any]) -> None:
        """Keep what was measured, and go on if a measurement fails; the file grows as it goes."""
        try:
            results[name] = measure()
        except Exception as error:  # noqa: BLE001 (the others may still work)
            results[name] = {"failed": f"{type(error).__name__}: {error}"[:500]}
        print(name, json.dumps(results[name], indent=1), flush=True)
        json_file.write_text(json.dumps(results, indent=1) + "\n")
        if place.type == "cuda":
            torch.cuda.empty_cache()

    note("copy", lambda: copy_bandwidth(place))
    options = Options(k, place, repeats, tune, results["copy"].get("bytes_per_second", np.nan))
    of_one_table(n, width, [int(batch) for batch in batches.split(",")], options, note)
    note("product-quantised", lambda: quantised(n, k, place, repeats))


class Options(NamedTuple):
    k: int
    place: torch.device
    repeats: int
    tune: bool
    copy: float  # bytes per second


def of_one_table(
    n: int, width: int, batches: list[int], options: Options, note: Callable[..., None]
) -> None:
    """All that is measured on the main table, whose memory is free afterwards."""
    k, place, repeats, tune, copy = options
    codes, scales = random_table(n, width, place)
    table = DeviceTable(codes, scales, device=place)
    for batch in batches:
        queries = random_queries(batch, width)
        name = f"batch {batch}"
        note(name, lambda q=queries: searches(table, q, k, copy, place, repeats))
        note(f"{name} exact", lambda q=queries: exactness(table, codes, scales, q, k, place))
        note(f"{name} torch", lambda q=queries: torch_peer(codes, scales, q, k, place))
        if tune and place.type == "cuda" and batch > 1:
            note(f"{name} tiles", lambda q=queries: tiles(table, q, k, place))
    note("text to users", lambda: from_text(table, width, k, place, repeats))
    note("streamed", lambda: streamed(codes[: 1 << 26], scales[: 1 << 26], k, place))
    note("faiss", lambda: faiss_peer(codes[: 10**7], scales[: 10**7], k, place))


def random_table(n: int, width: int, place: torch.device, dtype: torch.dtype = torch.int8):
    """Codes and scales; the norms of rows differ as those of users do."""
    generator = torch.Generator(place).manual_seed(0)
    low, high = (-127, 128) if dtype == torch.int8 else (0, 256)
    codes = torch.empty((n, width), dtype=dtype, device=place)
    scales = torch.empty(n, device=place)
    for start in range(0, n, _BLOCK):
        some = slice(start, min(start + _BLOCK, n))
        size = (some.stop - some.start, width)
        codes[some] = torch.randint(low, high, size, generator=generator, device=place).to(dtype)
        scales[some] = torch.randn(size[0], generator=generator, device=place).mul_(0.3).exp_() / 73
    return codes, scales


def random_queries(batch: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(batch)
    return (2 * rng.normal(size=(batch, width)) / width**0.5).astype(np.float32)


def random_keys(batch: int) -> np.ndarray:
    return np.random.default_rng(batch + 1).integers(0, 2**32, (batch, 2), np.uint32)


def milliseconds(call: Callable[[], object], place: torch.device, repeats: int = 5) -> float:
    """The median; the first two calls compile and warm up."""
    times = []
    for _ in range(repeats + 2):
        synchronise(place)
        started = time.perf_counter()
        call()
        synchronise(place)
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times[2:]))


def synchronise(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)


def copy_bandwidth(place: torch.device) -> dict[str, float]:
    """Bytes read plus bytes written by a copy on the device."""
    size = 1 << 31 if place.type == "cuda" else 1 << 28
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=place)
    target = torch.empty_like(source)
    ms = milliseconds(lambda: target.copy_(source), place)
    return {"bytes_per_second": 2000 * size / ms}


def searches(
    table: DeviceTable,
    queries: np.ndarray,
    k: int,
    copy: float,
    place: torch.device,
    repeats: int,
) -> dict[str, Any]:
    """Milliseconds of whole searches, and of the pass over the codes alone."""
    keys = random_keys(len(queries))
    read = table._all.codes.nbytes + table._all.scales.nbytes
    found: dict[str, Any] = {}
    for name, options in (
        ("best", {}),
        ("best and normalisers", {"log_normalisers": True}),
        ("sample", {"keys": keys}),
    ):
        ms = milliseconds(lambda o=options: table.search(queries, k, **o), place, repeats)
        asked = ask(queries, 1.0, options.get("keys"), None, place)
        ms_of_pass = milliseconds(lambda a=asked, o=options: passes(table, a, o), place, repeats)
        found[name] = {
            "ms": ms,
            "ms an item": ms / len(queries),
            "ms of the pass": ms_of_pass,
            "bytes per second of the pass": 1000 * read / ms_of_pass,
            "of the bandwidth of a copy": 1000 * read / ms_of_pass / copy,
        }
    return found


def passes(table: DeviceTable, asked: Any, options: dict[str, Any]) -> None:
    kernels = device_search.kernels_for(table.device)
    for block in table._blocks(len(asked)):
        kernels.chunk_bounds(block, asked, sums="log_normalisers" in options)


def exactness(
    table: DeviceTable,
    codes: torch.Tensor,
    scales: torch.Tensor,
    queries: np.ndarray,
    k: int,
    place: torch.device,
) -> dict[str, Any]:
    """Up to four queries of a batch against float64 over all rows."""
    some = slice(0, 4)
    all_keys = random_keys(len(queries))
    found = table.search(queries, k, log_normalisers=True)
    drawn = table.search(queries, k, keys=all_keys)
    exact = torch.tensor(queries[some], dtype=torch.float64, device=place)
    keys = torch.tensor(all_keys[some].astype(np.int64), device=place)
    best, best_keys, sums = [], [], []
    for start in range(0, len(codes), _BLOCK):
        here = slice(start, start + _BLOCK)
        scores = exact @ codes[here].double().T * scales[here].double()
        numbers = torch.arange(start, start + scores.shape[1], device=place)[None]
        sums.append(scores.logsumexp(1))
        for kept, values in ((best, scores), (best_keys, scores + gumbel(keys, numbers))):
            top = values.topk(min(k, values.shape[1]))
            kept.append((top.values, top.indices + start))

    def wrong_rows(kept: list, rows: np.ndarray, decided: torch.dtype) -> int:
        values, numbers = (torch.cat(parts, 1).cpu() for parts in zip(*kept, strict=True))
        wrong = 0
        for value, number, row in zip(values.to(decided), numbers, rows[some], strict=True):
            order = np.lexsort((number.numpy(), -value.numpy()))[:k]
            wrong += int((number.numpy()[order] != row[: len(order)]).sum())
        return wrong

    assert found.log_normalisers is not None
    true = torch.stack(sums).logsumexp(0).cpu().numpy()
    return {
        "queries": len(exact),
        "wrong rows": wrong_rows(best, found.rows, torch.float32),
        "wrong rows of samples": wrong_rows(best_keys, drawn.rows, torch.float64),
        "largest error of a normaliser": float(np.abs(found.log_normalisers[some] - true).max()),
    }


def torch_peer(
    codes: torch.Tensor, scales: torch.Tensor, queries: np.ndarray, k: int, place: torch.device
) -> dict[str, float]:
    """Product in half precision and topk, block by block; its rows are not exact."""
    dtype = torch.float16 if place.type == "cuda" else torch.float32
    vectors = torch.tensor(queries, device=place).to(dtype)
    step = min(len(codes), _PEER_BYTES // 4 // max(len(queries), codes.shape[1]))

    def search() -> None:
        values = torch.empty((len(queries), 0), device=place)
        rows = torch.empty((len(queries), 0), dtype=torch.int64, device=place)
        for start in range(0, len(codes), step):
            here = slice(start, start + step)
            scores = (vectors @ codes[here].to(dtype).T).float() * scales[here]
            top = scores.topk(min(k, scores.shape[1]))
            values, rows = (
                torch.cat((old, new), 1)
                for old, new in ((values, top.values), (rows, top.indices + start))
            )
            values, order = values.topk(min(k, values.shape[1]))
            rows = rows.gather(1, order)

    ms = milliseconds(search, place, repeats=1)
    return {"ms": ms, "ms an item": ms / len(queries)}


def tiles(table: DeviceTable, queries: np.ndarray, k: int, place: torch.device) -> dict[str, Any]:
    """Milliseconds of a search with one tile for every batch."""
    from warmstart.retrieval import triton_kernels

    usual, found = triton_kernels.TILES, {}
    smallest = next((tile for tile in usual if tile.queries >= len(queries)), usual[-1])
    sizes = sorted({smallest.queries, max(16, smallest.queries // 2)})
    for size in sizes:
        for steps, warps, stages in ((16, 4, 3), (16, 8, 3), (8, 8, 4), (32, 8, 2), (32, 4, 2)):
            tile = triton_kernels.Tile(size, steps, warps, stages, 128)
            triton_kernels.TILES = [tile]
            try:
                ms = milliseconds(lambda: table.search(queries, k), place, repeats=3)
                found[str(tuple(tile))] = ms
            except Exception as error:  # noqa: BLE001 (a tile may not fit the shared memory)
                found[str(tuple(tile))] = str(error)[:100]
            finally:
                triton_kernels.TILES = usual
    return found


def from_text(
    table: DeviceTable, width: int, k: int, place: torch.device, repeats: int
) -> dict[str, Any]:
    """Encoder, linear head and search for one text and for 32."""
    name, encode = encoder(place)
    head = torch.randn((width, 384), device=place) / 384**0.5
    found: dict[str, Any] = {"encoder": name}
    for batch in (1, 32):
        texts = [f"{_TEXT}, part {number}" for number in range(batch)]

        def users(texts: list[str] = texts) -> None:
            queries = torch.nn.functional.normalize(encode(texts)) @ head.T
            table.search(queries.float().cpu().numpy(), k)

        ms = milliseconds(users, place, repeats)
        ms_of_encoder = milliseconds(lambda t=texts: encode(t), place, repeats)
        found[f"{batch} texts"] = {
            "ms": ms,
            "ms an item": ms / batch,
            "ms of the encoder": ms_of_encoder,
        }
    return found


def encoder(place: torch.device) -> tuple[str, Callable[[list[str]], torch.Tensor]]:
    """The default encoder, or without it a network of the same shape with random weights."""
    try:
        from warmstart.lm.encode import TextEncoder
        from warmstart.lm.load import LMConfig, load_language_model

        lm = load_language_model(LMConfig(device=place.type))
        one = TextEncoder(lm, use_cache=False)
        return "default", lambda texts: torch.tensor(one.encode(texts), device=place)
    except Exception as error:  # noqa: BLE001 (whatever is missing, time can be measured)
        reason = f"{type(error).__name__}: {error}"[:200]
    from transformers import BertConfig, BertModel

    shape = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    network = BertModel(shape).to(place).eval()

    @torch.no_grad()
    def encode(texts: list[str]) -> torch.Tensor:
        """A word gives a token, by its hash: the network takes as long as with real ones."""
        tokens = [[hash(word) % 30_000 for word in text.split()] for text in texts]
        return network(torch.tensor(tokens, device=place)).last_hidden_state.mean(1)

    return f"random weights of MiniLM's shape ({reason})", encode


def streamed(
    codes: torch.Tensor, scales: torch.Tensor, k: int, place: torch.device
) -> dict[str, float]:
    """Rows in host memory, sent through for each search."""
    host = StreamedTable(codes.cpu().numpy(), scales.cpu().numpy(), device=place)
    queries = random_queries(32, codes.shape[1])
    ms = milliseconds(lambda: host.search(queries, k), place, repeats=3)
    return {"rows": len(codes), "batch": 32, "ms": ms, "bytes_per_second": 1000 * codes.nbytes / ms}


def faiss_peer(
    codes: torch.Tensor, scales: torch.Tensor, k: int, place: torch.device
) -> dict[str, Any]:
    """A flat index of float32 over at most ten million rows, on the GPU if faiss has it."""
    if find_spec("faiss") is None:
        return {"skipped": "faiss is not installed"}
    import faiss  # pyright: ignore[reportMissingImports]

    index = faiss.IndexFlatIP(codes.shape[1])
    on_gpu = place.type == "cuda" and hasattr(faiss, "StandardGpuResources")
    if on_gpu:
        resources = faiss.StandardGpuResources()
        index = faiss.index_cpu_to_gpu(resources, 0, index)
    for start in range(0, len(codes), _BLOCK):
        some = slice(start, start + _BLOCK)
        index.add((codes[some].float() * scales[some, None]).cpu().numpy())
    found: dict[str, Any] = {"rows": len(codes), "on the GPU": on_gpu}
    for batch in (1, 32, 256):
        queries = random_queries(batch, codes.shape[1])
        found[f"batch {batch} ms"] = milliseconds(lambda q=queries: index.search(q, k), place, 3)
    return found


def quantised(n: int, k: int, place: torch.device, repeats: int) -> dict[str, Any]:
    """64 subspaces of two elements: 64 bytes stand for 128 numbers."""
    codes, scales = random_table(n, 64, place, torch.uint8)
    centroids = np.random.default_rng(0).normal(size=(64, 256, 2)).astype(np.float32)
    table = DeviceTable(codes, scales, centroids=centroids, device=place)
    found: dict[str, Any] = {}
    for batch in (1, 256):
        queries = random_queries(batch, 128)
        ms = milliseconds(lambda q=queries: table.search(q, k), place, repeats)
        found[f"batch {batch}"] = {"ms": ms, "ms an item": ms / batch}
    return found


def environment(place: torch.device) -> dict[str, Any]:
    versions = {}
    for name in ("torch", "triton", "numpy", "transformers", "faiss-gpu", "faiss-cpu"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "threads of torch": torch.get_num_threads(),
        "versions": versions,
        "kernels": device_search.kernels_for(place).__name__,
    }
    if place.type == "cuda":
        properties = torch.cuda.get_device_properties(place)
        found["device"] = {
            "name": properties.name,
            "bytes": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
        }
    return found


if __name__ == "__main__":
    typer.run(main)

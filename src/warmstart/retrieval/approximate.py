"""The best rows of a table by inner product, approximately, by an inverted index of faiss.

The rows are divided into lists around centroids, and a query reads only the lists whose centroids
have the highest products with it. The candidates found there are scored again by the table. So the
scores are exact, and what is approximate is which rows are found: ``recall`` measures it.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from warmstart.arguments import whole_number
from warmstart.config import Config
from warmstart.errors import ArtefactError, ConfigError, DataError, UnsupportedError, missing_extra
from warmstart.machine import available_cores
from warmstart.retrieval.best import Best, best_of, found_of
from warmstart.retrieval.checks import checked_search, described
from warmstart.retrieval.found import Found
from warmstart.retrieval.table import Shard, VectorTable
from warmstart.sampling import evenly_spaced
from warmstart.storage import atomic_folder

logger = logging.getLogger(__name__)

_MANIFEST, _INDEX = "approximate.json", "index.faiss"
_FORMAT = 1
_BLOCK = 65_536  # rows that are added at once
_SAMPLE_PER_LIST = 64  # rows for each centroid, from which all are trained
_LEAST_SAMPLE = 16_384
_PQ_SAMPLE_PER_CENTROID = 64
_PQ_CENTROIDS = 256
_MOST_LISTS = 16_384
_DIGEST_ROWS = 4096
_QUERIES_AT_ONCE = 1024
_ID_BYTES = 8
_LARGEST_FLOAT16 = 65_504


class IVFConfig(Config):
    """Settings of an inverted index.

    Attributes:
        n_lists: lists that the rows are divided into; None takes about 4 times the square root of
            their number, at most 16,384. Training takes 256 x n_lists x width bytes.
        n_probes: lists that a query reads; None takes one in 8, and at least 64. More find more and
            take longer. On a million clustered vectors one list in 16 finds .82 of the best 100,
            one in 64 .57.
        storage: what the index keeps of a row: "float16", 2 bytes a dimension; "int8", 1 byte, in
            256 steps between the extremes of that dimension; or "pq", product quantisation to
            ``pq_bytes``. A bias is one more dimension, a row number 8 bytes more.
        pq_bytes: bytes of a row with "pq".
        seed: of the sample that is trained on, and of the first centroids.
    """

    n_lists: int | None = Field(default=None, ge=1)
    n_probes: int | None = Field(default=None, ge=1)
    storage: Literal["float16", "int8", "pq"] = "float16"
    pq_bytes: int = Field(default=32, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)

    def resolved(self, n_rows: int) -> "IVFConfig":
        """These settings with the numbers of lists and of probes for so many rows, at least 1."""
        n_lists = self.n_lists
        if n_lists is None:
            n_lists = min(2 ** round(math.log2(4 * math.sqrt(n_rows))), _MOST_LISTS, n_rows)
        n_probes = max(n_lists // 8, 64) if self.n_probes is None else self.n_probes
        return self.model_copy(update={"n_lists": n_lists, "n_probes": n_probes})


class ApproximateTable:
    """An index of a table, which is made by ``build`` or ``open``.

    Attributes:
        table: the table, which scores the candidates.
        config: settings of the index.
    """

    def __init__(self, index: Any, table: VectorTable, config: IVFConfig) -> None:
        assert config.n_probes is not None, "resolved"
        self.table, self.config, self._n_probes = table, config, config.n_probes
        self._index, self._faiss = index, _faiss()
        self._lists = self._faiss.extract_index_ivf(index)

    @property
    def n_probes(self) -> int:
        """Lists that a query reads; may be changed at any time.

        Raises:
            ConfigError: it is set to no whole number from 1.
        """
        return self._n_probes

    @n_probes.setter
    def n_probes(self, value: int) -> None:
        self._n_probes = whole_number("ApproximateTable", "n_probes", value, low=1)

    @classmethod
    def build(
        cls, table: VectorTable, config: IVFConfig | None = None, *, threads: int | None = None
    ) -> "ApproximateTable":
        """Index the rows of a table, without those whose bias is -inf.

        Besides the index, memory has a sample of rows and a block of rows. With one thread the same
        table and settings give the same index.

        Args:
            table: the table; its vectors, or its rounded ones if it has no others, are indexed.
            config: settings; the defaults if None.
            threads: None takes all cores of this process.

        Raises:
            ConfigError: there are fewer rows than lists, or than "pq" is trained on; or a number is
                too large for the storage; or ``threads`` is no whole number from 1.
            DataError: it is no ``VectorTable``, or has no rows to be found.
            UnsupportedError: the package faiss-cpu is not installed.
        """
        faiss = _faiss()
        if not isinstance(table, VectorTable):
            raise DataError(f"ApproximateTable: indexes a VectorTable, got {described(table)}")
        if threads is not None:
            whole_number("ApproximateTable", "threads", threads, low=1)
        n_rows = sum(len(rows) for _, rows in _blocks(table))
        if not n_rows:
            raise DataError("ApproximateTable: the table has no rows that can be found")
        config = (IVFConfig() if config is None else config).resolved(n_rows)
        _check_rows(config, n_rows)
        with_bias = any("bias" in shard.arrays for shard in table.shards)
        index = _new_index(faiss, table.width + with_bias, config)
        with _threads(faiss, threads):
            sample = _sample(table, config, n_rows, with_bias)
            shift = sample[:, table.width :].mean(axis=0)  # of all biases: the order stays
            sample[:, table.width :] -= shift
            index.train(sample)
            del sample
            for shard, rows in _blocks(table):
                vectors = _with_bias(shard, rows, with_bias)
                vectors[:, table.width :] -= shift
                largest = np.abs(vectors).max()
                if config.storage == "float16" and largest > _LARGEST_FLOAT16:
                    raise ConfigError(
                        f"ApproximateTable: storage 'float16' holds numbers up to "
                        f"{_LARGEST_FLOAT16}, got {largest:.6g}; use 'int8' or 'pq'"
                    )
                index.add_with_ids(vectors, rows + shard.start)
        return cls(index, table, config)

    def __len__(self) -> int:
        return self._index.ntotal

    @property
    def nbytes(self) -> int:
        """Bytes of the index; those of the table are not counted."""
        centroids = 4 * self._lists.nlist * self._lists.d
        return len(self) * (self._lists.code_size + _ID_BYTES) + centroids

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        n_candidates: int | None = None,
        log_normalisers: bool = False,
        keys: np.ndarray | None = None,
        excluded: Sequence[np.ndarray] | None = None,
        threads: int | None = None,
    ) -> Found:
        """Find k of the best rows of each query; as many as ``VectorTable.search`` does.

        A query that finds fewer than k rows in its lists reads more of them.

        Args:
            queries: float32, shape (queries, width).
            k: number of rows, at least 1.
            n_candidates: rows that are scored exactly for each query; 4 k by default.
            log_normalisers: cannot be had.
            keys: cannot be had.
            excluded: row numbers that each query leaves out.
            threads: None takes all cores of this process.

        Returns:
            Rows ordered by exact score, equal ones by number.

        Raises:
            DataError: see ``checked_search``; or ``n_candidates`` is no whole number from 1.
            UnsupportedError: log-normalisers or a sample are asked for.
        """
        if log_normalisers or keys is not None:
            raise UnsupportedError(
                "an approximate search reads a part of the rows, and log-normalisers and samples "
                "depend on all of them; use VectorTable.search"
            )
        queries, k, _, left_out, n_threads = checked_search(
            queries, self.table.width, k, excluded=excluded, threads=threads
        )
        n = 4 * k if n_candidates is None else n_candidates
        n = max(k, whole_number("search", "n_candidates", n, low=1, error=DataError))
        best: list[Best] = []
        with _threads(self._faiss, n_threads):
            for start in range(0, len(queries), _QUERIES_AT_ONCE):
                some = slice(start, start + _QUERIES_AT_ONCE)
                found = self._candidates(queries[some], k, n, left_out[some], self.n_probes)
                for query, candidates in enumerate(found, start):
                    exact = self.table.scores(queries[query], candidates)
                    best.append(best_of(candidates, exact, k, None))
        return found_of(best, k, None, sampled=False)

    def recall(
        self,
        queries: np.ndarray,
        k: int,
        *,
        n_candidates: int | None = None,
        threads: int | None = None,
    ) -> float:
        """Measure the share of the exact k best rows that ``search`` finds.

        Args:
            queries: float32, shape (queries, width); each is also searched exactly.
            k: number of rows, at least 1.
            n_candidates: as of ``search``.
            threads: None takes all cores of this process.
        """
        found = self.search(queries, k, n_candidates=n_candidates, threads=threads).rows
        exact = self.table.search(queries, k, threads=threads).rows
        pairs = list(zip(found, exact, strict=True))
        hits = sum(len(np.intersect1d(one[one >= 0], other)) for one, other in pairs)
        wanted = int((exact >= 0).sum())
        recall = hits / wanted if wanted else 1.0
        logger.info(
            "recall@%d of the approximate search is %.4f on %d queries, with %d of %d lists",
            k, recall, len(queries), min(self.n_probes, self._lists.nlist), self._lists.nlist,
        )  # fmt: skip
        return recall

    def save(self, folder: Path) -> None:
        """Write the index, without the table, in place of the one that a folder has, if any.

        Raises:
            ArtefactError: the folder has other content.
        """
        manifest = {
            "format": _FORMAT,
            "table": _digest(self.table),
            "config": self.config.model_dump(),
        }
        files = (_MANIFEST, _INDEX)
        with atomic_folder(folder, is_ours=has_index, files=files, error=ArtefactError) as new:
            self._faiss.write_index(self._index, str(new / _INDEX))
            (new / _MANIFEST).write_text(json.dumps(manifest))

    @classmethod
    def open(cls, folder: Path, table: VectorTable) -> "ApproximateTable":
        """Open an index that ``save`` wrote; its lists are read from disk when a search needs them.

        Args:
            folder: the folder.
            table: the table that was indexed. A sample of its rows is compared.

        Raises:
            ArtefactError: the folder has no such index, or it is one of another table.
            UnsupportedError: the package faiss-cpu is not installed.
        """
        faiss = _faiss()
        try:
            manifest = json.loads((folder / _MANIFEST).read_text())
            known, digest = manifest["format"] == _FORMAT, manifest["table"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{folder} has no index of a table: {error}") from None
        if not known:
            raise ArtefactError(f"{folder}: an index of format {manifest['format']}, not {_FORMAT}")
        if digest != _digest(table):
            raise ArtefactError(
                f"{folder}: the index is of another table, such as that of an earlier fit; build "
                "one in another folder, or delete this one"
            )
        try:
            index = faiss.read_index(str(folder / _INDEX), faiss.IO_FLAG_MMAP)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ArtefactError(f"{folder / _INDEX} cannot be read: {reason}") from None
        return cls(index, table, IVFConfig.build(manifest["config"]))

    def _candidates(
        self, queries: np.ndarray, k: int, n: int, excluded: Sequence[np.ndarray], n_probes: int
    ) -> list[np.ndarray]:
        """The n rows of each query with the highest products in the index, ascending."""
        asked = np.pad(queries, ((0, 0), (0, self._index.d - self.table.width)), constant_values=1)
        wanted = min(n + max(map(len, excluded), default=0), len(self))
        labels = self._index.search(asked, wanted, params=self._parameters(n_probes))[1]
        found = []
        for query, (own, left_out) in enumerate(zip(labels, excluded, strict=True)):
            rows = own[(own >= 0) & ~np.isin(own, left_out)][:n]
            if len(rows) < k and n_probes < self._lists.nlist:
                only = slice(query, query + 1)
                found += self._candidates(queries[only], k, n, [left_out], 2 * n_probes)
            else:
                found.append(np.sort(rows))
        return found

    def _parameters(self, n_probes: int) -> Any:
        parameters = self._faiss.SearchParametersIVF(nprobe=min(n_probes, self._lists.nlist))
        if self.config.storage != "pq":
            return parameters
        return self._faiss.SearchParametersPreTransform(index_params=parameters)


def has_index(folder: Path) -> bool:
    """Whether ``ApproximateTable.save`` wrote a folder."""
    return (folder / _MANIFEST).is_file()


def _faiss() -> Any:
    try:
        return import_module("faiss")
    except ImportError:
        raise missing_extra("faiss-cpu", "ann") from None


def _check_rows(config: IVFConfig, n_rows: int) -> None:
    needed = {"n_lists": config.n_lists or 1}
    if config.storage == "pq":
        needed["the centroids of storage='pq'"] = _PQ_CENTROIDS
    for name, number in needed.items():
        if n_rows < number:
            raise ConfigError(
                f"ApproximateTable: {name} are {number}, but the table has {n_rows} rows that can "
                "be found; there must be at least as many"
            )


def _new_index(faiss: Any, width: int, config: IVFConfig) -> Any:
    """An untrained index; a rotation spreads what varies over all parts of a quantised vector."""
    m = config.pq_bytes
    # "np" leaves out polysemous training, which takes minutes and serves another search.
    kind = {
        "float16": "IVF{n},SQfp16",
        "int8": "IVF{n},SQ8",
        "pq": f"RR{-(-width // m) * m},IVF{{n}},PQ{m}x8np",
    }[config.storage].format(n=config.n_lists)
    index = faiss.index_factory(width, kind, faiss.METRIC_INNER_PRODUCT)
    lists = faiss.downcast_index(faiss.extract_index_ivf(index))
    lists.cp.seed, lists.cp.min_points_per_centroid = config.seed, 1
    if config.storage == "pq":
        training = lists.pq.cp
        training.seed, training.min_points_per_centroid = config.seed, 1
        training.max_points_per_centroid = _PQ_SAMPLE_PER_CENTROID
    return index


def _blocks(table: VectorTable) -> Iterator[tuple[Shard, np.ndarray]]:
    """The rows that can be found, in blocks; numbers are counted from the first of a shard."""
    for shard in table.shards:
        bias = shard.arrays.get("bias")
        for start in range(0, len(shard), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(shard)))
            yield shard, rows if bias is None else rows[bias[rows] > -np.inf]


def _sample(table: VectorTable, config: IVFConfig, n_rows: int, with_bias: bool) -> np.ndarray:
    """Vectors to train on: float32, shape (rows, width), with the bias behind them if there is one.

    Args:
        table: the table.
        config: settings with a number of lists.
        n_rows: rows of the table that can be found.
        with_bias: whether there is a bias.
    """
    n = min(n_rows, max(_SAMPLE_PER_LIST * (config.n_lists or 1), _LEAST_SAMPLE))
    chosen = np.sort(np.random.default_rng(config.seed).choice(n_rows, n, replace=False))
    sample, seen = np.empty((n, table.width + with_bias), np.float32), 0
    for shard, rows in _blocks(table):
        first, last = np.searchsorted(chosen, (seen, seen + len(rows)))
        own = rows[chosen[first:last] - seen]
        sample[first:last] = _with_bias(shard, own, with_bias)
        seen += len(rows)
    return sample


def _with_bias(shard: Shard, rows: np.ndarray, with_bias: bool) -> np.ndarray:
    """New vectors of rows, with the bias as the last column if there is one."""
    vectors = shard.vectors(rows)
    if not with_bias:
        return np.ascontiguousarray(vectors)
    bias = shard.arrays.get("bias")
    own = np.zeros(len(rows), np.float32) if bias is None else bias[rows]
    return np.concatenate([vectors, own[:, None]], axis=1)


def _digest(table: VectorTable) -> str:
    """A hash of the size of a table and of some of its rows, evenly spaced."""
    digest = hashlib.sha256(f"{len(table)} {table.width}".encode())
    for shard in table.shards:
        rows = evenly_spaced(len(shard), _DIGEST_ROWS)
        for name in ("codes", "scales", "bias"):
            if name in shard.arrays:
                digest.update(shard.arrays[name][rows].tobytes())
    return digest.hexdigest()


@contextmanager
def _threads(faiss: Any, threads: int | None) -> Iterator[None]:
    """Let faiss use so many threads, or all cores, for calls from this thread."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(available_cores() if threads is None else threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)

"""Exact top-K by inner product over up to 2^32 rows on GPUs, in one pass over 8-bit codes.

The score of query q and row r is ``scales[r] * (codes[r] @ q) * factor + bias[r]``, as the float32
next to the true value. Three tables answer the same question in the same way:

    DeviceTable      rows in the memory of one device
    StreamedTable    rows in host memory or in mapped files, sent through in blocks
    SplitTable       rows divided among tables, on one device each

How a block is searched, ``device_search`` says; the passes are in ``triton_kernels`` (CUDA) and
``torch_kernels`` (every device). Rows, scores and keys found depend neither on the device nor on
the sizes of blocks, up to the last bit of float64 in the logarithms of the noise.

What was run: everything here on CPUs, the Triton kernels in Triton's interpreter and through its
compiler for compute capability 9.0. Nothing has run on a GPU yet, and no speed is claimed.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from threading import Lock
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from warmstart.errors import DataError
from warmstart.retrieval.device_queries import Asked, ask
from warmstart.retrieval.device_rows import CHUNK, Block, Centroids, chunk_norms
from warmstart.retrieval.device_search import Best, Excluded, search_block
from warmstart.retrieval.found import Found, merge

_QUERIES_AT_ONCE = 256
_BOUNDS_AT_ONCE = 1 << 28  # of chunks and queries, stored between the steps of a search: 1 GiB
_COPY_THREADS = 8  # one core alone fills no PCI Express link


class Table(Protocol):
    """What can be searched."""

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        factor: float = 1.0,
        keys: np.ndarray | None = None,
        log_normalisers: bool = False,
        excluded: Sequence[np.ndarray] | None = None,
    ) -> Found:
        """Find the k rows with the highest scores, or a sample of k rows.

        Args:
            queries: float32, shape (queries, width).
            k: number of rows, at least 1.
            factor: multiplies the products.
            keys: two numbers for each query, uint32, shape (queries, 2). With them rows are sampled
                without replacement from the softmax of the scores (see ``device_noise``).
            log_normalisers: whether to compute log sum exp of the scores of all rows, the excluded
                ones too, to about 1e-6 of the size of the scores.
            excluded: global row numbers that each query leaves out.
        """
        ...


class _BlockTable:
    """A table that goes through its rows block by block."""

    centroids: Centroids | None
    device: torch.device
    n_rows: int
    width: int
    first_row: int

    def _blocks(self, n_queries: int) -> Iterator[Block]:
        """Blocks in the order of their rows, for so many queries at once."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.n_rows

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        factor: float = 1.0,
        keys: np.ndarray | None = None,
        log_normalisers: bool = False,
        excluded: Sequence[np.ndarray] | None = None,
    ) -> Found:
        """See ``Table``."""
        excluded = [np.zeros(0, np.int64)] * len(queries) if excluded is None else excluded
        self._check(queries, k, keys, excluded)
        with torch.no_grad(), _current(self.device):
            batches = []
            for start in range(0, len(queries), _QUERIES_AT_ONCE):
                some = slice(start, start + _QUERIES_AT_ONCE)
                some_keys = None if keys is None else keys[some]
                asked = ask(queries[some], factor, some_keys, self.centroids, self.device)
                batches.append(_Batch(asked, k, Excluded(excluded[some], self.device)))
            for block in self._blocks(min(len(queries), _QUERIES_AT_ONCE)):
                for batch in batches:
                    batch.add(block, log_normalisers)
            parts = [batch.found(log_normalisers) for batch in batches]
        return _one_below_the_other(parts)

    def _check(
        self,
        queries: np.ndarray,
        k: int,
        keys: np.ndarray | None,
        excluded: Sequence[np.ndarray],
    ) -> None:
        if queries.ndim != 2 or queries.shape[1] != self.width or queries.dtype != np.float32:
            raise DataError(
                f"search: queries are {queries.dtype} {queries.shape}; float32 (queries, "
                f"{self.width}) are needed."
            )
        if len(queries) == 0 or k < 1:
            raise DataError(f"search: {len(queries)} queries and k = {k}; both are at least 1.")
        if not np.isfinite(queries).all():
            raise DataError("search: queries hold NaN or infinity; leave these queries out.")
        if keys is not None and (keys.shape != (len(queries), 2) or keys.dtype != np.uint32):
            raise DataError(
                f"search: keys are {keys.dtype} {keys.shape}; uint32 ({len(queries)}, 2) are "
                "needed."
            )
        if len(excluded) != len(queries):
            raise DataError(
                f"search: excluded has {len(excluded)} arrays for {len(queries)} queries; give one "
                "for each, empty if nothing is left out."
            )


class DeviceTable(_BlockTable):
    """Rows in the memory of one device.

    Args:
        codes: int8, shape (rows, width); or uint8, shape (rows, subspaces), with ``centroids``.
            Tensors that are on the device already are not copied.
        scales: multiplies the vector of each row, finite float32, shape (rows,).
        bias: added to the scores, float32, shape (rows,); -inf leaves a row out.
        centroids: what codes stand for, float32, shape (subspaces, 256, width of a subspace).
        device: where to search, as torch names it.
        first_row: global number of the first row.
    """

    def __init__(
        self,
        codes: np.ndarray | Tensor,
        scales: np.ndarray | Tensor,
        bias: np.ndarray | Tensor | None = None,
        *,
        centroids: np.ndarray | None = None,
        device: str | torch.device,
        first_row: int = 0,
    ) -> None:
        self.device, self.n_rows, self.first_row = torch.device(device), len(codes), first_row
        _check_table(codes, scales, bias, centroids, first_row)
        self.centroids = None if centroids is None else Centroids(centroids, self.device)
        self.width = codes.shape[1] if centroids is None else centroids[:, 0].size
        with _current(self.device):
            codes, scales = _resident(codes, self.device), _resident(scales, self.device)
            bias = None if bias is None else _resident(bias, self.device)
            norms = chunk_norms(codes, scales, self.centroids)
        self._all = Block(codes, scales, bias, norms, first_row, self.centroids)

    def _blocks(self, n_queries: int) -> Iterator[Block]:
        rows = max(1, _BOUNDS_AT_ONCE // n_queries) * CHUNK
        for start in range(0, self.n_rows, rows):
            yield self._all.slice(start, min(start + rows, self.n_rows))


class StreamedTable(_BlockTable):
    """Rows in host memory or mapped files, which every search sends through a device in blocks.

    While one block is searched the next is copied: by threads into page-locked memory and from
    there on a CUDA stream of its own, into one of two buffers. One search runs at a time.

    Args:
        codes, scales, bias, centroids, device, first_row: as of ``DeviceTable``.
        block_rows: rows in a buffer, a multiple of 128.
    """

    def __init__(
        self,
        codes: np.ndarray,
        scales: np.ndarray,
        bias: np.ndarray | None = None,
        *,
        centroids: np.ndarray | None = None,
        device: str | torch.device,
        first_row: int = 0,
        block_rows: int = 1 << 23,
    ) -> None:
        _check_table(codes, scales, bias, centroids, first_row)
        if block_rows < CHUNK or block_rows % CHUNK:
            raise DataError(f"StreamedTable: block_rows={block_rows}; take a multiple of {CHUNK}.")
        self.device, self.n_rows, self.first_row = torch.device(device), len(codes), first_row
        self.centroids = None if centroids is None else Centroids(centroids, self.device)
        self.width = codes.shape[1] if centroids is None else centroids[:, 0].size
        self._arrays = [codes, scales] + ([] if bias is None else [bias])
        with _current(self.device):
            rows = min(block_rows, len(codes))
            self._buffers = [_Buffer(self._arrays, rows, self.device) for _ in range(2)]
        self._rows, self._searching = block_rows, Lock()

    def _blocks(self, n_queries: int) -> Iterator[Block]:
        with (
            self._searching,
            ThreadPoolExecutor(_COPY_THREADS) as copying,
            ThreadPoolExecutor(1) as filling,
        ):

            def fill(number: int) -> Future[None]:
                buffer, start = self._buffers[number % 2], number * self._rows
                return filling.submit(buffer.fill, self._arrays, start, copying)

            n_blocks = -(-self.n_rows // self._rows)
            filled = fill(0) if n_blocks else None
            for number in range(n_blocks):
                assert filled is not None
                filled.result()
                filled = fill(number + 1) if number + 1 < n_blocks else None
                buffer = self._buffers[number % 2]
                codes, scales, *bias = buffer.ready()
                norms = chunk_norms(codes, scales, self.centroids)
                first_row = self.first_row + number * self._rows
                bias = bias[0] if bias else None
                yield Block(codes, scales, bias, norms, first_row, self.centroids)
                buffer.release()


class SplitTable:
    """Tables whose rows follow each other, on a device each, which are searched at once.

    Args:
        tables: their ``first_row`` are where the one before ends.
    """

    def __init__(self, tables: Sequence[DeviceTable | StreamedTable]) -> None:
        for one, other in pairwise(tables):
            if one.first_row + len(one) != other.first_row:
                raise DataError(
                    f"SplitTable: a table of rows {one.first_row} to {one.first_row + len(one)} is "
                    f"followed by one from {other.first_row}; set first_row to where one ends."
                )
        self.tables = tables
        self._threads = ThreadPoolExecutor(len(tables), "tables")

    def __len__(self) -> int:
        return sum(map(len, self.tables))

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        factor: float = 1.0,
        keys: np.ndarray | None = None,
        log_normalisers: bool = False,
        excluded: Sequence[np.ndarray] | None = None,
    ) -> Found:
        """See ``Table``."""

        def of(table: DeviceTable | StreamedTable) -> Found:
            return table.search(
                queries, k, factor=factor, keys=keys, log_normalisers=log_normalisers,
                excluded=excluded,
            )  # fmt: skip

        return merge(list(self._threads.map(of, self.tables)), k)


class _Batch:
    """Queries that are searched at once, and what was found for them so far."""

    def __init__(self, asked: Asked, k: int, excluded: Excluded) -> None:
        self.asked, self.k, self.excluded = asked, k, excluded
        shape, device = (len(asked), 0), asked.exact.device
        dtype = torch.float32 if asked.keys is None else torch.float64
        self.best = Best(
            torch.empty(shape, dtype=dtype, device=device),
            torch.empty(shape, dtype=torch.int64, device=device),
            torch.empty(shape, device=device),
        )
        self.sums = torch.full(shape[:1], -torch.inf, dtype=torch.float64, device=device)

    def add(self, block: Block, log_normalisers: bool) -> None:
        best, sums = search_block(block, self.asked, self.k, self.excluded, sums=log_normalisers)
        self.best = self.best.then(best, self.k)
        if sums is not None:
            self.sums = torch.logaddexp(self.sums, sums)

    def found(self, log_normalisers: bool) -> Found:
        sums = self.sums if log_normalisers else None
        return self.best.found(self.k, sums, sampled=self.asked.keys is not None)


class _Buffer:
    """Memory for one block: page-locked on the host, and on the device.

    Without CUDA both are the same. ``fill`` runs in another thread than the rest.
    """

    def __init__(self, arrays: Sequence[np.ndarray], rows: int, device: torch.device) -> None:
        cuda = device.type == "cuda"
        dtypes = [torch.from_numpy(np.empty(0, array.dtype)).dtype for array in arrays]
        self.device_memory = self.host = [
            torch.empty((rows, *array.shape[1:]), dtype=dtype, pin_memory=cuda)
            for array, dtype in zip(arrays, dtypes, strict=True)
        ]
        self.n, self.stream = 0, None
        if cuda:
            self.device_memory = [torch.empty_like(one, device=device) for one in self.host]
            self.stream = torch.cuda.Stream(device)
            self.sent, self.searched = torch.cuda.Event(), torch.cuda.Event()
            self.searched.record(torch.cuda.current_stream(device))

    def fill(self, arrays: Sequence[np.ndarray], start: int, copying: ThreadPoolExecutor) -> None:
        """Start to bring rows to the device."""
        self.n = min(len(self.host[0]), len(arrays[0]) - start)
        if self.stream is not None:
            self.sent.synchronize()  # the host's memory may still be read
        share = -(-self.n // _COPY_THREADS)
        copies = [
            copying.submit(np.copyto, memory.numpy()[at:end], array[start + at : start + end])
            for memory, array in zip(self.host, arrays, strict=True)
            for at in range(0, self.n, share)
            for end in [min(at + share, self.n)]
        ]
        for copy in copies:
            copy.result()
        if self.stream is not None:
            self.stream.wait_event(self.searched)
            with torch.cuda.stream(self.stream):
                for memory, host in zip(self.device_memory, self.host, strict=True):
                    memory[: self.n].copy_(host[: self.n], non_blocking=True)
                self.sent.record(self.stream)

    def ready(self) -> list[Tensor]:
        """The rows, once the current stream may read them."""
        if self.stream is not None:
            torch.cuda.current_stream(self.stream.device).wait_event(self.sent)
        return [memory[: self.n] for memory in self.device_memory]

    def release(self) -> None:
        """Let the memory be filled again once the current stream has done what it has to do."""
        if self.stream is not None:
            self.searched.record(torch.cuda.current_stream(self.stream.device))


def _resident(array: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """A contiguous tensor on a device. Arrays are copied in pieces, which may be mapped files."""
    if isinstance(array, Tensor):
        return array.to(device).contiguous()
    dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    copy = torch.empty(array.shape, dtype=dtype, device=device)
    for start in range(0, len(array), 1 << 22):
        copy[start : start + (1 << 22)] = torch.tensor(array[start : start + (1 << 22)])
    return copy


def _check_table(
    codes: np.ndarray | Tensor,
    scales: np.ndarray | Tensor,
    bias: np.ndarray | Tensor | None,
    centroids: np.ndarray | None,
    first_row: int,
) -> None:
    wanted = "int8" if centroids is None else "uint8"
    found = str(codes.dtype).removeprefix("torch.")
    if codes.ndim != 2 or found != wanted or not 1 <= codes.shape[1] <= 1024:
        raise DataError(
            f"a table's codes are {found} {tuple(codes.shape)}; {wanted} (rows, 1 to 1024) are "
            f"needed {'without' if centroids is None else 'with'} centroids."
        )
    if centroids is not None and (
        centroids.ndim != 3 or centroids.shape[:2] != (codes.shape[1], 256)
    ):
        raise DataError(
            f"a table's centroids have shape {centroids.shape}; ({codes.shape[1]}, 256, width of a "
            "subspace) is needed."
        )
    for name, array in (("scales", scales), ("bias", bias)):
        if array is not None and (
            tuple(array.shape) != (len(codes),) or not str(array.dtype).endswith("float32")
        ):
            raise DataError(
                f"a table's {name} are {array.dtype} {tuple(array.shape)}; float32 ({len(codes)},) "
                "are needed."
            )
    if first_row + len(codes) > 2**32:
        raise DataError(
            f"a table ends at row {first_row + len(codes)}; row numbers are below 2^32, because "
            "the noise of samples is a function of 32 bits."
        )


def _one_below_the_other(parts: Sequence[Found]) -> Found:
    """What was found for batches of queries."""

    def stacked(name: str) -> np.ndarray | None:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays)

    return Found(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.scores for part in parts]),
        stacked("log_normalisers"),
        stacked("keys"),
    )


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Makes a GPU the one on which kernels are started."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()

"""Tables of vectors on disk, in shards, whose files are mapped into memory.

A folder has a manifest and a folder for each shard, with one .npy file for each array of
``rounded_vectors``, their block maxima, and, if they are kept, the vectors and biases. Opening
reads the manifest and the headers of the files, so it takes no longer for larger shards.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from warmstart.arguments import whole_number
from warmstart.errors import ArtefactError, DataError
from warmstart.retrieval.checks import check_norms, checked_bias
from warmstart.retrieval.rounding import BLOCK_ROWS, block_maxima, padded, rounded_vectors
from warmstart.retrieval.table import Shard, VectorTable
from warmstart.storage import atomic_folder

Kept = Literal["float32", "float16", "none"]

_MANIFEST = "table.json"
_FORMAT = 1
_ROWS_PER_SHARD = 2**24  # at width 64 a shard of codes is 1 GiB
_ROUNDED = ("codes", "scales", "errors", "norms")


def write_table(
    folder: Path,
    blocks: Iterable[np.ndarray],
    n_rows: int,
    width: int,
    *,
    keep: Kept = "float32",
    bias: np.ndarray | None = None,
    rows_per_shard: int = _ROWS_PER_SHARD,
) -> VectorTable:
    """Write a table in place of the one that a folder has, if any, and open it.

    Args:
        folder: the folder; others see the old table or the new one, never a part.
        blocks: all rows in order, float32, shape (rows of the block, width). One block is in memory
            at a time.
        n_rows: number of rows.
        width: width of the vectors.
        keep: type in which the vectors are kept for exact scores of candidates; "none" keeps the
            rounded ones alone, about width + 16 bytes a row.
        bias: added to the scores of each row, float32, shape (n_rows,).
        rows_per_shard: maximum number of rows of a shard, a multiple of 4096.

    Raises:
        DataError: an argument is not allowed; or the blocks have another shape or number of rows,
            or numbers that are not finite or too large for ``keep``.
        ArtefactError: the folder has other content.
    """
    n_rows = whole_number("write_table", "n_rows", n_rows, low=0, error=DataError)
    width = whole_number("write_table", "width", width, low=1, error=DataError)
    whole_number("write_table", "rows_per_shard", rows_per_shard, low=1, error=DataError)
    if rows_per_shard % BLOCK_ROWS:
        raise DataError(
            f"write_table: rows_per_shard must be a multiple of {BLOCK_ROWS}, got {rows_per_shard}"
        )
    if keep not in get_args(Kept):
        raise DataError(f"write_table: keep must be one of {get_args(Kept)}, got {keep!r}")
    if bias is not None:
        bias = checked_bias("write_table", bias, n_rows)
    folder = Path(folder)
    ends = [*range(rows_per_shard, n_rows, rows_per_shard), n_rows]
    starts = [0, *ends[:-1]]
    with atomic_folder(folder, is_ours=_is_ours, files=None, error=ArtefactError) as new:
        writer = _Writer(new, list(zip(starts, ends, strict=True)), width, keep)
        for block in blocks:
            writer.add(np.asarray(block, np.float32))
        writer.finish(bias)
        manifest = {"format": _FORMAT, "width": width, "starts": starts, "rows": n_rows}
        (new / _MANIFEST).write_text(json.dumps(manifest))
    return open_table(folder)


def open_table(folder: Path, shards: Sequence[int] | None = None) -> VectorTable:
    """Open a table; its rows are read from disk when a search needs them.

    Args:
        folder: a folder that ``write_table`` wrote.
        shards: numbers of the shards to open; all by default. Row numbers are those in the table.

    Raises:
        ArtefactError: the folder has no table, or one of another format, or lacks a shard.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        known, starts, width = manifest["format"] == _FORMAT, manifest["starts"], manifest["width"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{folder} has no table of vectors: {error}") from None
    if not known:
        raise ArtefactError(f"{folder}: a table of format {manifest['format']}, not {_FORMAT}")
    chosen = range(len(starts)) if shards is None else shards
    if not set(chosen) <= set(range(len(starts))) or not len(chosen):
        raise ArtefactError(f"{folder}: shards must be within 0..{len(starts) - 1}, got {shards}")
    opened = []
    for number in chosen:
        files = sorted((folder / _name(number)).glob("*.npy"))
        arrays = {path.stem: np.load(path, mmap_mode="r") for path in files}
        if missing := set(_ROUNDED) - set(arrays):
            raise ArtefactError(
                f"{folder / _name(number)}: the files of {sorted(missing)} are gone"
            )
        opened.append(Shard(arrays, width, starts[number]))
    return VectorTable.of_shards(opened)


def n_shards(folder: Path) -> int:
    """Number of shards of a table on disk."""
    return len(json.loads((folder / _MANIFEST).read_text())["starts"])


class _Writer:
    """Fills the files of all shards in order."""

    def __init__(
        self, folder: Path, shards: Sequence[tuple[int, int]], width: int, keep: Kept
    ) -> None:
        self.folder, self.shards, self.width, self.keep = folder, shards, width, keep
        self.n_rows, self.row = shards[-1][1], 0

    def add(self, block: np.ndarray) -> None:
        if block.ndim != 2 or block.shape[1] != self.width or self.row + len(block) > self.n_rows:
            raise DataError(
                f"write_table: a block of shape {block.shape} after {self.row} rows; expected "
                f"{self.n_rows} rows of width {self.width} in all"
            )
        for number, (start, end) in enumerate(self.shards):
            first, last = max(start, self.row), min(end, self.row + len(block))
            if first >= last:
                continue
            own = block[first - self.row : last - self.row]
            with np.errstate(over="ignore"):
                kept = own if self.keep == "none" else own.astype(self.keep)
            arrays = rounded_vectors(kept)
            check_norms("write_table", kept, arrays["norms"], first)
            if self.keep != "none":
                arrays["vectors"] = kept
            for name, array in arrays.items():
                self._file(number, name, array)[first - start : last - start] = array
        self.row += len(block)

    def finish(self, bias: np.ndarray | None) -> None:
        if self.row < self.n_rows:
            raise DataError(f"write_table: the blocks have {self.row} of {self.n_rows} rows")
        for number, (start, end) in enumerate(self.shards):
            folder = self.folder / _name(number)
            if start == end:  # no rows at all
                empty = rounded_vectors(np.zeros((0, self.width), np.float32))
                for name, array in empty.items():
                    self._file(number, name, array)
            for name in ("errors", "norms"):
                maxima = block_maxima(np.load(folder / f"{name}.npy", mmap_mode="r"))
                np.save(folder / f"block_{name}.npy", maxima)
            if bias is not None:
                np.save(folder / "bias.npy", np.asarray(bias[start:end], np.float32))

    def _file(self, number: int, name: str, example: np.ndarray) -> np.ndarray:
        """The file of an array, made with the size of its shard when it is first written."""
        folder, (start, end) = self.folder / _name(number), self.shards[number]
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.npy"
        if path.exists():
            return np.lib.format.open_memmap(path, mode="r+")
        shape = (end - start, *example.shape[1:])
        if not end - start:
            np.save(path, example)
            return example.copy()
        return np.lib.format.open_memmap(path, mode="w+", dtype=example.dtype, shape=shape)


def _name(number: int) -> str:
    return f"shard-{number:05d}"


def _is_ours(folder: Path) -> bool:
    return (folder / _MANIFEST).is_file()


def bytes_per_row(width: int, keep: Kept, *, bias: bool = False) -> int:
    """Bytes that a row takes on disk, and in memory once it was read."""
    kept = {"float32": 4, "float16": 2, "none": 0}[keep] * width
    return padded(width) + 3 * 4 + kept + 4 * bias

"""Snapshots: the stored items of an index in files, which processes map and share.

A snapshot belongs to one model, and holds the items that are not in its training data as they were
when it was written. Whoever opens it compares it with the store (``Loader``), so one that is old,
or of another store, costs time only; it may be deleted at any time. An item that is deleted is
erased in the files too.
"""

import hashlib
import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Self, TypeAlias

import numpy as np

from warmstart.errors import ArtefactError
from warmstart.retrieval.rounding import rounded_vectors
from warmstart.retrieval.table import VectorTable
from warmstart.servable import ItemRows
from warmstart.serve.engine.growable import borrowed
from warmstart.serve.engine.names import NameTable, TextArray, name_hashes
from warmstart.storage import atomic_folder, folder_version, write_text

FORMAT = 2
_MANIFEST = "snapshot.json"
_COMPARISON = "comparison.json"
_ERASED = ("columns.content", "content", "vectors", "codes", "product_vectors")  # and "rows.*"
_ROWS_AT_ONCE = 65_536

_Part: TypeAlias = tuple[Mapping[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """How a snapshot differs from a store.

    Attributes:
        last_change: a change of the store before the comparison.
        different: names of items of the store that are not in the snapshot as they are there.
        gone: names of items of the snapshot that the store does not have, or has as deleted.
    """

    last_change: int
    different: list[str]
    gone: list[str]


def snapshot_name(store: str, model_hash: str, max_exposure: float) -> str:
    """Name of the folder of a snapshot: one part for the store, and one for all else it depends on.

    Args:
        store: URL of the store.
        model_hash: hash of the model.
        max_exposure: the setting.
    """
    parts = store, f"{FORMAT} {model_hash} {max_exposure!r}"
    return "-".join(hashlib.sha256(part.encode()).hexdigest()[:16] for part in parts)


def read_comparison(place: Path, run: str) -> Comparison | None:
    """The comparison that another worker of the same run has made; None if there is none."""
    try:
        found = json.loads((place / _COMPARISON).read_text())
        return Comparison(**found["comparison"]) if run and found["run"] == run else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_comparison(place: Path, run: str, comparison: Comparison) -> None:
    """Keep a comparison for the other workers of this run."""
    content = json.dumps({"run": run, "comparison": asdict(comparison)})
    write_text(place / _COMPARISON, content)


def remove_others(folder: Path, name: str) -> None:
    """Remove all other snapshots of the same store, and what processes that were killed have left.

    Files that are mapped stay until they are closed.
    """
    store = name.partition("-")[0]
    for place in folder.iterdir():
        if place.name != name and place.name.startswith((store, f".{store}")) and place.is_dir():
            shutil.rmtree(place, ignore_errors=True)


class Snapshot:
    """Stored items in mapped files, in the order of the hashes of their names.

    Args:
        folder: the folder that ``write`` wrote.

    Raises:
        ArtefactError: the folder has no snapshot, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._version = folder, folder_version(folder)
        self._replaced_by: Snapshot | None = None
        try:
            manifest = json.loads((folder / _MANIFEST).read_text())
            if manifest["format"] != FORMAT:
                raise ArtefactError(f"{folder}: a snapshot of format {manifest['format']}")
            self._owners: list[str] = manifest["owners"]
            self.arrays = {name: _mapped(folder / f"{name}.npy") for name in manifest["arrays"]}
            self._files = {  # kept open: others may take the place of the folder
                name: os.open(folder / f"{name}.npy", os.O_RDWR)
                for name in self.arrays
                if name in _ERASED or name.startswith("rows.")
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{folder}: the snapshot cannot be read: {error}") from None
        weakref.finalize(self, _close, [*self._files.values()])
        names = TextArray(self.arrays["names.content"], self.arrays["names.ends"])
        self.names = NameTable(names, self.arrays["names.hashes"])
        self._columns = TextArray(self.arrays["columns.content"], self.arrays["columns.ends"])

    def __len__(self) -> int:
        return len(self.names)

    def owner(self, row: int) -> str:
        """The owner of an item."""
        return self._owners[self.arrays["owners"][row]]

    def columns(self, row: int) -> bytes:
        """The columns of an item, as JSON."""
        return self._columns.content[self._columns.span(row)].tobytes()

    @cached_property
    def products(self) -> VectorTable | None:
        """Vectors whose products are the cold scores, if they are such."""
        if "codes" not in self.arrays:
            return None
        names = ("codes", "scales", "errors", "norms")
        return VectorTable(
            self.arrays["product_vectors"], {name: self.arrays[name] for name in names}
        )

    def table_arrays(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Arrays with one row for each item."""
        return {name: borrowed(self.arrays[name]) for name in names}

    def compare(
        self, items: Iterable[Sequence[tuple[str, str, bool]]]
    ) -> tuple[list[str], list[str]]:
        """Compare the items with those of a store.

        Args:
            items: pages of all items of the store: name, content, and whether it was deleted.

        Returns:
            Names of items of the store that are not here as they are there; and of items here that
            the store does not have, or has as deleted.
        """
        different: list[str] = []
        is_there = np.zeros(len(self), bool)
        hashes, contents = self.arrays["names.hashes"], self.arrays["content"]
        for page in items:
            found = name_hashes(name for name, _, _ in page)
            wanted = name_hashes(content for _, content, _ in page)
            places = np.minimum(hashes.searchsorted(found), len(self) - 1)
            alive = np.array([not deleted for _, _, deleted in page])
            here = (hashes[places] == found) & alive
            same = here & (contents[places] == wanted)
            is_there[places[here]] = True
            different += [page[at][0] for at in np.flatnonzero(~same).tolist()]
        gone = [self.names.names[row] for row in np.flatnonzero(~is_there).tolist()]
        return different, gone

    def erase(self, row: int) -> None:
        """Overwrite the columns and the vectors of an item with zeros, for good.

        They are erased in the files that are mapped here, and in those that have replaced them.
        """
        for name, file in self._files.items():
            array, part = self.arrays[name], slice(row, row + 1)
            if name == "columns.content":
                part = self._columns.span(row)
            size = array[:1].nbytes
            header = os.fstat(file).st_size - array.nbytes
            zeros = bytes((part.stop - part.start) * size)
            os.pwrite(file, zeros, header + part.start * size)
        newer = self._newer()
        if newer is not None and (there := newer.names.find(self.names.names[row])) >= 0:
            newer.erase(there)

    def _newer(self) -> "Snapshot | None":
        """The snapshot that has taken the place of this one; None if there is none."""
        version = folder_version(self.folder)
        if version != self._version:
            self._version, self._replaced_by = version, None
            with suppress(ArtefactError):
                self._replaced_by = Snapshot(self.folder)
        return self._replaced_by


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)


def write_snapshot(
    folder: Path,
    parts: Sequence[_Part],
    written: Sequence[tuple[str, str, bytes]],
    products: Callable[[ItemRows], np.ndarray | None] | None,
) -> Snapshot:
    """Write a snapshot in place of the one that a folder has, if any.

    Args:
        folder: the folder.
        parts: arrays, and the rows of them that are written: one for each item.
        written: name, owner and columns of each item, in the order of the parts.
        products: ``Servable.cold_vectors``, if the cold scores are products.

    Raises:
        OSError: the files cannot be written; the old snapshot is left as it was.
    """
    names, owners, columns = zip(*written, strict=True)
    known = sorted(set(owners))
    code_of = {owner: code for code, owner in enumerate(known)}
    hashes = name_hashes(names)
    order = np.argsort(hashes, kind="stable")
    texts = {
        "names": TextArray.of(names[at].encode() for at in order.tolist()),
        "columns": TextArray.of(columns[at] for at in order.tolist()),
    }
    with atomic_folder(folder, is_ours=_is_ours, files=None, error=ArtefactError) as new:
        new.chmod(0o700)
        with _Writer(new) as writer:
            writer.whole("names.hashes", hashes[order])
            writer.whole("owners", np.array([code_of[owner] for owner in owners], np.int32)[order])
            for name, text in texts.items():
                writer.whole(f"{name}.content", text.content)
                writer.whole(f"{name}.ends", text.ends)
            for start in range(0, len(order), _ROWS_AT_ONCE):
                block = _rows_of(parts, order[start : start + _ROWS_AT_ONCE])
                if products is not None:
                    vectors = products(_item_rows(block))
                    assert vectors is not None
                    block |= {"product_vectors": vectors, **rounded_vectors(vectors)}
                for name, array in block.items():
                    writer.rows(name, array, len(order))
        manifest = {"format": FORMAT, "owners": known, "arrays": writer.names}
        (new / _MANIFEST).write_text(json.dumps(manifest))
    return Snapshot(folder)


def _item_rows(arrays: Mapping[str, np.ndarray]) -> ItemRows:
    """What scoring items needs, of arrays with one row for each."""
    prefix = "rows."
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _rows_of(parts: Sequence[_Part], items: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of some items, by their numbers in all parts together."""
    found = {
        name: np.empty((len(items), *array.shape[1:]), array.dtype)
        for name, array in parts[0][0].items()
    }
    start = 0
    for arrays, rows in parts:
        end = start + len(rows)
        (here,) = np.nonzero((items >= start) & (items < end))
        for name, array in arrays.items():
            found[name][here] = array[rows[items[here] - start]]
        start = end
    return found


class _Writer:
    """Writes arrays as .npy files, row by row: a mapped file on a full disk ends the process."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._files = folder, dict[str, BinaryIO]()
        self.names: list[str] = []

    def whole(self, name: str, array: np.ndarray) -> None:
        np.save(self._folder / f"{name}.npy", array)
        self.names.append(name)

    def rows(self, name: str, array: np.ndarray, n: int) -> None:
        """Append rows to an array of ``n`` rows."""
        if name not in self._files:
            file = self._files[name] = (self._folder / f"{name}.npy").open("wb")
            header = np.lib.format.header_data_from_array_1_0(array)
            np.lib.format.write_array_header_2_0(file, {**header, "shape": (n, *array.shape[1:])})
            self.names.append(name)
        self._files[name].write(np.ascontiguousarray(array).tobytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()


def _mapped(path: Path) -> np.ndarray:
    """Map a file; what is changed in memory stays in this process."""
    array = np.load(path, mmap_mode=None if path.stat().st_size < 4096 else "c", allow_pickle=False)
    return np.asarray(array)


def _is_ours(folder: Path) -> bool:
    return (folder / _MANIFEST).is_file()

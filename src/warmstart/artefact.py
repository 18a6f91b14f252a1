"""Save recommenders as folders of parquet files, safetensors files and one JSON manifest.

The files contain no executable code and no pickles. The manifest lists the sha256 of every file, so
a damaged or replaced file is rejected before it is read. The folder contains no path of the machine
that wrote it.
"""

import json
import platform
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import save_file
from scipy import sparse

from warmstart import artefact_format_1 as format_1
from warmstart.config import Config
from warmstart.data.catalogue import Catalogue
from warmstart.data.histories import Histories
from warmstart.data.ids import Ids
from warmstart.data.readers.assemble import item_texts
from warmstart.data.readers.tables import frame_table
from warmstart.errors import ArtefactError, ConfigError, DataError
from warmstart.fitted import Fitted
from warmstart.process import check_process
from warmstart.storage import atomic_folder, file_hash, read_unchanged
from warmstart.version import __version__

FORMAT = "warmstart-artefact"
FORMAT_VERSION = 2
_MANIFEST = "manifest.json"
_CARD = "README.md"  # a model card, which the user may have written; it is kept
FILES = (
    "users.parquet",
    "items.parquet",
    "columns.parquet",
    "positives.safetensors",
    "below_threshold.safetensors",
    "histories.safetensors",
    "state.safetensors",
)
_FILES_OF = {1: format_1.FILES, FORMAT_VERSION: FILES}
_LIBRARIES = ("numpy", "scipy", "numba", "torch", "polars", "safetensors")


class _Manifest(Config):
    """The fields of ``manifest.json``: all are required, and others are errors."""

    format: str
    format_version: int
    method: str
    config: dict[str, Any]
    choices: dict[str, Any]
    lms: dict[str, dict[str, Any]]
    text_columns: tuple[str, ...]
    ids: dict[str, str]
    files: dict[str, str]
    environment: dict[str, str]


@dataclass(frozen=True)
class Artefact:
    """Everything needed to rebuild a recommender, as ``read_artefact`` returns it.

    Attributes:
        manifest: the JSON manifest.
        fitted: ids, catalogue, histories.
        state: arrays of the method.
    """

    manifest: dict[str, Any]
    fitted: Fitted
    state: dict[str, np.ndarray]


def write_artefact(
    folder: Path,
    *,
    method: str,
    config: Mapping[str, Any],
    fitted: Fitted,
    state: Mapping[str, np.ndarray],
) -> None:
    """Write an artefact atomically, replacing an older one in the same folder.

    A ``README.md`` in the folder, such as a model card, stays.

    Args:
        folder: target folder.
        method: name of the method.
        config: configuration of the method, as plain JSON values.
        fitted: ids, catalogue, histories.
        state: arrays of the method.

    Raises:
        ArtefactError: the folder exists and is not an artefact, or has other files too.
    """
    files = {*FILES, *format_1.FILES, _MANIFEST, _CARD}
    with atomic_folder(folder, is_ours=_is_artefact, files=files, error=ArtefactError) as new:
        if (folder / _CARD).is_file():
            shutil.copy(folder / _CARD, new)
        _write_tables(fitted, new)
        save_file(_csr_arrays(fitted.positives), new / "positives.safetensors")
        save_file(_csr_arrays(fitted.below_threshold), new / "below_threshold.safetensors")
        histories = {"offsets": fitted.histories.offsets, "items": fitted.histories.items}
        save_file(histories, new / "histories.safetensors")
        contiguous = {name: np.asarray(array, order="C") for name, array in state.items()}
        save_file(contiguous, new / "state.safetensors")
        hashes = {name: file_hash(new / name) for name in FILES}
        manifest = _manifest(method, config, fitted, hashes)
        (new / _MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        mode = (new / _MANIFEST).stat().st_mode
        for name in FILES:  # safetensors lets only the owner read, but a service is another user
            (new / name).chmod(mode)


def read_artefact(folder: Path) -> Artefact:
    """Read an artefact and check its files against the manifest.

    Raises:
        ArtefactError: the artefact is missing, foreign, of another format version, or damaged.
    """
    check_process()
    return read_unchanged(folder, lambda: _read(folder))


def _read(folder: Path) -> Artefact:
    manifest = read_manifest(folder)
    for name in manifest["files"]:
        path = folder / name
        if not path.is_file() or file_hash(path) != manifest["files"][name]:
            raise ArtefactError(
                f"{path} is missing or damaged: its sha256 differs from the manifest"
            )
    try:
        items = pl.read_parquet(folder / "items.parquet", glob=False)
        users = pl.read_parquet(folder / "users.parquet", glob=False)["user"].to_list()
        columns = pl.read_parquet(folder / "columns.parquet", glob=False)
        state = _mapped(folder / "state.safetensors")
        if manifest["format_version"] == 1:
            columns, state = _texts(columns), format_1.upgraded_state(state)
        catalogue = Catalogue(
            Ids(items["item"].to_list(), "item"),
            tuple(items["text"].to_list()),
            items["released"].to_numpy() if "released" in items.columns else None,
            columns,
            tuple(manifest["text_columns"]),
        )
        positives, below_threshold, histories = _events(folder, manifest["format_version"])
        fitted = Fitted(
            Ids(users, "user"),
            catalogue,
            positives,
            below_threshold,
            items["warm"].to_numpy(),
            histories,
            manifest["choices"],
            manifest["lms"],
        )
    except (
        OSError,
        pl.exceptions.PolarsError,
        SafetensorError,
        DataError,
        KeyError,
        ValueError,
    ) as error:
        raise ArtefactError(f"{folder} is damaged: {error}") from error
    expected = (len(fitted.user_ids), len(catalogue))
    if (
        len(histories.items)
        and not 0 <= histories.items.min() <= histories.items.max() < expected[1]
    ):
        raise ArtefactError(f"{folder} is damaged: a history has an item beyond the catalogue")
    for matrix in (positives, below_threshold, histories.matrix(expected[1])):
        if matrix.shape != expected:
            raise ArtefactError(
                f"{folder} is damaged: its histories have shape {matrix.shape}, not {expected}"
            )
    return Artefact(manifest, fitted, state)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest of an artefact, but not the content of its files.

    Settings of format 1 are renamed to the present names.

    Raises:
        ArtefactError: the artefact is missing, foreign, or of another format version.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        raise ArtefactError(f"{folder} is not a warmstart artefact: it has no {_MANIFEST}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is not JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArtefactError(
            f"{folder} is not a warmstart artefact: its manifest has another format"
        )
    version = manifest.get("format_version")
    if type(version) is not int or version not in _FILES_OF:
        raise ArtefactError(
            f"{folder} has artefact format version {version!r}; this warmstart reads versions "
            f"{' and '.join(map(str, _FILES_OF))}; fit it again, or use the release that wrote it"
        )
    if version == 1:
        manifest = format_1.upgraded_manifest(manifest)
    try:
        files = _Manifest.build(manifest).files
    except ConfigError as error:
        raise ArtefactError(f"{path} is damaged: {error}") from None
    allowed = _FILES_OF[version]
    if files.keys() != set(allowed):
        raise ArtefactError(f"{path} lists the files {sorted(files)}; allowed are {allowed}")
    if unexpected := _unexpected_files(folder, allowed):
        raise ArtefactError(f"{folder}: unexpected {unexpected}; allowed are {allowed}")
    return manifest


def _is_artefact(folder: Path) -> bool:
    """Whether the folder has the manifest of an artefact, of any version."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def _unexpected_files(folder: Path, allowed: Collection[str]) -> list[str]:
    """Names of files that do not belong to an artefact, except hidden ones (``.DS_Store``)."""
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if name not in (*allowed, _MANIFEST, _CARD) and name[0] != "."]


def _write_tables(fitted: Fitted, folder: Path) -> None:
    pl.DataFrame({"user": fitted.user_ids.values}).write_parquet(folder / "users.parquet")
    catalogue = fitted.catalogue
    items: dict[str, Any] = {
        "item": catalogue.item_ids.values,
        "text": list(catalogue.texts),
        "warm": fitted.warm,
    }
    if catalogue.released is not None:
        items["released"] = catalogue.released
    pl.DataFrame(items).write_parquet(folder / "items.parquet")
    catalogue.columns.write_parquet(folder / "columns.parquet")


def _manifest(
    method: str, config: Mapping[str, Any], fitted: Fitted, files: dict[str, str]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "method": method,
        "config": dict(config),
        "choices": fitted.choices,
        "lms": fitted.lms,
        "text_columns": list(fitted.catalogue.text_columns),
        "ids": {"users": fitted.user_ids.hash, "items": fitted.catalogue.item_ids.hash},
        "files": files,
        "environment": {
            "python": platform.python_version(),
            "platform": platform.machine(),
            "warmstart": __version__,
            **{name: version(name) for name in _LIBRARIES},
        },
    }


def _events(folder: Path, version: int) -> tuple[sparse.csr_matrix, sparse.csr_matrix, Histories]:
    """Read positives and pairs below the threshold, CSR of shape (n_users, n_items); histories.

    Format 1 does not tell the order of a history: it stands in the order of the items.
    """
    if version == 1:
        positives = _csr(_mapped(folder / "seen.safetensors"))
        histories = Histories(positives.indptr.astype(np.int64), positives.indices)
        return positives, sparse.csr_matrix(positives.shape, dtype=np.float32), histories
    names = ("positives", "below_threshold")
    positives, below = (_csr(_mapped(folder / f"{name}.safetensors")) for name in names)
    arrays = _mapped(folder / "histories.safetensors")
    return positives, below, Histories(arrays["offsets"], arrays["items"])


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """Map the arrays of a file: processes that load the same model share one copy in memory.

    An array that is changed is copied, page by page; the file stays as it is.
    """
    from safetensors.torch import load_file  # torch, unlike numpy, is given the file's own pages

    return {name: tensor.numpy() for name, tensor in load_file(path).items()}


def _texts(columns: pl.DataFrame) -> pl.DataFrame:
    """Convert item columns of format 1, which keep the types of the input files, to text."""
    return item_texts(frame_table(columns, "columns.parquet"))


def _csr_arrays(matrix: sparse.csr_matrix) -> dict[str, np.ndarray]:
    return {
        "data": matrix.data,
        "indices": matrix.indices,
        "indptr": matrix.indptr,
        "shape": np.array(matrix.shape, np.int64),
    }


def _csr(arrays: dict[str, np.ndarray]) -> sparse.csr_matrix:
    """Build a matrix; compiled code would follow a wrong index outside of the memory.

    Raises:
        ValueError: an index, or the end of a row, is out of range, or a value is not finite.
    """
    n_rows, n_columns = (int(n) for n in arrays["shape"])
    matrix = sparse.csr_matrix(
        (arrays["data"], arrays["indices"], arrays["indptr"]), shape=(n_rows, n_columns)
    )
    matrix.check_format(full_check=True)
    if not np.isfinite(matrix.data).all():
        raise ValueError("a matrix has values that are not finite")
    return matrix

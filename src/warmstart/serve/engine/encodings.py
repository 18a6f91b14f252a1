"""Encodings of new items: computed once by the language model, stored, and placed in an index."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from warmstart.artefact import read_manifest
from warmstart.data.catalogue import Catalogue
from warmstart.errors import ArtefactError
from warmstart.servable import ItemEncoding, ItemRows, Servable, take_rows

FORMAT = 2  # version of a stored encoding; other versions are computed again
_MAX_AUDIENCE = 50  # likely users stored per item


def model_hash(folder: Path) -> str:
    """The key of a model's encodings in the store: sha256 of its manifest and ``FORMAT``.

    Raises:
        ArtefactError: the folder has no artefact.
    """
    read_manifest(folder)
    return manifest_hash((folder / "manifest.json").read_bytes())


def manifest_hash(manifest: bytes) -> str:
    """The same, from the bytes of the manifest."""
    return hashlib.sha256(f"{FORMAT} ".encode() + manifest).hexdigest()


@dataclass(frozen=True)
class EncodedItem:
    """An encoded item.

    Attributes:
        encoding: what the store keeps, without the axis of the items.
        rows: what scoring the item needs, without that axis; computed from the encoding.
    """

    encoding: ItemEncoding
    rows: ItemRows


def encode_items(model: Servable, items: Catalogue) -> list[EncodedItem]:
    """Encode items, with their likely users if the method simulates users."""
    encoding, rows = model.encode_items(items, audience=_MAX_AUDIENCE)
    return [
        EncodedItem(take_rows(encoding, position), take_rows(rows, position))
        for position in range(len(items))
    ]


def stack(arrays: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Stack encodings, or rows, of single items."""
    return {name: np.stack([item[name] for item in arrays]) for name in arrays[0]}


def pack(encoding: ItemEncoding) -> bytes:
    """Serialise the encoding of an item for the store (safetensors)."""
    return save({name: np.ascontiguousarray(array) for name, array in encoding.items()})


def unpack(arrays: bytes, example: ItemEncoding, n_users: int) -> ItemEncoding:
    """Deserialise an encoding that ``pack`` wrote.

    Args:
        arrays: the packed encoding.
        example: an encoding by the same model; every one has arrays of these shapes and types.
        n_users: number of users of the model.

    Raises:
        ArtefactError: the bytes are damaged, or are not an encoding by this model.
    """
    try:
        found = load(arrays)
    except SafetensorError as error:
        raise ArtefactError(f"an encoding in the store is damaged: {error}") from None
    if found.keys() != example.keys():
        names, expected = sorted(found), sorted(example)
        raise ArtefactError(f"an encoding in the store has arrays {names}, expected {expected}")
    for name, array in found.items():
        shape, dtype = example[name].shape, example[name].dtype
        if (array.shape, array.dtype) != (shape, dtype):
            raise ArtefactError(
                f"array {name!r} of an encoding in the store has shape {array.shape} and type "
                f"{array.dtype}, expected {shape} and {dtype}"
            )
        if dtype.kind == "f" and not np.isfinite(array).all():
            raise ArtefactError(f"array {name!r} of an encoding in the store is not finite")
    audience = found.get("audience")
    if audience is not None and ((audience < 0) | (audience >= n_users)).any():
        raise ArtefactError(
            f"an encoding in the store names users beyond the {n_users} of the model"
        )
    return found

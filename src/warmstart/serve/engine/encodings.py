"""Encodings of new items: computed once by the language model, stored, and placed in an index."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from warmstart.errors import ArtefactError
from warmstart.servable import ItemEncoding, ItemRows, Servable, take_rows

FORMAT = 2  # version of a stored encoding; other versions are computed again
_MAX_AUDIENCE = 50  # likely users stored per item


@dataclass(frozen=True)
class EncodedItem:
    """An encoded item.

    Attributes:
        encoding: what the store keeps, without the axis of the items.
        rows: what scoring the item needs, without that axis; computed from the encoding.
    """

    encoding: ItemEncoding
    rows: ItemRows


def encode_texts(model: Servable, texts: Sequence[str]) -> list[EncodedItem]:
    """Encode texts, with their likely users if the method simulates users."""
    encoding, rows = model.encode_items(texts, audience=_MAX_AUDIENCE)
    return [
        EncodedItem(take_rows(encoding, position), take_rows(rows, position))
        for position in range(len(texts))
    ]


def stack(arrays: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Stack encodings, or rows, of single items."""
    return {name: np.stack([item[name] for item in arrays]) for name in arrays[0]}


def pack(encoding: ItemEncoding) -> bytes:
    """Serialise the encoding of an item for the store (safetensors)."""
    return save({name: np.ascontiguousarray(array) for name, array in encoding.items()})


def unpack(arrays: bytes) -> ItemEncoding:
    """Deserialise an encoding that ``pack`` wrote.

    Raises:
        ArtefactError: the bytes are damaged.
    """
    try:
        return load(arrays)
    except SafetensorError as error:
        raise ArtefactError(f"an encoding in the store is damaged: {error}") from None

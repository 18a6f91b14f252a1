"""Encodings of new items: computed once by the language model, stored, placed in an index.

A stored encoding holds the method's own arrays and, beside them, the folded-in vector ("folded"),
the item's factor from the score fusion ("item_scale"), and its simulated users ("audience",
"probabilities"): with these an index is rebuilt without solving anything.
"""

from collections.abc import Sequence

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from warmstart.errors import ArtefactError
from warmstart.simulate.simulator import ItemEncoding, Simulator

FORMAT = 2  # of a stored encoding; those of another format are computed again
_NOT_STORED = "user_scores"  # too wide to be stored; simulate_encoded computes them again
_ADDED = frozenset({_NOT_STORED, "folded", "item_scale", "audience", "probabilities"})
_MAX_AUDIENCE = 50  # simulated users that are stored for explanations


def encode_and_place(model: Simulator, texts: Sequence[str]) -> list[ItemEncoding]:
    """Encode texts and fold the items in; one encoding a text, without the first axis.

    They also hold the "user_scores", which are not stored.
    """
    encoding = model.encode_items(texts)
    interactions, user_scores = model.simulate_encoded(encoding)
    top = model.top_users(encoding, user_scores, min(_MAX_AUDIENCE, user_scores.shape[1]))
    folded = model.hybrid.backbone.fold_in(interactions)
    encoding |= {
        _NOT_STORED: user_scores,
        "folded": folded,
        "item_scale": model.hybrid.item_scales_of(folded, user_scores)[:, None],
        "audience": top.users.reshape(len(texts), -1),
        "probabilities": top.weights.reshape(len(texts), -1),
    }
    return [{name: array[row] for name, array in encoding.items()} for row in range(len(texts))]


def stack_encodings(encodings: Sequence[ItemEncoding]) -> ItemEncoding:
    """The method's own arrays of some encodings, stacked as ``encode_items`` returned them."""
    names = [name for name in encodings[0] if name not in _ADDED]
    return {name: np.stack([encoding[name] for encoding in encodings]) for name in names}


def pack(encoding: ItemEncoding) -> bytes:
    """An encoding as bytes for the store."""
    stored = {name: array for name, array in encoding.items() if name != _NOT_STORED}
    return save({name: np.ascontiguousarray(array) for name, array in stored.items()})


def unpack(arrays: bytes) -> ItemEncoding:
    """The encoding that was packed into these bytes.

    Raises:
        ArtefactError: they are damaged.
    """
    try:
        return load(arrays)
    except SafetensorError as error:
        raise ArtefactError(f"an encoding in the store is damaged: {error}") from None

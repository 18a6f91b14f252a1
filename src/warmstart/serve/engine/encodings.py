"""Encodings of new items: computed once by the language model, stored, and placed in an index.

A stored encoding contains the method's own arrays and four more: the folded-in vector ("folded"),
the item scale of the score fusion ("item_scale"), and the simulated users with their probabilities
("audience", "probabilities"). With these, an index is rebuilt without any new fold-in.
"""

from collections.abc import Sequence

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from warmstart.errors import ArtefactError
from warmstart.simulate.simulator import ItemEncoding, Simulator

FORMAT = 2  # version of a stored encoding; other versions are computed again
_NOT_STORED = "user_scores"  # too large to store; simulate_encoded computes them again
_ADDED = frozenset({_NOT_STORED, "folded", "item_scale", "audience", "probabilities"})
_MAX_AUDIENCE = 50  # simulated users stored per item


def encode_and_fold_in(model: Simulator, texts: Sequence[str]) -> list[ItemEncoding]:
    """Encode texts and fold the items in.

    Returns:
        One encoding per text, its arrays without the axis of the texts. Each also contains the
        "user_scores", float32, shape (n_users,), which are not stored.
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
    """Stack the method's own arrays of some encodings, as ``encode_items`` returns them."""
    names = [name for name in encodings[0] if name not in _ADDED]
    return {name: np.stack([encoding[name] for encoding in encodings]) for name in names}


def pack(encoding: ItemEncoding) -> bytes:
    """Serialise an encoding for the store (safetensors), without the "user_scores"."""
    stored = {name: array for name, array in encoding.items() if name != _NOT_STORED}
    return save({name: np.ascontiguousarray(array) for name, array in stored.items()})


def unpack(arrays: bytes) -> ItemEncoding:
    """Deserialise an encoding that ``pack`` wrote.

    Raises:
        ArtefactError: the bytes are damaged.
    """
    try:
        return load(arrays)
    except SafetensorError as error:
        raise ArtefactError(f"an encoding in the store is damaged: {error}") from None

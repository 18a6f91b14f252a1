"""What the language model says of a new item, made once, kept in the store, placed in an index.

Beside the method's own reading a kept one holds the item's place in the backbone ("folded"), the
factor that brings its scores to the others' spread ("gain"), and its simulated users ("audience",
"chances"): with them an index is rebuilt without solving anything.
"""

from collections.abc import Sequence

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from warmstart.errors import ArtefactError
from warmstart.simulate.taking_in import Reading, TakesIn

FORMAT = 1  # of a kept reading; another one makes those in the store void
_TRANSIENT = "affinities"  # too wide to be kept, and placing gives them again
_OURS = frozenset({_TRANSIENT, "folded", "gain", "audience", "chances"})
_KEPT = 50  # simulated users that are kept for explanations


def take_in(model: TakesIn, texts: Sequence[str]) -> list[Reading]:
    """Read and place texts; one reading each, without the first axis.

    Beside what is kept they have the "affinities" that placing gave.
    """
    reading = model.read(texts)
    interactions, affinities = model.place(reading)
    likeliest = model.likeliest(reading, affinities, min(_KEPT, affinities.shape[1]))
    folded = model.warmed.backbone.fold_in(interactions)
    reading |= {
        _TRANSIENT: affinities,
        "folded": folded,
        "gain": model.warmed.gains_of(folded, affinities)[:, None],
        "audience": likeliest.users.reshape(len(texts), -1),
        "chances": likeliest.weights.reshape(len(texts), -1),
    }
    return [{name: array[row] for name, array in reading.items()} for row in range(len(texts))]


def as_read(readings: Sequence[Reading]) -> Reading:
    """The method's own part of some readings, together again as the method gave it."""
    names = [name for name in readings[0] if name not in _OURS]
    return {name: np.stack([reading[name] for reading in readings]) for name in names}


def pack(reading: Reading) -> bytes:
    """A reading as bytes for the store."""
    kept = {name: array for name, array in reading.items() if name != _TRANSIENT}
    return save({name: np.ascontiguousarray(array) for name, array in kept.items()})


def unpack(arrays: bytes) -> Reading:
    """The reading that gave these bytes.

    Raises:
        ArtefactError: they are damaged.
    """
    try:
        return load(arrays)
    except SafetensorError as error:
        raise ArtefactError(f"a reading in the store is damaged: {error}") from None

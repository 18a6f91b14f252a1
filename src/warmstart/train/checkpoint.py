"""Checkpoints of a training run: safetensors for the arrays, JSON for the rest.

``checkpoint.json`` names the array file that belongs to it and is renamed into place last, so a
kill at any moment leaves either the old or the new checkpoint, never a mixture.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from warmstart.errors import ArtefactError
from warmstart.storage import atomic_file, write_text

Arrays: TypeAlias = dict[str, np.ndarray]
FORMAT = 2
_GROUPS = ("state", "optimiser", "best_state")


@dataclass
class Checkpoint:
    """State of a training run after some epochs.

    Attributes:
        history: one row per epoch so far; first that of the start, epoch 0, if it was validated.
        best_epoch, best_metric, best_state: epoch, metric and arrays of the best validation so far.
        state, optimiser: arrays of the trainee after the last epoch.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_metric: float | None = None
    best_state: Arrays = field(default_factory=dict)
    state: Arrays = field(default_factory=dict)
    optimiser: Arrays = field(default_factory=dict)


def write_checkpoint(folder: Path, settings: str, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of ``folder`` and delete its predecessor."""
    arrays = {
        f"{group}/{name}": np.asarray(array, order="C")  # keeps scalars 0-dimensional
        for group in _GROUPS
        for name, array in getattr(checkpoint, group).items()
    }
    name = f"checkpoint-{len(checkpoint.history)}.safetensors"
    with atomic_file(folder / name) as path:
        save_file(arrays, path)
    written = {
        "format": FORMAT,
        "settings": hashlib.sha256(settings.encode()).hexdigest(),
        "arrays": name,
        "best_epoch": checkpoint.best_epoch,
        "best_metric": checkpoint.best_metric,
        "history": checkpoint.history,
    }
    write_text(folder / "checkpoint.json", json.dumps(written))
    for old in folder.glob("checkpoint-*.safetensors"):
        if old.name != name:
            old.unlink()


def read_checkpoint(folder: Path, settings: str) -> Checkpoint | None:
    """Return the checkpoint in ``folder``, or None if there is none.

    Raises:
        ArtefactError: it is damaged, of another format, or of a run with other settings.
    """
    path = folder / "checkpoint.json"
    if not path.exists():
        return None
    try:
        written = json.loads(path.read_text())
        if written["format"] != FORMAT:
            raise ArtefactError(f"{path}: format {written['format']}, this version reads {FORMAT}")
        if written["settings"] != hashlib.sha256(settings.encode()).hexdigest():
            raise ArtefactError(
                f"{path} belongs to a run with other data, settings or seed; "
                "delete the folder or choose another"
            )
        arrays = load_file(folder / written["arrays"])
        groups: dict[str, Arrays] = {group: {} for group in _GROUPS}
        for key, array in arrays.items():
            group, _, name = key.partition("/")
            groups[group][name] = array
        return Checkpoint(
            written["history"], written["best_epoch"], written["best_metric"], **groups
        )
    except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        raise ArtefactError(f"checkpoint {path} is damaged: {error!r}; delete its folder") from None

"""The tensors of a torch module as the arrays of an artefact."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from warmstart.errors import ArtefactError


def module_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """Return copies of all tensors as arrays, by name."""
    return {name: tensor.cpu().numpy().copy() for name, tensor in module.state_dict().items()}


def load_arrays(module: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Load the arrays of ``module_arrays``; use it within ``damaged_arrays``."""
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    module.load_state_dict(tensors)


@contextmanager
def damaged_arrays(what: str) -> Iterator[None]:
    """Name what is damaged if an array is missing or has a wrong shape.

    Raises:
        ArtefactError: in place of the errors of dict, numpy and torch.
    """
    try:
        yield
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        raise ArtefactError(f"{what}: the saved arrays are damaged: {error}") from None

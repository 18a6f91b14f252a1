"""A trainee made of torch parameters and an optimiser."""

from collections.abc import Mapping

import numpy as np
import torch

from warmstart.train.checkpoint import Arrays
from warmstart.train.loop import Trainee


class TorchTrainee(Trainee):
    """Holds named torch parameters and one optimiser; a subclass implements ``epoch``.

    Args:
        parameters: trainable tensors by name; leave out the frozen weights of a large model.
        optimiser: a torch optimiser over exactly these parameters.
    """

    def __init__(
        self, parameters: Mapping[str, torch.Tensor], optimiser: torch.optim.Optimizer
    ) -> None:
        self.parameters = dict(parameters)
        self.optimiser = optimiser

    def state(self) -> Arrays:
        return {name: _numpy(tensor) for name, tensor in self.parameters.items()}

    def restore(self, state: Arrays) -> None:
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(torch.from_numpy(np.asarray(state[name])))

    def optimiser_state(self) -> Arrays:
        return {
            f"{number}/{name}": _numpy(torch.as_tensor(value))
            for number, values in self.optimiser.state_dict()["state"].items()
            for name, value in values.items()
        }

    def restore_optimiser(self, state: Arrays) -> None:
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for key, array in state.items():
            number, _, name = key.partition("/")
            slots.setdefault(int(number), {})[name] = torch.from_numpy(np.array(array))
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": slots, "param_groups": groups})


def torch_generator(
    rng: np.random.Generator, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Create a torch generator seeded by one draw from ``rng``."""
    return torch.Generator(device).manual_seed(int(rng.integers(2**63)))


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()

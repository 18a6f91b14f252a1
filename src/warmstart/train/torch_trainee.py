"""A trainee made of torch parameters and an optimiser."""

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator

from warmstart.config import Config
from warmstart.train.checkpoint import Arrays
from warmstart.train.loop import Trainee

_N_UPDATES = "updates"  # name in the optimiser's state


class StepConfig(Config):
    """How ``TorchTrainee.step`` turns losses into updates of the parameters.

    The defaults make one update of each loss, with an unclipped gradient and constant learning
    rates.

    Attributes:
        clip_norm: if the norm of the gradient, over all parameters together, is above this number,
            the gradient is scaled down to it. None does not clip.
        accumulate: number of losses (micro-batches) per update; the gradient is their mean.
        warmup_steps: number of first updates over which the learning rates rise linearly; update n
            has the factor n / warmup_steps.
        total_steps: number of updates at which the learning rates, after the warm-up, have fallen
            linearly to zero. None keeps them constant.
    """

    clip_norm: float | None = Field(default=None, gt=0)
    accumulate: int = Field(default=1, ge=1)
    warmup_steps: int = Field(default=0, ge=0)
    total_steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _warm_up_must_end_before_training(self) -> Self:
        if self.total_steps is not None and self.warmup_steps >= self.total_steps:
            raise ValueError(
                f"warmup_steps must be below total_steps = {self.total_steps}, "
                f"got {self.warmup_steps}"
            )
        return self

    def rate_factor(self, n_updates: int) -> float:
        """Return the factor on the learning rates after ``n_updates`` updates."""
        if n_updates < self.warmup_steps:
            return (n_updates + 1) / self.warmup_steps
        if self.total_steps is None:
            return 1.0
        falling = self.total_steps - self.warmup_steps
        return max(0.0, 1 - (n_updates - self.warmup_steps) / falling)


class TorchTrainee(Trainee):
    """Holds named torch parameters and one optimiser.

    A subclass implements ``epoch`` and calls ``step`` for the loss of each batch.

    Args:
        parameters: trainable tensors by name; leave out the frozen weights of a large model.
        optimiser: a torch optimiser over exactly these parameters.
        steps: clipping, accumulation and learning rates; None uses the defaults.
    """

    def __init__(
        self,
        parameters: Mapping[str, torch.Tensor],
        optimiser: torch.optim.Optimizer,
        steps: StepConfig | None = None,
    ) -> None:
        self.parameters = dict(parameters)
        self.optimiser, self.steps = optimiser, steps or StepConfig()
        self._rates = [group["lr"] for group in optimiser.param_groups]
        self._n_updates = self._n_accumulated = 0

    def step(self, loss: torch.Tensor) -> float:
        """Compute the gradient of a loss, and update the parameters.

        With accumulation every ``accumulate``-th call updates them, and the last call of an epoch.

        Args:
            loss: the mean loss of a batch, a scalar with gradient.

        Returns:
            The loss.
        """
        if not self._n_accumulated:  # before the backward pass, which may update tables
            self._set_rates()
        loss.backward()
        self._n_accumulated += 1
        if self._n_accumulated == self.steps.accumulate:
            self._update()
        return loss.item()

    def end_epoch(self) -> None:
        """Update the parameters by the losses that are still accumulated."""
        if self._n_accumulated:
            self._update()

    def _update(self) -> None:
        if self._n_accumulated > 1:
            for tensor in self.parameters.values():
                if tensor.grad is not None:
                    tensor.grad /= self._n_accumulated
        if self.steps.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.steps.clip_norm)
        self.optimiser.step()
        self._n_updates += 1
        self._discard_gradients()

    def _set_rates(self) -> None:
        factor = self.steps.rate_factor(self._n_updates)
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def _discard_gradients(self) -> None:
        """Free the gradients before the next forward pass needs memory."""
        self.optimiser.zero_grad()
        self._n_accumulated = 0

    def state(self) -> Arrays:
        return {
            name: self._export(tensor, tensor.detach()) for name, tensor in self.parameters.items()
        }

    def restore(self, state: Arrays) -> None:
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(self._import(tensor, np.asarray(state[name])))

    def optimiser_state(self) -> Arrays:
        numbered = self._numbered_parameters()
        slots = {
            f"{number}/{name}": self._export(numbered[number], torch.as_tensor(value))
            for number, values in self.optimiser.state_dict()["state"].items()
            for name, value in values.items()
        }
        return {**slots, _N_UPDATES: np.array(self._n_updates)}

    def restore_optimiser(self, state: Arrays) -> None:
        self._discard_gradients()
        self._n_updates = int(state[_N_UPDATES])
        numbered = self._numbered_parameters()
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for key, array in state.items():
            if key == _N_UPDATES:
                continue
            number, _, name = key.partition("/")
            value = self._import(numbered[int(number)], np.array(array))
            slots.setdefault(int(number), {})[name] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": slots, "param_groups": groups})

    def _numbered_parameters(self) -> list[torch.Tensor]:
        """The parameters in the order in which the optimiser's state numbers them."""
        return [tensor for group in self.optimiser.param_groups for tensor in group["params"]]

    def _export(self, parameter: torch.Tensor, value: torch.Tensor) -> np.ndarray:
        """Copy a parameter, or a value that the optimiser keeps for it, for a checkpoint."""
        return value.cpu().numpy().copy()

    def _import(self, parameter: torch.Tensor, array: np.ndarray) -> torch.Tensor:
        """Turn an array that ``_export`` returned into the value that this process holds."""
        return torch.from_numpy(array)


def torch_generator(
    rng: np.random.Generator, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Create a torch generator seeded by one draw from ``rng``."""
    return torch.Generator(device).manual_seed(int(rng.integers(2**63)))

"""Training of a sequence network on the next items of all histories."""

from collections.abc import Iterator

import numpy as np
import torch

from warmstart.backbones.base import shape_of
from warmstart.backbones.graph import sample_negatives
from warmstart.backbones.sequence.batches import Windows, batches_by_length
from warmstart.backbones.sequence.losses import binary_loss, softmax_loss
from warmstart.backbones.sequence.network import SequenceNetwork
from warmstart.backbones.sequence.settings import SequenceSettings
from warmstart.data.histories import Histories
from warmstart.train import TorchTrainee
from warmstart.train.seed import torch_seed


class SequenceTrainee(TorchTrainee):
    """Trains all positions of each window in one pass.

    Args:
        network: trained in place.
        histories: rows of the network's items; every item occurs.
        config: loss, batches and optimiser settings.
    """

    def __init__(
        self, network: SequenceNetwork, histories: Histories, config: SequenceSettings
    ) -> None:
        parameters = dict(network.named_parameters())
        optimiser = torch.optim.Adam(parameters.values(), lr=config.learning_rate, fused=True)
        super().__init__(parameters, optimiser)
        self.network, self.config = network, config
        self.windows = Windows.of(histories, config.max_length)
        self.seen = histories.matrix(len(network.items))
        self.owners = np.searchsorted(histories.offsets, self.windows.starts, "right") - 1

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        self.network.train()
        batches = batches_by_length(self.windows.lengths, self.config.batch_size, rng)
        with torch_seed(rng):
            for number, batch in enumerate(batches):
                done = (epoch - 1 + number / len(batches)) / self.config.epochs
                yield self._step(self._loss(batch, rng), 1 - done)

    def _step(self, loss: torch.Tensor, rate_factor: float) -> float:
        """Update with a falling rate; ``StepConfig`` needs a number of steps that is not known."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * rate_factor
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()

    def _loss(self, batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        device = self.network.items.device
        items, real = self.windows.padded(batch)
        inputs, targets, real = items[:, :-1], items[:, 1:], real[:, 1:]
        places = torch.from_numpy(np.flatnonzero(real)).to(device)
        states = self.network(torch.from_numpy(inputs).to(device))
        states = states.flatten(0, 1).index_select(0, places)
        following = torch.from_numpy(targets[real]).to(device)
        table = self.network.table()
        if self.config.loss == "softmax":
            return softmax_loss(states, table, following, half=self.config.half_precision)
        owners = np.broadcast_to(self.owners[batch, None], real.shape)[real]
        return binary_loss(states, table, following, self._negatives(owners, rng).to(device))

    def _negatives(self, owners: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Draw for each position an item that its history does not contain."""
        pool, seed = np.arange(shape_of(self.seen)[1]), int(rng.integers(2**31))
        return torch.from_numpy(
            sample_negatives(owners, self.seen.indptr, self.seen.indices, pool, seed)
        )

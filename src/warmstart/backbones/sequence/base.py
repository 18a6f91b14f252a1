"""Base of the sequence backbones: models that read a history in order.

A sequence backbone has a vector for each item, but none for a user: the state after the newest item
of a history takes its place. Score = state . item vector. So a user whose history has grown needs
no new training, and any user can be asked for by a history.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import torch
from scipy import sparse
from torch.nn import functional

from warmstart.backbones.base import check_fold_in, required_arrays
from warmstart.backbones.configured import Configured
from warmstart.backbones.graph import default_device
from warmstart.backbones.limits import check_finite
from warmstart.backbones.sequence.batches import Windows
from warmstart.backbones.sequence.fold_in import ItemFoldIn
from warmstart.backbones.sequence.network import SequenceNetwork
from warmstart.backbones.sequence.trainee import SequenceTrainee
from warmstart.backbones.vectors import principal_directions
from warmstart.config import Config
from warmstart.data.histories import Histories
from warmstart.errors import ArtefactError, DataError, NotFittedError
from warmstart.train import Schedule, run_epochs
from warmstart.train.seed import torch_seed

_HISTORIES_AT_ONCE = 512


class SequenceBackbone(Configured, ABC):
    """A model of the next item of a history, on CUDA if available, else on the CPU.

    Args:
        config: an instance of ``config_type``; None uses its defaults.

    Raises:
        ConfigError: ``config`` is of another type.
    """

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        self._learned: SequenceNetwork | None = None
        self._rows = np.zeros(0, np.int32)  # item -> row of the network's table, -1 without one
        self._n_events = 0  # that training predicts

    @abstractmethod
    def _network(self, n_items: int) -> SequenceNetwork:
        """Create a network with random weights, drawn from torch's global random state."""

    def fit(
        self,
        histories: Histories,
        n_items: int,
        *,
        validate: Callable[[], float] | None = None,
        rng: np.random.Generator,
        run_folder: Path | None = None,
    ) -> Self:
        """Learn to predict every event of each history but its first; a second fit discards this.

        Args:
            histories: the training events of the users, oldest first.
            n_items: number of items; rows in ``histories`` are below it.
            validate: computes the metric of early stopping from ``encode`` and ``item_vectors``,
                which then have the values of the current epoch; bigger is better. None trains all
                epochs.
            rng: the only source of randomness.
            run_folder: folder of checkpoints and log; an unfinished run in it is resumed.

        Raises:
            ConfigError: a setting makes the training diverge.
            DataError: no history has two events, or an item is not in 0..n_items - 1.
            UnsupportedError: this process was forked from one that had used warmstart.
        """
        check_items(self.name, histories, n_items)
        histories = histories.take(histories.lengths >= 2)
        if len(histories) == 0:
            raise DataError(f"backbone {self.name}: no history has two events, so nothing follows")
        seen = np.unique(histories.items)
        self._rows = np.full(n_items, -1, np.int32)
        self._rows[seen] = np.arange(len(seen))
        self._n_events = len(histories.items) - len(histories)
        with torch_seed(rng):
            network = self._network(len(seen))
        known = self._known(histories)
        if self.config.initial == "svd":
            matrix = known.matrix(len(seen))
            network.start_from(principal_directions(matrix, network.width, user_exponent=0.5)[1])
        self._learned = network.to(default_device())
        trainee = SequenceTrainee(self._learned, known, self.config)
        config = self.config
        outcome = run_epochs(
            trainee,
            Schedule(config.epochs, config.validate_every, config.patience, self.name),
            rng,
            validate=validate,
            folder=run_folder,
            settings=f"{config.model_dump_json()} {n_items} {histories.hash}",
        )
        check_finite(self.name, "the settings of the training", *trainee.state().values())
        self.chosen_config = config.model_copy(update={"epochs": outcome.best_epoch})
        return self

    def encode(self, histories: Histories, vectors: np.ndarray | None = None) -> np.ndarray:
        """Compute the state after the newest event of each history.

        Items without a vector are skipped. A history of none but such items, or of none at all,
        has no state: its row is NaN.

        Args:
            histories: items of the fit or, with ``vectors``, of their rows.
            vectors: vectors to read instead of the learned ones, for histories with items that the
                fit did not know: float32, shape (any number of items, width), NaN without one.

        Returns:
            float32, shape (histories, width). A row does not depend on the other histories.

        Raises:
            DataError: an item is no row of the vectors, or these have another width.
            NotFittedError: before ``fit`` or ``restore``.
        """
        known, _, table = self._readable(histories, vectors)
        states = np.full((len(histories), self.config.width), np.nan, np.float32)
        for batch, found, _ in self._read(known, table):
            states[batch] = found[np.arange(len(batch)), known.lengths[batch] - 1]
        return states

    def encode_events(self, histories: Histories, vectors: np.ndarray | None = None) -> np.ndarray:
        """Compute the state after every event, from it and the events before it.

        Args:
            histories: as ``encode``.
            vectors: as ``encode``.

        Returns:
            float32, shape (events, width); NaN at events whose item has no vector, and at those
            that have ``max_length`` newer ones in their history.

        Raises:
            DataError, NotFittedError: as ``encode``.
        """
        known, events, table = self._readable(histories, vectors)
        states = np.full((len(histories.items), self.config.width), np.nan, np.float32)
        for batch, found, real in self._read(known, table):
            starts = np.repeat(known.offsets[batch], known.lengths[batch])
            states[events[starts + np.nonzero(real)[1]]] = found[real]
        return states

    def _readable(
        self, histories: Histories, vectors: np.ndarray | None
    ) -> tuple[Histories, np.ndarray, torch.Tensor]:
        """The newest events with vectors, where they stand in ``histories``, and the vectors.

        Items of the result are rows of the vectors.
        """
        network = self._fitted
        if vectors is None:
            check_items(self.name, histories, len(self._rows))
            rows, table = self._rows, network.items.detach()
        else:
            check_items(self.name, histories, len(vectors))
            if vectors.shape[1:] != (self.config.width,):
                raise DataError(
                    f"backbone {self.name}: vectors have shape {vectors.shape}; allowed: (items, "
                    f"{self.config.width})"
                )
            rows = np.where(np.isfinite(vectors).all(axis=1), np.arange(len(vectors)), -1)
            table = torch.from_numpy(np.nan_to_num(vectors)).to(network.items.device)
        known = histories.numbered.where(rows[histories.items] >= 0).last(self.config.max_length)
        return Histories(known.offsets, rows[known.items]), known.numbers, table

    @torch.no_grad()
    def _read(
        self, known: Histories, table: torch.Tensor
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Read histories that are not empty, in batches of similar lengths.

        Yields:
            Numbers of the histories, the states after each of their events, float32, shape
            (batch, longest, width), and which of these are real, bool, shape (batch, longest).
        """
        network = self._fitted.eval()
        windows = Windows(known.offsets[:-1], known.offsets[1:], known.items.astype(np.int64))
        order = np.argsort(known.lengths, kind="stable")
        order = order[known.lengths[order] > 0]
        for begin in range(0, len(order), _HISTORIES_AT_ONCE):
            batch = order[begin : begin + _HISTORIES_AT_ONCE]
            items, real = windows.padded(batch)
            read = functional.embedding(torch.from_numpy(items).to(table.device), table)
            yield batch, network.states(read).cpu().numpy(), real

    @property
    def n_items(self) -> int:
        """Number of items of the fit."""
        return len(self._rows)

    @property
    def item_vectors(self) -> np.ndarray:
        """Vectors of the items, float32, shape (n_items, width); NaN without training events.

        Score = ``encode(histories) @ item_vectors.T``: the logits of the trained softmax.

        Raises:
            NotFittedError: before ``fit`` or ``restore``.
        """
        with torch.no_grad():
            table = self._fitted.table().cpu().numpy()
        vectors = np.full((len(self._rows), table.shape[1]), np.nan, np.float32)
        vectors[self._rows >= 0] = table
        return vectors

    def item_fold_in(self, states: np.ndarray) -> ItemFoldIn:
        """Prepare the fold-in of new items; learned parameters do not change.

        Args:
            states: float32, shape (n, width), from ``encode``, of many users: they tell what is not
                particular to an item. Rows of NaN are left out.

        Raises:
            DataError: the width does not match, or all states are NaN.
            NotFittedError: before ``fit`` or ``restore``.
        """
        table = self._fitted.table().detach().cpu().numpy()
        known = np.isfinite(states).all(axis=1)
        if states.shape[1:] != table.shape[1:] or not known.any():
            raise DataError(
                f"backbone {self.name}: states must have shape (n, {table.shape[1]}) and a row "
                f"without NaN, got shape {states.shape}"
            )
        return ItemFoldIn(states[known], table, self._n_events, self.config.fold_in_l2)

    def fold_in(self, states: np.ndarray, events: sparse.csr_matrix) -> np.ndarray:
        """Compute the vectors of new items; the method is described in ``ItemFoldIn``.

        Args:
            states: those before the events, and those of other users; see ``item_fold_in``.
            events: how often each item follows each state, weights in (0, 1], float32 CSR, shape
                (new_items, n).

        Returns:
            float32, shape (new_items, width), to score like ``item_vectors``; NaN for an item
            without events.

        Raises:
            DataError: a shape does not match, a weight is outside (0, 1], or all states are NaN.
            NotFittedError: before ``fit`` or ``restore``.
        """
        fold_in = self.item_fold_in(states)
        events = check_fold_in(self.name, events, len(states), None, states.shape[1])
        known = np.isfinite(states).all(axis=1)
        return fold_in.vectors(states[known], events[:, known])

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays from which ``restore`` reproduces states and item vectors exactly."""
        parameters = self._fitted.state_dict()
        arrays = {f"network/{name}": tensor.cpu().numpy() for name, tensor in parameters.items()}
        return {**arrays, "rows": self._rows, "n_events": np.array(self._n_events)}

    def restore(self, state: dict[str, np.ndarray]) -> Self:
        """Load the arrays of ``state``.

        Raises:
            ArtefactError: an array is missing or has another shape.
        """
        rows, n_events = required_arrays(self.name, state, "rows", "n_events")
        network = self._network(int((rows >= 0).sum()))
        parameters = {}
        for name, tensor in network.state_dict().items():
            (array,) = required_arrays(self.name, state, f"network/{name}")
            if array.shape != tuple(tensor.shape):
                raise ArtefactError(
                    f"backbone {self.name}: {name} has shape {array.shape} in the saved state, "
                    f"{tuple(tensor.shape)} by the settings"
                )
            parameters[name] = torch.from_numpy(array)
        network.load_state_dict(parameters)
        self._learned, self._rows = network.to(default_device()), rows
        self._n_events = int(n_events)
        return self

    @property
    def _fitted(self) -> SequenceNetwork:
        if self._learned is None:
            raise NotFittedError(f"backbone {self.name}: call fit or restore first")
        return self._learned

    def _known(self, histories: Histories) -> Histories:
        """Keep the events whose items have vectors, as rows of the network's table."""
        check_items(self.name, histories, len(self._rows))
        known = histories.where(self._rows[histories.items] >= 0)
        return Histories(known.offsets, self._rows[known.items])


def check_items(name: str, histories: Histories, n_items: int) -> None:
    """Check the row numbers of items.

    Raises:
        DataError: an item is not in 0..n_items - 1.
    """
    wrong = histories.items[(histories.items < 0) | (histories.items >= n_items)]
    if len(wrong):
        raise DataError(
            f"backbone {name}: items of histories must be rows from 0 to {n_items - 1}, "
            f"got {wrong[0]}"
        )

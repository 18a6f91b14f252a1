"""What DeepFM and DIN share: vectors of users and items, training, prediction.

    log-odds = rate regression + bias of user + bias of item + head(user, item, liked, disliked)

The head gets four fields: the vector of the user, that of the item, and those of the newest liked
and disliked items of the history. An item's vector is a vector of its own plus a linear map of its
features, so items without ratings have one too, if they have features. Users and items without
training pairs have a vector of zeros; ``id_dropout`` makes the head meet these in training.

The rate regression is fitted first and stays fixed: the network learns what it leaves. On small
data this is what makes a network better than the regression. The item's rate is no input of the
network: without the row's own label it is lower for liked rows than for others of the same item, so
a network that knows the item could read the label off it. As a fixed summand it can do no harm.
"""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from warmstart.backbones.base import EpochConfig, required_arrays
from warmstart.backbones.click.base import ClickModel, Validate
from warmstart.backbones.click.data import ClickData, HistoryRanges
from warmstart.backbones.click.logistic import LogisticCtrConfig, RateRegression
from warmstart.backbones.click.tables import Fields, Tables, Vectors
from warmstart.backbones.graph import default_device
from warmstart.backbones.limits import check_finite, memory_limit
from warmstart.storage import nest, unnest
from warmstart.train import Schedule, TorchTrainee, run_epochs
from warmstart.train.seed import torch_seed

_PAIRS_AT_ONCE = 4096


class NetworkConfig(EpochConfig):
    """Settings of a click network.

    The defaults were chosen on validation, on MovieLens-100K and the ML-1M sample of CoLLM, seeds 0
    to 2. Most settings moved the AUC by less than a seed did (.001); width 32 was better than 16
    and 8, and like 64.

    Attributes:
        width: length of the vectors.
        epochs: maximum number of epochs; with validation the best one is kept. Click networks
            overfit within a few epochs: the best one was the first to the fourth.
        base: settings of the rate regression that the network starts from; None starts from zero,
            as the papers do.
        hidden: widths of the hidden layers of the head's deep part; none leaves it out.
        history_length: number of newest liked items, and of newest disliked items, that are read.
        id_dropout: fraction of the training pairs whose user is hidden, and of those whose item is
            known by its features only.
        batch_size: pairs per step.
        learning_rate: learning rate of Adam.
        l2: weight of the squared vectors and biases of a batch in the loss, per pair.
    """

    width: int = Field(default=32, ge=1)
    epochs: int = Field(default=5, ge=0)
    base: LogisticCtrConfig | None = LogisticCtrConfig()
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (32,)
    history_length: int = Field(default=30, ge=1)
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    batch_size: int = Field(default=1024, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    l2: float = Field(default=0.003, ge=0)


class Perceptron(nn.Sequential):
    """Linear layers with ReLU between them, and one output, which is 0 at the start."""

    def __init__(self, inputs: int, hidden: tuple[int, ...]) -> None:
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        last = nn.Linear(inputs, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(*layers, last)


class _NetworkTrainee(TorchTrainee):
    """Trains tables and head by Adam on the log loss; an epoch is one pass over the pairs.

    Args:
        pairs: the training pairs.
        offsets: log-odds that the network is added to, shape (pairs,).
        tables: vectors of users and items.
        head: module from ``Fields`` to log-odds.
        config: batches, optimiser and regulariser.
    """

    def __init__(
        self,
        pairs: ClickData,
        offsets: np.ndarray,
        tables: Tables,
        head: nn.Module,
        config: NetworkConfig,
    ) -> None:
        self.pairs, self.tables, self.head, self.config = pairs, tables, head, config
        self.offsets = torch.from_numpy(offsets.astype(np.float32))
        self.labels = torch.from_numpy(pairs.labels.astype(np.float32))
        parameters = {
            f"{part}.{name}": weight
            for part, module in (("tables", tables), ("head", head))
            for name, weight in module.named_parameters()
        }
        optimiser = torch.optim.Adam(parameters.values(), lr=config.learning_rate, fused=True)
        super().__init__(parameters, optimiser)

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        order = rng.permutation(len(self.pairs))
        batches = max(1, round(len(order) / self.config.batch_size))
        for batch in np.array_split(order, batches):
            yield self.step(self._loss(batch, rng))

    def _loss(self, batch: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Compute the mean log loss of a batch of pairs, with the regulariser."""
        pairs, tables, device = self.pairs, self.tables, self.tables.users.weight.device
        items, n_items = pairs.items[batch], pairs.n_items
        liked, disliked = _newest(pairs.histories.take(batch), self.config.history_length, n_items)
        # Each different item of the batch is computed once; the last row is the padding.
        rows, at = np.unique(
            np.concatenate([items, liked.ravel(), disliked.ravel(), [n_items]]), return_inverse=True
        )
        at_item, at_liked, at_disliked, _ = np.split(
            at, np.cumsum([len(items), liked.size, disliked.size])
        )
        content, content_biases = tables.of_content(rows)
        table = tables.items(_index(rows, device)) + content
        users = _index(self._hide(pairs.users[batch], pairs.n_users, rng), device)
        own = _index(self._hide(items, n_items, rng), device)
        target = _index(at_item, device)
        user, item = tables.users(users), tables.items(own)
        user_bias, item_bias = tables.user_biases(users)[:, 0], tables.item_biases(own)[:, 0]
        logits = self.head(
            _fields(
                user,
                item + _rows(content, target),
                table,
                at_liked.reshape(liked.shape),
                at_disliked.reshape(disliked.shape),
            )
        )
        logits = logits + user_bias + item_bias + _rows(content_biases[:, None], target)[:, 0]
        squares = sum((x * x).sum() for x in (user, item, user_bias, item_bias)) / len(batch)
        where = torch.from_numpy(batch)
        loss = functional.binary_cross_entropy_with_logits(
            logits + self.offsets[where].to(device), self.labels[where].to(device)
        )
        return loss + self.config.l2 * squares

    def _hide(self, rows: np.ndarray, unknown: int, rng: np.random.Generator) -> np.ndarray:
        """Replace a random fraction of row numbers by that of the unknown user or item."""
        return np.where(rng.random(len(rows)) < self.config.id_dropout, unknown, rows)


class NetworkModel(ClickModel):
    """A click model whose log-odds are those of a rate regression plus those of a network.

    It runs on CUDA if available, else on the CPU.
    """

    config: NetworkConfig
    _vectors: Vectors
    _head: nn.Module
    _base: RateRegression | None = None

    @abstractmethod
    def _new_head(self) -> nn.Module:
        """Create the head: a module from ``Fields`` to log-odds, shape (batch,)."""

    def _fit(
        self,
        pairs: ClickData,
        validate: Validate | None,
        rng: np.random.Generator,
        run_folder: Path | None,
    ) -> None:
        config, self._base = self.config, None
        offsets = np.zeros(len(pairs))
        if config.base is not None:
            self._base, offsets = RateRegression.fit(config.base, pairs)
        n_vectors, device = pairs.n_users + pairs.n_items, default_device()
        with memory_limit(self.name, config.width, n_vectors), torch_seed(rng):
            tables = Tables(pairs, config.width).to(device)
            self._head = self._new_head().to(device)

        def metric() -> float:
            assert validate is not None
            self._vectors = tables.vectors()
            return validate(self.predict_proba)

        outcome = run_epochs(
            _NetworkTrainee(pairs, offsets, tables, self._head, config),
            Schedule(config.epochs, config.validate_every, config.patience, self.name),
            rng,
            validate=metric if validate else None,
            folder=run_folder,
            settings=f"{config.model_dump_json()} {pairs.hash}",
        )
        self._vectors = tables.vectors()
        check_finite(self.name, "the settings of the training", *self._vectors.arrays().values())
        self.chosen_config = config.model_copy(update={"epochs": outcome.best_epoch})

    @torch.inference_mode()
    def _logits(self, users: np.ndarray, items: np.ndarray, histories: HistoryRanges) -> np.ndarray:
        found = np.zeros(len(items)) if self._base is None else self._base.logits(items, histories)
        vectors, device = self._vectors, self._vectors.users.device
        users = np.where(users < 0, len(vectors.users) - 1, users)
        length, padding = self.config.history_length, len(vectors.items) - 1
        for start in range(0, len(items), _PAIRS_AT_ONCE):
            block = slice(start, start + _PAIRS_AT_ONCE)
            user, item = _index(users[block], device), _index(items[block], device)
            newest = _newest(histories.take(block), length, padding)
            logits = self._head(
                _fields(vectors.users[user], vectors.items[item], vectors.items, *newest)
            )
            logits = logits + vectors.user_biases[user] + vectors.item_biases[item]
            found[block] += logits.cpu().numpy()
        return found

    def _extend(self, features: np.ndarray, attributes: sparse.csr_matrix | None) -> None:
        self._vectors = self._vectors.extended(features)
        if self._base is not None:
            self._base = self._base.extended(features, attributes)

    def _learned(self) -> dict[str, np.ndarray]:
        weights = {name: w.cpu().numpy() for name, w in self._head.state_dict().items()}
        arrays = {**nest("vectors", self._vectors.arrays()), **nest("head", weights)}
        return arrays if self._base is None else {**arrays, **nest("base", self._base.state())}

    def _load(self, state: dict[str, np.ndarray]) -> None:
        config, device = self.config, default_device()
        base = config.base
        self._base = None if base is None else RateRegression.restore(base, unnest("base", state))
        self._vectors = Vectors.from_arrays(unnest("vectors", state), device)
        head = self._new_head().to(device)
        names = list(head.state_dict())
        weights = required_arrays(self.name, unnest("head", state), *names)
        head.load_state_dict(
            {name: torch.from_numpy(w.copy()) for name, w in zip(names, weights, strict=True)}
        )
        self._head = head


def _newest(histories: HistoryRanges, length: int, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """The newest liked and the newest disliked items: int32, each (pairs, length)."""
    return (
        histories.latest_items(length, liked=True, padding=padding),
        histories.latest_items(length, liked=False, padding=padding),
    )


def _fields(
    user: Tensor, item: Tensor, table: Tensor, liked: np.ndarray, disliked: np.ndarray
) -> Fields:
    """Look up the items of the histories.

    Args:
        user: vectors of the users, shape (batch, width).
        item: vectors of the items, shape (batch, width).
        table: vectors of items; the last row is the padding, 0.
        liked: rows of ``table``, shape (batch, length).
        disliked: rows of ``table``, shape (batch, length).
    """
    lists = [_index(rows, table.device) for rows in (liked, disliked)]
    given = [(rows < len(table) - 1).to(table.dtype)[..., None] for rows in lists]
    return Fields(user, item, _rows(table, lists[0]), _rows(table, lists[1]), given[0], given[1])


def _rows(table: Tensor, rows: Tensor) -> Tensor:
    """Rows of a table; unlike those of ``table[rows]``, gradients do not depend on threads."""
    return functional.embedding(rows, table)


def _index(rows: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(rows.astype(np.int64)).to(device)

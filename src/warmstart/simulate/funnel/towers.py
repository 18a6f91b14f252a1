"""The two towers of ColdLLM's coupled filter: they score users for the text of an item.

"Large Language Model Simulator for Cold-Start Recommendation", WSDM 2025 (arXiv 2402.09176):
content and behaviour are used together, each mapped into a space where a dot product ranks users.

``ContentTrainee``    both sides from the LM: the item is its text vector, the user the mean of the
                      text vectors of their items. Trained by cross entropy on observed and sampled
                      pairs.
``BehaviourTrainee``  the user is the backbone's vector, the item its text vector: the student of
                      ALDI (Huang et al., SIGIR 2023). It learns from the text to give the scores
                      that the backbone's item vector gives:

    L = BCE(s+ - s-, 1) + a BCE(s+ - s-, σ(t+ - t-))
      + b BCE(g - ḡ, σ(g* - ḡ*)) + c (|t+ - s+| + |t- - s-|)

    s: dot products of the student, t: of the teacher (the backbone), + for a user's item and - for
    a sampled one; g: an item's dot product with itself, ḡ: its mean dot product with the batch,
    * for the teacher.

Differences from the public code, with reasons:
- A user's profile leaves out the item of the pair. (There the item is part of the profile, so the
  tower learns to recognise it instead of predicting it.)
- Negatives are warm items that are not training positives of the user. (There cold items are
  sampled too.)
- The epoch with the best ndcg@20 on cold validation items is kept. (There it is the best accuracy
  on held-out pairs, whose items are all in training.)
"""

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from warmstart.backbones.graph import sample_negatives
from warmstart.config import Config
from warmstart.storage import unnest
from warmstart.train import TorchTrainee
from warmstart.train.seed import torch_seed

_ROWS_AT_ONCE = 8192  # vectors per forward pass in apply_network


class TowerConfig(Config):
    """Settings of one tower.

    Attributes:
        width: width of the common space of users and items; 200 as in ColdLLM's public code.
        hidden: units of the hidden layer of each of the two networks.
        epochs: maximum number of epochs; with validation the best one is kept.
        patience: epochs without a new best before training stops.
        batch_size: interactions per step.
        learning_rate: learning rate of AdamW.
        weight_decay: weight decay of AdamW.
    """

    width: int = Field(default=200, ge=1)
    hidden: int = Field(default=512, ge=1)
    epochs: int = Field(default=15, ge=1)
    patience: int = Field(default=2, ge=1)
    batch_size: int = Field(default=4096, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)


class ContentTowerConfig(TowerConfig):
    """Settings of the content tower.

    Attributes:
        negatives: items sampled per interaction.
    """

    negatives: int = Field(default=4, ge=1)


class BehaviourTowerConfig(TowerConfig):
    """Settings of the behaviour tower.

    Attributes:
        ranking_weight, identification_weight, rating_weight: a, b and c of the loss; the defaults
            are those of ALDI in ColdRec.
    """

    ranking_weight: float = Field(default=0.9, ge=0)
    identification_weight: float = Field(default=0.05, ge=0)
    rating_weight: float = Field(default=0.1, ge=0)


class Tower:
    """A fitted tower: scores users for a text by the dot product in a common space.

    Args:
        users: vectors of all users in that space, float32, shape (n_users, width).
        items: the network that maps text vectors into that space.
    """

    def __init__(self, users: np.ndarray, items: "TowerNetwork") -> None:
        self.users = users
        self._items = items

    def user_scores(self, vectors: np.ndarray) -> np.ndarray:
        """Score all users for texts.

        Args:
            vectors: text vectors, float32, shape (items, LM width).

        Returns:
            float32, shape (items, n_users).
        """
        return apply_network(self._items, vectors) @ self.users.T

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``restore`` needs."""
        weights = {
            f"items.{name}": tensor.numpy() for name, tensor in self._items.state_dict().items()
        }
        return {"users": self.users, **weights}

    @classmethod
    def restore(cls, state: dict[str, np.ndarray]) -> Self:
        """Rebuild a tower from ``state``."""
        weights = unnest("items", state)
        hidden, inputs = weights["0.weight"].shape
        items = TowerNetwork(inputs, hidden, len(weights["2.weight"]))
        items.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items()})
        return cls(state["users"], items.eval())


class TowerNetwork(nn.Sequential):
    """A network of two linear layers with tanh between them."""

    def __init__(self, inputs: int, hidden: int, width: int) -> None:
        super().__init__(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, width))


def apply_network(module: nn.Module, vectors: np.ndarray) -> np.ndarray:
    """Map vectors by a network, without gradient; float32, shape (rows, width)."""
    blocks = [
        vectors[start : start + _ROWS_AT_ONCE]
        for start in range(0, max(len(vectors), 1), _ROWS_AT_ONCE)
    ]
    with torch.inference_mode():
        return np.concatenate([module(torch.from_numpy(block)).numpy() for block in blocks])


class TowerTrainee(TorchTrainee):
    """Trains the user and the item network of a tower; an epoch is one pass over interactions.

    Args:
        config: sizes and learning rates.
        train: interactions of the warm items, CSR, shape (n_users, warm items).
        texts: text vectors of the warm items, float32, shape (warm items, LM width).
        user_width: width of the user network's input.
        rng: draws the initial weights.
    """

    def __init__(
        self,
        config: TowerConfig,
        train: sparse.csr_matrix,
        texts: np.ndarray,
        user_width: int,
        rng: np.random.Generator,
    ) -> None:
        with torch_seed(rng):
            self.user_network = TowerNetwork(user_width, config.hidden, config.width)
            self.item_network = TowerNetwork(texts.shape[1], config.hidden, config.width)
        self.config, self.train, self.texts = config, train, torch.from_numpy(texts)
        self.pairs = train.tocoo()
        parameters = {
            f"{side}.{name}": weight
            for side, module in (("user", self.user_network), ("item", self.item_network))
            for name, weight in module.named_parameters()
        }
        optimiser = torch.optim.AdamW(
            parameters.values(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        super().__init__(parameters, optimiser)

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        order = rng.permutation(self.train.nnz)
        batches = max(1, len(order) // self.config.batch_size)
        for batch in np.array_split(order, batches):
            yield self.step(self.loss(self.pairs.row[batch], self.pairs.col[batch], rng))

    def loss(self, users: np.ndarray, items: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Compute the loss of a batch of observed pairs."""
        raise NotImplementedError

    def user_inputs(self) -> np.ndarray:
        """Return the user network's inputs for all users, float32, shape (n_users, user_width)."""
        raise NotImplementedError

    def tower(self) -> Tower:
        """Return the tower at its present state of training."""
        return Tower(apply_network(self.user_network, self.user_inputs()), self.item_network)

    def negatives_for(self, users: np.ndarray, times: int, rng: np.random.Generator) -> np.ndarray:
        """Sample ``times`` warm items per user that are not positives; int64, (users x times,)."""
        return sample_negatives(
            np.repeat(users, times),
            self.train.indptr,
            self.train.indices,
            np.arange(self.texts.shape[0]),
            int(rng.integers(2**31)),
        )


class ContentTrainee(TowerTrainee):
    """Trains the content tower; arguments as ``TowerTrainee``, without ``user_width``."""

    config: ContentTowerConfig

    def __init__(
        self,
        config: ContentTowerConfig,
        train: sparse.csr_matrix,
        texts: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(config, train, texts, texts.shape[1], rng)
        binary = sparse.csr_matrix(
            (np.ones_like(train.data), train.indices, train.indptr), train.shape
        )
        self.sums = torch.from_numpy(binary @ texts)

    def user_inputs(self) -> np.ndarray:
        return functional.normalize(self.sums, dim=1).numpy()

    def loss(self, users: np.ndarray, items: np.ndarray, rng: np.random.Generator) -> Tensor:
        times = self.config.negatives
        sums, texts = self.sums[torch.from_numpy(users)], self.texts[torch.from_numpy(items)]
        without_item = self.user_network(functional.normalize(sums - texts, dim=1))
        whole = self.user_network(functional.normalize(sums, dim=1)).repeat_interleave(times, 0)
        others = self.texts[torch.from_numpy(self.negatives_for(users, times, rng))]
        positive = (without_item * self.item_network(texts)).sum(1)
        negative = (whole * self.item_network(others)).sum(1)
        return functional.softplus(-positive).mean() + functional.softplus(negative).mean()


class BehaviourTrainee(TowerTrainee):
    """Trains the behaviour tower.

    Args:
        config: sizes, learning rates and weights of the loss.
        train: as for ``TowerTrainee``.
        texts: as for ``TowerTrainee``.
        teacher: the backbone's vectors of users and of warm items, constants, float32.
        rng: draws the initial weights.
    """

    config: BehaviourTowerConfig

    def __init__(
        self,
        config: BehaviourTowerConfig,
        train: sparse.csr_matrix,
        texts: np.ndarray,
        teacher: tuple[np.ndarray, np.ndarray],
        rng: np.random.Generator,
    ) -> None:
        super().__init__(config, train, texts, teacher[0].shape[1], rng)
        # The losses compare dot products: scale the teacher's so that a sigmoid does not saturate.
        dots = np.einsum("ij,ij->i", teacher[0][self.pairs.row], teacher[1][self.pairs.col])
        unit = float(np.sqrt(max(np.abs(dots).mean(), 1e-12) / 2))
        self.teacher = tuple(torch.from_numpy(side / np.float32(unit)) for side in teacher)

    def user_inputs(self) -> np.ndarray:
        return self.teacher[0].numpy()

    def loss(self, users: np.ndarray, items: np.ndarray, rng: np.random.Generator) -> Tensor:
        config, (teacher_users, teacher_items) = self.config, self.teacher
        rows, item = torch.from_numpy(users), torch.from_numpy(items)
        other = torch.from_numpy(self.negatives_for(users, 1, rng))
        user, student = self.user_network(teacher_users[rows]), self.item_network(self.texts[item])
        s_pos = (user * student).sum(1)
        s_neg = (user * self.item_network(self.texts[other])).sum(1)
        t_pos = (teacher_users[rows] * teacher_items[item]).sum(1)
        t_neg = (teacher_users[rows] * teacher_items[other]).sum(1)
        entropy = functional.binary_cross_entropy_with_logits
        return (
            functional.softplus(s_neg - s_pos).mean()
            + config.ranking_weight * entropy(s_pos - s_neg, torch.sigmoid(t_pos - t_neg))
            + config.identification_weight
            * entropy(_distinctness(student), torch.sigmoid(_distinctness(teacher_items[item])))
            + config.rating_weight * ((t_pos - s_pos).abs() + (t_neg - s_neg).abs()).mean()
        )


def _distinctness(items: Tensor) -> Tensor:
    """Return each item's dot product with itself minus its mean dot product with the batch."""
    return items.square().sum(1) - items @ items.mean(0)

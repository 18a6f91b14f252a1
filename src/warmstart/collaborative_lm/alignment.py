"""Stage 1 of A-LLMRec: two autoencoders that bring item vectors and text vectors together.

    E (backbone, frozen) ──encode──▶ e ──decode──▶ E'        match:          e and q of an item
    Q (text encoder)     ──encode──▶ q ──decode──▶ Q'        reconstruction: E' and E, Q' and Q
                                     x . decode_E(e)         recommendation: the item after state x

"Large Language Models meet Collaborative Filtering: An Efficient All-round LLM-based Recommender
System", KDD 2024 (arXiv 2404.11343), equations 2 to 6. An encoder is a linear map and a sigmoid, a
decoder a linear map. Since e and q of an item are alike, the decoder of item vectors turns the text
of an item that nobody has clicked into a vector that the backbone can score.

The entries of E and Q are scaled to a mean square of one, so that weights and learning rate do not
depend on their widths and lengths.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from warmstart.backbones.graph import default_device, sample_negatives
from warmstart.backbones.sequence.losses import softmax_loss
from warmstart.collaborative_lm.items import WarmItems
from warmstart.config import Config
from warmstart.lm.lora import LoRAConfig, TunableLM
from warmstart.lm.texts import TokenizedTexts
from warmstart.train import TorchTrainee
from warmstart.train.module_arrays import damaged_arrays, load_arrays, module_arrays
from warmstart.train.seed import torch_seed

_ROWS_AT_ONCE = 65_536


class AlignmentConfig(Config):
    """Settings of stage 1.

    Attributes:
        kind: "autoencoders", the published ones, or "ridge" (``RidgeAlignmentConfig``).
        width: length of the joint vectors e and q.
        match_weight: weight of the mean squared difference of e and q.
        item_weight: weight of the reconstruction of item vectors (alpha of the paper).
        text_weight: weight of the reconstruction of text vectors (beta of the paper).
        recommendation_weight: weight of the recommendation loss on item vectors.
        text_recommendation_weight: weight of the same loss on the vectors that texts are decoded
            to; 0 as published.
        recommendation_loss: "softmax" over all items, as the backbones are trained here, or "bce":
            binary cross-entropy of the next item and one drawn item, as published.
        positions: the next items that the recommendation loss asks for: "all" of a history, or the
            "last" of its training events, as published.
        warm_items: what represents an item with interactions: its joint vector at the slots of
            prompts, and in scores the "vectors" of the backbone or, as published, what the joint
            vector is "decoded" to; or "texts", as new items ("A-LLMRec (SBERT)", for few
            interactions).
        text_encoder: "frozen", "lora" or "full": what of the text encoder is trained. As published
            the whole of it is, at 100 times the time of a frozen one (docs/log.md).
        lora: shape of the adapter for "lora".
        encoder_learning_rate: learning rate of the text encoder, if it is trained.
        learning_rate: learning rate of Adam.
        weight_decay: decoupled weight decay.
        batch_size: next items per step.
        epochs: maximum number of epochs; with validation the best one is kept, which is the third
            or fourth for 150,000 next items and the fourteenth for 11,000. Without, give fewer for
            many interactions.
        patience: validations without improvement before training stops.
    """

    kind: Literal["autoencoders"] = "autoencoders"
    width: int = Field(default=256, ge=1)
    match_weight: float = Field(default=1.0, ge=0)
    item_weight: float = Field(default=5.0, ge=0)
    text_weight: float = Field(default=0.5, ge=0)
    recommendation_weight: float = Field(default=1.0, ge=0)
    text_recommendation_weight: float = Field(default=1.0, ge=0)
    recommendation_loss: Literal["softmax", "bce"] = "softmax"
    positions: Literal["all", "last"] = "all"
    warm_items: WarmItems = "vectors"
    text_encoder: Literal["frozen", "lora", "full"] = "frozen"
    lora: LoRAConfig = LoRAConfig()
    encoder_learning_rate: float = Field(default=2e-5, gt=0)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=1024, ge=1)
    epochs: int = Field(default=30, ge=1)
    patience: int = Field(default=3, ge=1)


@dataclass(frozen=True)
class NextItems:
    """What follows the states of training.

    Attributes:
        states: states of the backbone, float32, shape (events, width).
        items: the item after each state, int64, shape (events,).
        owners: the history of each state, int64, shape (events,).
        seen: the items of each history, CSR, shape (histories, items).
    """

    states: np.ndarray
    items: np.ndarray
    owners: np.ndarray
    seen: sparse.csr_matrix


class Alignment(nn.Module):
    """The two autoencoders.

    Args:
        item_width: length of the backbone's vectors.
        text_width: length of text vectors.
        width: length of joint vectors.
        item_scale, text_scale: root mean square of the entries of item and of text vectors.
    """

    def __init__(
        self, item_width: int, text_width: int, width: int, item_scale: float, text_scale: float
    ) -> None:
        super().__init__()
        self.item_encoder = nn.Linear(item_width, width)
        self.item_decoder = nn.Linear(width, item_width)
        self.text_encoder = nn.Linear(text_width, width)
        self.text_decoder = nn.Linear(width, text_width)
        self.item_scale = nn.Buffer(torch.tensor(item_scale))
        self.text_scale = nn.Buffer(torch.tensor(text_scale))

    def of_items(self, vectors: Tensor) -> Tensor:
        """Compute e of item vectors: shape (items, width), in (0, 1)."""
        return torch.sigmoid(self.item_encoder(vectors / self.item_scale))

    def of_texts(self, vectors: Tensor) -> Tensor:
        """Compute q of text vectors: shape (items, width), in (0, 1)."""
        return torch.sigmoid(self.text_encoder(vectors / self.text_scale))

    def items_of(self, joint: Tensor) -> Tensor:
        """Decode joint vectors to item vectors, on the scale of the backbone's."""
        return self.item_decoder(joint) * self.item_scale

    @torch.no_grad()
    def joint(self, vectors: np.ndarray, side: Literal["item", "text"]) -> np.ndarray:
        """Compute the joint vectors of item or text vectors: float32, shape (rows, width)."""
        encode = self.of_items if side == "item" else self.of_texts
        return self._in_blocks(encode, vectors, self.item_encoder.out_features)

    @torch.no_grad()
    def decoded(self, joint: np.ndarray) -> np.ndarray:
        """Decode joint vectors to the backbone's space: float32, shape (rows, item width)."""
        return self._in_blocks(self.items_of, joint, self.item_decoder.out_features)

    def _in_blocks(self, function: Any, rows: np.ndarray, width: int) -> np.ndarray:
        found = np.empty((len(rows), width), np.float32)
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            block = slice(begin, begin + _ROWS_AT_ONCE)
            given = torch.from_numpy(np.ascontiguousarray(rows[block], np.float32))
            found[block] = function(given.to(self.item_scale.device)).cpu().numpy()
        return found

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of all tensors as arrays, by name."""
        return module_arrays(self)

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> "Alignment":
        """Rebuild an alignment from ``state``.

        Raises:
            ArtefactError: a tensor is missing or has a wrong shape.
        """
        with damaged_arrays("alignment"):
            width, item_width = state["item_encoder.weight"].shape
            text_width = state["text_encoder.weight"].shape[1]
            made = cls(item_width, text_width, width, 1.0, 1.0)
            load_arrays(made, state)
        return made.to(default_device())


def new_alignment(
    items: np.ndarray, texts: np.ndarray, width: int, rng: np.random.Generator
) -> Alignment:
    """Make an untrained alignment for vectors of these scales.

    Args:
        items: item vectors, float32, shape (items, item width).
        texts: their text vectors, float32, shape (items, text width).
        width: length of joint vectors.
        rng: draws the weights.
    """
    scales = [max(float(np.sqrt(np.square(rows).mean())), 1e-12) for rows in (items, texts)]
    with torch_seed(rng):
        made = Alignment(items.shape[1], texts.shape[1], width, *scales)
    return made.to(default_device())


class AlignmentTrainee(TorchTrainee):
    """Trains an alignment, and the text encoder where that is asked for.

    In each step the losses of matching and reconstruction are means over the items that follow the
    states of the batch and as many drawn at random, as in the public code; items without text have
    no part in matching and in the reconstruction of texts.

    Args:
        alignment: trained in place.
        items: frozen vectors of the warm items, float32, shape (items, item width).
        texts: their text vectors, float32, shape (items, text width); zeros without text.
        following: states and the rows in ``items`` that follow them.
        config: the settings.
        tunable: the text encoder, if it is trained, and
        tokens: the tokens of the texts of the items.
    """

    def __init__(
        self,
        alignment: Alignment,
        items: np.ndarray,
        texts: np.ndarray,
        following: NextItems,
        config: AlignmentConfig,
        tunable: TunableLM | None = None,
        tokens: TokenizedTexts | None = None,
    ) -> None:
        device = alignment.item_decoder.weight.device
        self.alignment, self.config = alignment, config
        self.items, self.texts = (torch.from_numpy(rows).to(device) for rows in (items, texts))
        self.has_text = self.texts.any(dim=1)
        self.following, self.tunable, self.tokens = following, tunable, tokens
        own = dict(alignment.named_parameters())
        groups = [{"params": list(own.values()), "lr": config.learning_rate}]
        tuned = {} if tunable is None else tunable.adapter_parameters()
        if tuned:
            groups.append({"params": list(tuned.values()), "lr": config.encoder_learning_rate})
        optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        super().__init__({**own, **{f"lm.{k}": v for k, v in tuned.items()}}, optimiser)

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        order, size = rng.permutation(len(self.following.items)), self.config.batch_size
        with torch_seed(rng):
            if self.tunable is not None:
                self.tunable.train()
            for begin in range(0, len(order), size):
                yield self.step(self.loss(order[begin : begin + size], rng))
            if self.tunable is not None:
                self.tunable.eval()

    def loss(self, events: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Compute the loss of some next items: a scalar."""
        config, following, device = self.config, self.following, self.items.device
        positive = following.items[events]
        negative = sample_negatives(
            following.owners[events], following.seen.indptr, following.seen.indices,
            np.arange(len(self.items)), int(rng.integers(2**31)),
        )  # fmt: skip
        rows = np.unique(np.concatenate([positive, negative]))
        at = torch.from_numpy(rows).to(device)
        joint, from_text = self.alignment.of_items(self.items[at]), self._of_texts(rows)
        total = config.item_weight * functional.mse_loss(
            self.alignment.item_decoder(joint), self.items[at] / self.alignment.item_scale
        )
        told = self.has_text[at]
        if told.any():
            total = total + config.match_weight * functional.mse_loss(joint[told], from_text[told])
            total = total + config.text_weight * functional.mse_loss(
                self.alignment.text_decoder(from_text[told]),
                (self.texts[at] / self.alignment.text_scale)[told],
            )
        states = torch.from_numpy(following.states[events]).to(device)
        if config.recommendation_weight:
            total = total + config.recommendation_weight * self._recommendation(
                joint, rows, states, positive, negative
            )
        if config.text_recommendation_weight:
            decoded = self.alignment.items_of(from_text)
            total = total + config.text_recommendation_weight * softmax_loss(
                states, decoded, torch.from_numpy(np.searchsorted(rows, positive)).to(device)
            )
        return total

    def _recommendation(
        self,
        joint: Tensor,
        rows: np.ndarray,
        states: Tensor,
        positive: np.ndarray,
        negative: np.ndarray,
    ) -> Tensor:
        """Loss of the next items among all items, or each against one; ``joint`` is of ``rows``."""
        device = states.device
        if self.config.recommendation_loss == "softmax":
            decoded = self.alignment.items_of(self.alignment.of_items(self.items))
            return softmax_loss(states, decoded, torch.from_numpy(positive).to(device))
        decoded, signed = self.alignment.items_of(joint), []
        for chosen, sign in ((positive, -1), (negative, 1)):
            at = torch.from_numpy(np.searchsorted(rows, chosen)).to(device)
            products = (states * functional.embedding(at, decoded)).sum(dim=1)
            signed.append(functional.softplus(sign * products).mean())
        return signed[0] + signed[1]

    def _of_texts(self, rows: np.ndarray) -> Tensor:
        if self.tunable is None or self.tokens is None:
            return self.alignment.of_texts(self.texts[torch.from_numpy(rows).to(self.texts.device)])
        lm, size = self.tunable.lm, self.tunable.lm.batch_size
        parts = [
            self.tunable(self.tokens.batch(rows[begin : begin + size], lm.device))
            for begin in range(0, len(rows), size)
        ]
        return self.alignment.of_texts(torch.cat(parts).to(self.texts.device))


def spread(vectors: np.ndarray) -> dict[str, float]:
    """Measure whether vectors have collapsed to one point or to a few directions.

    Args:
        vectors: float32, shape (rows, width).

    Returns:
        "variance", the mean variance of a dimension, and "rank", the effective rank: exp of the
        entropy of the normalised eigenvalues of the covariance (Roy and Vetterli, "The Effective
        Rank", EUSIPCO 2007).
    """
    centred = np.asarray(vectors, np.float64) - vectors.mean(axis=0)
    values = np.linalg.eigvalsh(centred.T @ centred / max(len(vectors), 1)).clip(min=0)
    share = values[values > 0] / max(values.sum(), 1e-300)
    rank = float(np.exp(-(share * np.log(share)).sum())) if values.sum() > 0 else 0.0
    return {"variance": float(centred.var(axis=0).mean()), "rank": rank}

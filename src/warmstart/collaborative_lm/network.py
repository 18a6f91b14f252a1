"""What is trained in stage 2 of A-LLMRec: projectors into the LM, and heads out of it.

    state of the backbone ──project──▶ [user] slot ─┐
    joint vector of an item ──project──▶ [item] slot ├─ frozen LM ─▶ state at [user] ──head──▶ h
    words ──────────────────────────────────────────┘
    state of the LM after the text of an item, joint vector ──head──▶ g          score = h . g

A projector is Linear, LayerNorm, LeakyReLU (users) or GELU (items), Linear, as in the public code
of A-LLMRec (arXiv 2404.11343). The heads follow LLM-SRec (KDD 2025), by the same authors: the
catalogue is encoded once, and one pass of the LM answers a history for all items.
"""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from warmstart.config import Config
from warmstart.train.module_arrays import damaged_arrays, load_arrays, module_arrays
from warmstart.train.seed import torch_seed

_ITEMS_AT_ONCE = 65_536


class NetworkConfig(Config):
    """Shape of the heads.

    Attributes:
        head_width: length of h and g.
        temperature: divides their cosine, as that of ``sasrec``.
    """

    head_width: int = Field(default=128, ge=1)
    temperature: float = Field(default=0.07, gt=0)


class PromptNetwork(nn.Module):
    """Projectors and heads.

    Args:
        state_width: length of the backbone's states.
        item_width: length of the vectors at the slots of items.
        lm_width: length of the LM's vectors.
        word_scale: root mean square of the entries of the LM's input vectors, to which those of the
            slots are scaled.
        config: shape of the heads.
    """

    def __init__(
        self,
        state_width: int,
        item_width: int,
        lm_width: int,
        word_scale: float,
        config: NetworkConfig,
    ) -> None:
        super().__init__()
        width = config.head_width
        self.temperature = config.temperature
        self.user_projector = _projector(state_width, lm_width, nn.LeakyReLU())
        self.item_projector = _projector(item_width, lm_width, nn.GELU())
        self.output = nn.Parameter(torch.zeros(lm_width))  # added at the slots of users
        self.user_head = nn.Linear(lm_width, width)
        hidden = max(lm_width, item_width) // 2
        self.item_head = nn.Sequential(
            nn.Linear(lm_width + item_width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )
        self.word_scale = nn.Buffer(torch.tensor(word_scale))
        nn.init.normal_(self.output)

    def user_slots(self, states: Tensor | None, n: int) -> Tensor:
        """Vectors of the slots of users: shape (n, LM width); None leaves the states out."""
        learned = self.output.expand(n, -1)
        if states is not None:
            learned = learned + self.user_projector(states)
        return learned * self.word_scale

    def item_slots(self, vectors: Tensor) -> Tensor:
        """Vectors of the slots of items: shape (slots, LM width)."""
        return self.item_projector(vectors) * self.word_scale

    def users(self, states: Tensor) -> Tensor:
        """Compute h from the LM's states at the slots of users; length 1 / temperature."""
        return functional.normalize(self.user_head(states.float()), dim=-1) / self.temperature

    def items(self, text_states: Tensor, vectors: Tensor) -> Tensor:
        """Compute g of items; of unit length.

        Args:
            text_states: unit states of the LM after their texts, shape (items, LM width).
            vectors: their vectors, shape (items, item width).
        """
        scaled = text_states * text_states.shape[1] ** 0.5
        return functional.normalize(self.item_head(torch.cat([scaled, vectors], 1)), dim=1)

    @torch.no_grad()
    def item_rows(self, text_states: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """As ``items``, on arrays: float32, shape (items, head width)."""
        device, found = self.output.device, []
        for begin in range(0, len(vectors), _ITEMS_AT_ONCE):
            block = slice(begin, begin + _ITEMS_AT_ONCE)
            parts = (torch.from_numpy(rows[block]).to(device) for rows in (text_states, vectors))
            found.append(self.items(*parts).cpu().numpy())
        return np.concatenate([np.zeros((0, self.user_head.out_features), np.float32), *found])

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of all tensors as arrays, by name."""
        return module_arrays(self)

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray], config: NetworkConfig) -> "PromptNetwork":
        """Rebuild a network from ``state``.

        Raises:
            ArtefactError: a tensor is missing or has a wrong shape.
        """
        with damaged_arrays("prompt network"):
            lm_width, state_width = state["user_projector.0.weight"].shape
            item_width = state["item_projector.0.weight"].shape[1]
            made = cls(state_width, item_width, lm_width, 1.0, config)
            load_arrays(made, state)
        return made


def new_network(
    state_width: int,
    item_width: int,
    words: Tensor,
    config: NetworkConfig,
    rng: np.random.Generator,
) -> PromptNetwork:
    """Make an untrained network for an LM with these input vectors of words."""
    scale = float(words.detach().float().square().mean().sqrt())
    with torch_seed(rng):
        made = PromptNetwork(state_width, item_width, words.shape[1], scale, config)
    return made.to(words.device)


def _projector(inputs: int, width: int, activation: nn.Module) -> nn.Sequential:
    layers = nn.Sequential(
        nn.Linear(inputs, width), nn.LayerNorm(width), activation, nn.Linear(width, width)
    )
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight)
    return layers

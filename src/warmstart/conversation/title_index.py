"""One-step retrieval with a causal LM: the state after a dialogue, and one vector per title.

    dialogue ──prompt──▶ LM ──state at "1."──▶ (q - c) / s + m ──▶ query      query . item = score
    title ──rows of the LM's output table──▶ aggregator ──────────▶ item

The states of a causal LM are alike: in SmolLM2 what all have in common is four times as long as
what they differ in. So they are standardised by the mean c and the deviation s of training states,
and the common part is put back (m) as long as the rest; products with it are the part of a score
that does not depend on the query. The plain aggregators take the states as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.conversation.aggregator import Aggregator, AggregatorKind
from warmstart.conversation.dialogue_prompts import DialoguePrompts, PromptConfig
from warmstart.conversation.lm_rows import cached_rows
from warmstart.core import Causal
from warmstart.lm.cache import Cache
from warmstart.lm.causal import CausalLM, CausalReference
from warmstart.train.module_arrays import damaged_arrays, load_arrays, module_arrays

_TITLES_AT_ONCE = 2048


class StateScaling(nn.Module):
    """Standardises states of the LM, and shortens what all have in common.

    Args:
        centre: c, float32, shape (width,).
        scale: s, of the same shape.
        common: m, of the same shape.
    """

    def __init__(self, centre: Tensor, scale: Tensor, common: Tensor) -> None:
        super().__init__()
        self.centre, self.scale, self.common = map(nn.Buffer, (centre, scale, common))

    @classmethod
    def none(cls, width: int) -> "StateScaling":
        """Change nothing."""
        return cls(torch.zeros(width), torch.ones(width), torch.zeros(width))

    @classmethod
    def of(cls, states: np.ndarray) -> "StateScaling":
        """Take mean and deviation of some states, float32, shape (rows, width)."""
        centre = states.mean(axis=0)
        scale = np.maximum(states.std(axis=0), 1e-3 * np.sqrt(np.square(states).mean()) + 1e-12)
        common = centre / scale
        common = common * (np.sqrt(len(common)) / max(float(np.linalg.norm(common)), 1e-12))
        return cls(*(torch.from_numpy(row.astype(np.float32)) for row in (centre, scale, common)))

    def forward(self, states: Tensor) -> Tensor:
        """Scale states of the LM, shape (rows, width)."""
        return (states - self.centre) / self.scale + self.common


class TitleTokens:
    """The tokens of titles, with the rows of a table that belong to them.

    Args:
        table: rows of tokens, any float type, shape (vocabulary, width).
        ids: tokens of each title, at least one.
    """

    def __init__(self, table: Tensor, ids: Sequence[Sequence[int]]) -> None:
        self._table = table
        lengths = [len(tokens) for tokens in ids]
        padded = np.zeros((len(ids), max(lengths, default=1)), np.int64)
        for row, tokens in enumerate(ids):
            padded[row, : len(tokens)] = tokens
        self._ids = torch.from_numpy(padded).to(table.device)
        self._lengths = torch.tensor(lengths, device=table.device, dtype=torch.long)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def width(self) -> int:
        """Length of a vector."""
        return self._table.shape[1]

    def vectors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of the tokens of some titles, float32, and their numbers of tokens.

        Args:
            rows: positions of titles, int64, shape (titles,), at least one.

        Returns:
            Shapes (titles, tokens, width) and (titles,).
        """
        lengths = self._lengths[rows]
        ids = self._ids[rows, : int(lengths.max())]
        return nn.functional.embedding(ids, self._table).float(), lengths


def output_table(causal: CausalLM) -> Tensor:
    """The rows of the LM's vocabulary head: shape (vocabulary, width), frozen."""
    table: Any = causal.head.weight
    return table.detach()


class TitleIndex:
    """Queries in words and items by their titles, as vectors whose products are scores.

    Args:
        aggregator: from tokens to vectors.
        scaling: of the states.
        prompts: the words of the prompts.
        spec: portable reference to the LM.
        causal: the LM; None loads it by ``spec`` on first use.
        item_vectors: of the items, float32, shape (n_items, width).
        cache: of states of the LM; None keeps none.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        scaling: StateScaling,
        prompts: PromptConfig,
        spec: Mapping[str, Any],
        causal: Causal | None,
        item_vectors: np.ndarray,
        cache: Cache | None = None,
    ) -> None:
        self.aggregator, self.scaling = aggregator.eval(), scaling
        self.item_vectors, self.cache = item_vectors, cache
        self._prompts, self._reference = prompts, CausalReference(spec, causal)

    @torch.inference_mode()
    def query_states(self, texts: Sequence[str]) -> np.ndarray:
        """Run the LM on dialogues: float32, shape (texts, width).

        Raises:
            ArtefactError: the LM came from a local folder and was not passed as ``lm``.
            DataError: a text is not a string, or the words of the prompt alone are too long.
        """
        lm = self._reference.lm
        prompts = DialoguePrompts(lm, self._prompts).of_dialogues(texts)
        return self.scaled(cached_rows(CausalLM(lm), prompts, self.cache))

    @torch.inference_mode()
    def scaled(self, states: np.ndarray) -> np.ndarray:
        """Turn raw states of the LM into queries: float32, shape (rows, width)."""
        device = self.scaling.centre.device
        return self.scaling(torch.from_numpy(states).to(device)).cpu().numpy()

    def encode_titles(self, titles: Sequence[str]) -> np.ndarray:
        """Compute the vectors of items by their titles: float32, shape (titles, width).

        Raises:
            ArtefactError: the LM came from a local folder and was not passed as ``lm``.
        """
        lm = self._reference.lm
        ids = DialoguePrompts(lm, self._prompts).titles(titles)
        self.aggregator.to(lm.device)
        return all_vectors(self.aggregator, TitleTokens(output_table(CausalLM(lm)), ids))

    def append(self, titles: Sequence[str]) -> np.ndarray:
        """Add new items after the others; returns their vectors."""
        new = self.encode_titles(titles)
        self.item_vectors = np.concatenate([self.item_vectors, new])
        return new

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of an artefact, by name."""
        parts = {"aggregator": self.aggregator, "scaling": self.scaling}
        arrays = {
            f"{name}.{key}": array
            for name, part in parts.items()
            for key, array in module_arrays(part).items()
        }
        return {**arrays, "item_vectors": self.item_vectors}

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, np.ndarray],
        kind: AggregatorKind,
        prompts: PromptConfig,
        spec: Mapping[str, Any],
        causal: Causal | None,
        cache: Cache | None = None,
    ) -> "TitleIndex":
        """Rebuild an index from ``state``.

        Args:
            state: the arrays.
            kind: of the aggregator.
            prompts: the words of the prompts.
            spec: portable reference to the LM.
            causal: the LM, or None.
            cache: of states of the LM, or None.

        Raises:
            ArtefactError: an array is missing or has a wrong shape.
        """
        with damaged_arrays("title index"):
            width = state["item_vectors"].shape[1]
            aggregator = Aggregator(kind, width, prompts.title_tokens, 1.0, 1.0)
            scaling = StateScaling.none(width)
            for name, part in (("aggregator.", aggregator), ("scaling.", scaling)):
                named = {key for key in state if key.startswith(name)}
                load_arrays(part, {key.removeprefix(name): state[key] for key in named})
        return cls(aggregator, scaling, prompts, spec, causal, state["item_vectors"], cache)


@torch.no_grad()
def all_vectors(aggregator: nn.Module, tokens: TitleTokens) -> np.ndarray:
    """Aggregate all titles, without dropout: float32, shape (titles, width)."""
    was_training = aggregator.training
    found = [np.zeros((0, tokens.width), np.float32)]
    aggregator.eval()
    for begin in range(0, len(tokens), _TITLES_AT_ONCE):
        rows = torch.arange(begin, min(begin + _TITLES_AT_ONCE, len(tokens)))
        vectors, lengths = tokens.vectors(rows)
        found.append(aggregator(vectors, lengths).cpu().numpy())
    aggregator.train(was_training)
    return np.concatenate(found)

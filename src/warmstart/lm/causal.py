"""What a causal LM computes: states, logits, and the likelihood of continuations.

The prompts of one call are read in batches of similar length. A prompt with many continuations,
such as the titles of its candidates, is read once: its keys and values are cached and repeated for
the continuations. Logits are larger than everything else (tokens of the vocabulary x positions), so
they are computed only for the positions that are asked for, some at a time.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from warmstart.core import Causal
from warmstart.errors import ConfigError, DataError
from warmstart.lm.load import CausalLMConfig, LanguageModel, LMConfig, load_language_model
from warmstart.lm.memory import reading_plan
from warmstart.lm.prompts import SLOT
from warmstart.lm.reference import load_referenced
from warmstart.lm.texts import TokenBatch, TokenizedTexts
from warmstart.process import check_process

Progress: TypeAlias = Callable[[int, int], None]

LOGITS_AT_ONCE = 2**24  # 64 MB in float32
_CACHE_AT_ONCE = 2**28  # bytes of keys and values of one batch of continuations


class CausalLM:
    """A causal language model with its vocabulary head.

    Args:
        lm: the loaded model.

    Raises:
        ConfigError: the model has no vocabulary head.
    """

    def __init__(self, lm: LanguageModel) -> None:
        find: Any = getattr(lm.with_head, "get_output_embeddings", lambda: None)
        head = find()
        if lm.spec.kind != "causal" or head is None:
            raise ConfigError(
                f"LM {lm.spec.source!r} has no vocabulary head; give a causal LM, or load it with "
                "kind = 'causal'"
            )
        self.lm = lm
        self.head: nn.Module = head

    @classmethod
    def from_spec(
        cls,
        spec: Mapping[str, Any],
        *,
        source: str | None = None,
        device: str = "auto",
        batch_size: int = 32,
    ) -> "CausalLM":
        """Load the causal LM that an artefact refers to; see ``load_referenced``."""
        return cls(load_referenced(spec, source=source, device=device, batch_size=batch_size))

    @property
    def spec(self) -> dict[str, Any]:
        """Portable reference to the LM for an artefact: plain JSON values, no path."""
        return self.lm.spec.model_dump(mode="json")

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary: the rows of the table of input vectors."""
        return len(self.words())

    def words(self) -> Tensor:
        """The input vectors of the vocabulary: shape (n_tokens, width)."""
        find: Any = self.lm.with_head.get_input_embeddings
        return find().weight

    def logits(self, states: Tensor) -> Tensor:
        """Compute the logits of the next token: float32, shape (..., vocabulary)."""
        check_process()
        return self.head(states).float()

    def embed(self, ids: Tensor, vectors: Tensor | None = None) -> Tensor:
        """Look up the input vectors of tokens, and put given ones into the slots.

        Args:
            ids: int64, shape (batch, tokens); ``SLOT`` at slots.
            vectors: shape (slots, width), one for each slot in order of rows, then places.

        Returns:
            Shape (batch, tokens, width).

        Raises:
            DataError: the number of vectors is not that of the slots, or their width is another.
        """
        check_process()
        slots = ids == SLOT
        embedded = functional.embedding(ids.masked_fill(slots, 0), self.words())
        shape = None if vectors is None else tuple(vectors.shape)
        expected = (int(slots.sum()), embedded.shape[2])
        if vectors is None and expected[0] == 0:
            return embedded
        if vectors is None or shape != expected:
            raise DataError(
                f"vectors of slots have shape {shape}, allowed: (slots, width) = {expected}"
            )
        return embedded.masked_scatter(slots[:, :, None], vectors.to(embedded.dtype))

    def hidden(self, batch: TokenBatch, vectors: Tensor | None = None) -> Tensor:
        """Compute the states of the last layer: shape (batch, tokens, width)."""
        return self._read(batch, vectors).last_hidden_state

    def last_states(self, batch: TokenBatch, vectors: Tensor | None = None) -> Tensor:
        """Compute the state at the last token of each row: shape (batch, width)."""
        return _at_last(self.hidden(batch, vectors), batch.mask)

    @torch.inference_mode()
    def next_token_logits(
        self, prompts: TokenizedTexts, *, vectors: np.ndarray | None = None
    ) -> np.ndarray:
        """Compute the logits of the token that follows each prompt.

        Args:
            prompts: the prompts.
            vectors: those of the slots of all prompts in order, float32, shape (slots, width).

        Returns:
            float32, shape (prompts, vocabulary).
        """
        self.check_memory("logits", prompts, 0, cached=False)
        rows = np.empty((len(prompts), self.n_tokens), np.float32)
        for chosen, batch, given in self.batches(prompts, vectors):
            rows[chosen] = self.logits(self.last_states(batch, given)).cpu().numpy()
        return rows

    @torch.inference_mode()
    def log_likelihoods(
        self,
        prompts: TokenizedTexts,
        continuations: Sequence[Sequence[Sequence[int]]],
        *,
        vectors: np.ndarray | None = None,
        share_prompts: bool = True,
        progress: Progress | None = None,
    ) -> list[np.ndarray]:
        """Compute log p(continuation | prompt), summed over the tokens of each continuation.

        Args:
            prompts: the prompts.
            continuations: the token ids of one or more continuations of each prompt, none empty.
            vectors: those of the slots of all prompts in order, float32, shape (slots, width).
            share_prompts: read each prompt once and not once for each of its continuations. The
                result is the same up to rounding.
            progress: called with the prompts done and the prompts in total.

        Returns:
            For each prompt float32, shape (continuations,).

        Raises:
            DataError: a continuation is empty, too long or no token ids, or there is not one list
                for each prompt.
        """
        if len(continuations) != len(prompts):
            raise DataError(
                f"log_likelihoods: {len(continuations)} lists of continuations for "
                f"{len(prompts)} prompts"
            )
        limit = self.lm.spec.max_tokens
        for number, (prompt, given) in enumerate(zip(prompts.ids, continuations, strict=True)):
            for tokens in given:
                if not 0 < len(tokens) <= limit - len(prompt):
                    raise DataError(
                        f"log_likelihoods: prompt {number} has {len(prompt)} tokens and a "
                        f"continuation of {len(tokens)}; allowed: at least one, and {limit} "
                        "together (max_tokens of the LM)"
                    )
                check_tokens(f"log_likelihoods: a continuation of prompt {number}", tokens, self)
        longest = max((len(ids) for given in continuations for ids in given), default=0)
        self.check_memory("likelihoods", prompts, longest, cached=share_prompts)
        found = [np.empty(len(given), np.float32) for given in continuations]
        done = 0
        for chosen, batch, given in self.batches(prompts, vectors):
            pairs = [(row, place) for row in chosen for place in range(len(continuations[row]))]
            tokens = [np.asarray(continuations[row][place], np.int64) for row, place in pairs]
            owners = np.repeat(np.arange(len(chosen)), [len(continuations[row]) for row in chosen])
            inputs = [ids[:-1] for ids in tokens]
            for some, states in self._following(batch, given, owners, inputs, share_prompts):
                values = self._summed(states, [tokens[number] for number in some])
                for number, value in zip(some, values, strict=True):
                    row, place = pairs[number]
                    found[row][place] = value
            done += len(chosen)
            if progress is not None:
                progress(done, len(prompts))
        return found

    def states_after(self, prompt: np.ndarray, continuations: Sequence[np.ndarray]) -> Tensor:
        """Compute the state at the last token of continuations of one prompt, which is read once.

        Args:
            prompt: token ids, int32, shape (tokens,).
            continuations: the token ids of each continuation.

        Returns:
            Shape (continuations, width), without gradient.
        """
        batch = TokenizedTexts((prompt,), self.lm.pad_id, 0).batch(np.zeros(1, int), self.lm.device)
        owners = np.zeros(len(continuations), np.int64)
        lengths = torch.tensor([len(ids) for ids in continuations], device=self.lm.device)
        found = torch.empty(len(continuations), self.lm.width, device=self.lm.device)
        with torch.no_grad():
            for some, states in self._following(batch, None, owners, continuations, share=True):
                at = torch.from_numpy(some).to(self.lm.device)
                found[at] = states[torch.arange(len(some)), lengths[at]].float()
        return found

    def batches(
        self, prompts: TokenizedTexts, vectors: np.ndarray | None, size: int | None = None
    ) -> Iterator[tuple[np.ndarray, TokenBatch, Tensor | None]]:
        """Iterate over batches of prompts of similar lengths, longest first.

        Args:
            prompts: the prompts.
            vectors: those of the slots of all prompts in order, float32, shape (slots, width).
            size: prompts per batch; None takes the model's.

        Yields:
            The numbers of the prompts, their tokens, and the vectors of their slots.

        Raises:
            DataError: the number of vectors is not that of the slots, or a number is not finite.
        """
        check_process()
        slots = np.array([int((ids == SLOT).sum()) for ids in prompts.ids], np.int64)
        if vectors is not None:
            vectors = np.asarray(vectors, np.float32)
        n_vectors = 0 if vectors is None else len(vectors)
        if slots.sum() != n_vectors:
            raise DataError(f"{n_vectors} vectors for {slots.sum()} slots of the prompts")
        if vectors is not None and not np.isfinite(vectors).all():
            wrong = int(np.argmin(np.isfinite(vectors).reshape(n_vectors, -1).all(axis=1)))
            raise DataError(f"the vector of slot {wrong} has numbers that are not finite")
        of_prompt = np.repeat(np.arange(len(slots)), slots)
        for rows in prompts.sorted_batches(size or self.lm.batch_size):
            given = None
            if vectors is not None:
                places = np.concatenate([np.flatnonzero(of_prompt == row) for row in rows])
                given = torch.from_numpy(vectors[places]).to(self.lm.device)
            yield rows, prompts.batch(rows, self.lm.device), given

    def check_memory(
        self, what: str, prompts: TokenizedTexts, n_following: int, *, cached: bool
    ) -> None:
        """Log the memory of reading prompts with tokens that follow, and check that it is there.

        What is read in one batch takes moments, so only longer work has a plan.

        Args:
            what: the work, for log and message.
            prompts: the prompts.
            n_following: largest number of tokens after a prompt.
            cached: whether keys and values are kept.

        Raises:
            UnsupportedError: the device has less memory.
        """
        rows = self.lm.batch_size
        if len(prompts) > rows:
            tokens = int(prompts.lengths.max()) + n_following
            plan = reading_plan(self.lm, rows=rows, tokens=tokens, logits=rows, cached=cached)
            plan.check(what, self.lm.device, "lower batch_size or max_tokens")

    def _read(self, batch: TokenBatch, vectors: Tensor | None, **options: Any) -> Any:
        """Run the network; padding stands on the right, so positions count from the left."""
        check_process()
        arguments = {"attention_mask": batch.mask.long(), "use_cache": False, **options}
        if vectors is None:
            return self.lm.body(input_ids=batch.ids, **arguments)
        return self.lm.body(inputs_embeds=self.embed(batch.ids, vectors), **arguments)

    def _following(
        self,
        batch: TokenBatch,
        vectors: Tensor | None,
        owners: np.ndarray,
        inputs: Sequence[np.ndarray],
        share: bool,
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Compute the states at the end of the prompt and at each token of an input after it.

        Args:
            batch: prompts.
            vectors: those of their slots.
            owners: the position in the batch of the prompt of each input.
            inputs: token ids that follow the prompt; may be empty.
            share: read each prompt once, if the model has a cache of keys and values.

        Yields:
            Numbers of some inputs, and their states, shape (inputs, 1 + longest of these, width).
        """
        cache, ends = None, torch.empty(0)
        if share:
            read = self._read(batch, vectors, use_cache=True)
            cache, ends = read.past_key_values, _at_last(read.last_hidden_state, batch.mask)
        size = self.lm.batch_size
        if cache is not None:
            size = max(1, _CACHE_AT_ONCE // (_cache_bytes(cache) // len(batch.ids) + 1))
        order = np.argsort([len(ids) for ids in inputs], kind="stable")
        for begin in range(0, len(order), size):
            some = order[begin : begin + size]
            prompt = torch.from_numpy(owners[some]).to(self.lm.device)
            following = [inputs[number] for number in some]
            if cache is None:
                yield some, self._whole(batch, vectors, prompt, following)
            elif all(len(ids) == 0 for ids in following):
                yield some, ends[prompt][:, None]
            else:
                states = self._continued(batch.mask[prompt], cache, prompt, following)
                yield some, torch.cat([ends[prompt][:, None], states], dim=1)

    def _continued(
        self, mask: Tensor, cache: Any, prompt: Tensor, following: list[np.ndarray]
    ) -> Tensor:
        """Read tokens after cached prompts: ``mask`` of the prompt and its number, of each row."""
        ids, given = _padded(following, self.lm.device)
        repeated = copy.deepcopy(cache)
        repeated.batch_select_indices(prompt)
        return self.lm.body(
            input_ids=ids,
            attention_mask=torch.cat([mask, given], dim=1).long(),
            position_ids=mask.sum(1)[:, None] + torch.arange(ids.shape[1], device=ids.device),
            past_key_values=repeated,
            use_cache=True,
        ).last_hidden_state

    def _whole(
        self,
        batch: TokenBatch,
        vectors: Tensor | None,
        prompt: Tensor,
        following: list[np.ndarray],
    ) -> Tensor:
        """Read each row with its prompt: the states from the end of the prompt on."""
        rows = [batch.ids[at][batch.mask[at]].cpu().numpy() for at in prompt.tolist()]
        texts = [np.concatenate(pair) for pair in zip(rows, following, strict=True)]
        given = vectors
        if vectors is not None:
            slots = (batch.ids == SLOT).sum(1).tolist()
            parts = vectors.split(slots)
            given = torch.cat([parts[at] for at in prompt.tolist()])
        ids, mask = _padded(texts, self.lm.device)
        states = self._read(TokenBatch(ids, mask), given).last_hidden_state
        starts = torch.tensor([len(row) - 1 for row in rows], device=states.device)
        steps = torch.arange(1 + max(map(len, following)), device=states.device)
        places = (starts[:, None] + steps).clamp(max=states.shape[1] - 1)
        return states[torch.arange(len(states), device=states.device)[:, None], places]

    def _summed(self, states: Tensor, tokens: list[np.ndarray]) -> np.ndarray:
        """Sum log p of the tokens of each row, which follow its states: float32, shape (rows,)."""
        targets, mask = _padded(tokens, self.lm.device)
        rows, _ = mask.nonzero(as_tuple=True)
        values = self.token_log_likelihoods(states[mask], targets[mask])
        sums = values.new_zeros(len(mask)).index_add_(0, rows, values)
        return sums.cpu().numpy()

    def token_log_likelihoods(self, states: Tensor, targets: Tensor) -> Tensor:
        """Compute log p of one token after each state.

        Args:
            states: shape (positions, width).
            targets: int64, shape (positions,).

        Returns:
            float32, shape (positions,).
        """
        size = max(1, LOGITS_AT_ONCE // self.n_tokens)
        found = [
            -functional.cross_entropy(self.logits(part), wanted, reduction="none")
            for part, wanted in zip(states.split(size), targets.split(size), strict=True)
        ]
        return torch.cat(found)


class CausalReference:
    """The causal LM of an artefact, loaded on first use.

    Args:
        spec: portable reference to the language model.
        model: the loaded model; None loads it by ``spec`` on first use.
    """

    def __init__(self, spec: Mapping[str, Any], model: Causal | None = None) -> None:
        self._spec, self._model = spec, model

    @property
    def lm(self) -> LanguageModel:
        """The language model.

        Raises:
            ArtefactError: the model came from a local folder and was not passed as ``lm``.
        """
        if self._model is None:
            self._model = CausalLM.from_spec(self._spec)
        return self._model.lm


def check_tokens(what: str, ids: Sequence[int], model: CausalLM) -> None:
    """Check that ids, at least one, are tokens of a model's vocabulary.

    Raises:
        DataError: one is not; names it.
    """
    for token in (min(ids), max(ids)):
        if not 0 <= token < model.n_tokens:
            raise DataError(f"{what}: got token {token}; allowed: 0 to {model.n_tokens - 1}")


def load_causal_lm(config: LMConfig | None = None) -> CausalLM:
    """Load the causal LM of ``config`` (default: SmolLM2-135M-Instruct).

    Raises:
        ConfigError: see ``load_language_model``, or the model has no vocabulary head.
    """
    return CausalLM(load_language_model(config or CausalLMConfig()))


def _at_last(states: Tensor, mask: Tensor) -> Tensor:
    return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]


def _padded(tokens: list[np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad token ids on the right: int64 and bool, shape (rows, longest); 0 and False on padding."""
    batch = TokenizedTexts(tuple(tokens), 0, 0).batch(np.arange(len(tokens)), device)
    return batch.ids, batch.mask


def _cache_bytes(cache: Any) -> int:
    return sum(
        tensor.numel() * tensor.element_size()
        for layer in cache.layers
        for tensor in (layer.keys, layer.values)
    )

"""The prompted LM of A-LLMRec in use: histories to vectors, titles to likelihoods.

Three tables hold what is known of the items: the vectors at their slots, the states of the LM after
their texts, and their titles. A new item is a new row of each, computed from its text in one pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from warmstart.backbones.next_item import NextItemModel
from warmstart.collaborative_lm.items import AlignedItems
from warmstart.collaborative_lm.network import PromptNetwork
from warmstart.collaborative_lm.prompts import Prompts, PromptWriter, neutral_order
from warmstart.data.histories import Histories
from warmstart.lm.causal import CausalLM
from warmstart.lm.generate import generate_lists
from warmstart.lm.memory import reading_plan
from warmstart.lm.texts import TokenizedTexts, token_ids
from warmstart.lm.trie import Trie

_AT_ONCE = 256  # queries whose titles are asked for together


@dataclass(frozen=True)
class PromptHistories:
    """Histories as a prompt tells them: the newest events that the model knows.

    Attributes:
        histories: items, at most ``history_length`` of them each.
        states: the backbone's state after each event, float32, shape (events, state width); NaN
            where it has none.
    """

    histories: Histories
    states: np.ndarray

    @property
    def newest_states(self) -> np.ndarray:
        """The state after the newest event of each history, none empty: (histories, width)."""
        return self.states[self.histories.offsets[1:] - 1]

    def take(self, rows: np.ndarray) -> "PromptHistories":
        """Select histories by position."""
        taken = self.histories.numbered.take(rows)
        return PromptHistories(taken, self.states[taken.numbers])


def prompt_histories(
    backbone: NextItemModel, items: AlignedItems, histories: Histories, length: int
) -> PromptHistories:
    """Tell the newest ``length`` events of each history whose items are known.

    New items count in the backbone's states too, by their decoded vectors.
    """
    states = backbone.encode_events(histories, items.readable)
    kept = histories.numbered.where(items.known[histories.items]).last(length)
    return PromptHistories(kept, states[kept.numbers])


class PromptModel:
    """A causal LM with projectors, heads and the tables of the items.

    Args:
        causal: the LM, with its adapter if it has one.
        network: projectors and heads.
        writer: writes prompts; it has the titles.
        vectors: what the slots of the items read, float32, shape (items, item width).
        text_states: states of the LM after their texts, float32, shape (items, LM width).
        state_scale: divides the backbone's states.
    """

    def __init__(
        self,
        causal: CausalLM,
        network: PromptNetwork,
        writer: PromptWriter,
        vectors: np.ndarray,
        text_states: np.ndarray,
        state_scale: float,
    ) -> None:
        self.causal, self.network, self.writer = causal, network.to(causal.lm.device), writer
        self.vectors, self.text_states = vectors, text_states
        self.state_scale, self._longest = state_scale, 0

    def extended(
        self, titles: Sequence[str], vectors: np.ndarray, text_states: np.ndarray
    ) -> "PromptModel":
        """Return a model that knows new items too, with tables that have them at the end."""
        writer = self.writer.extended(titles)
        return PromptModel(
            self.causal, self.network, writer, vectors, text_states, self.state_scale
        )

    @property
    def device(self) -> torch.device:
        """Device of the LM."""
        return self.causal.lm.device

    def slot_vectors(
        self, prompts: Prompts, rows: np.ndarray, states: np.ndarray, vectors: Tensor | None = None
    ) -> Tensor:
        """Project what stands in the slots of some prompts: shape (slots, LM width).

        Args:
            prompts: the prompts.
            rows: which of them, in the order of the batch.
            states: states of the backbone by event of the prompts.
            vectors: vectors of the items instead of those of the table, shape (items, item width).
        """
        items, events = prompts.slots_of(rows)
        is_item = items >= 0
        found = torch.empty(len(items), self.network.output.shape[0], device=self.device)
        at_user = torch.from_numpy(~is_item).to(self.device)
        read = None
        if self.writer.config.user_token:
            read = torch.from_numpy(np.nan_to_num(states[events]) / self.state_scale)
            read = read.float().to(self.device)
        found[at_user] = self.network.user_slots(read, len(events))
        if is_item.any():
            if vectors is None:
                given = torch.from_numpy(self.vectors[items[is_item]]).to(self.device)
            else:
                given = vectors[torch.from_numpy(items[is_item]).to(self.device)]
            found[~at_user] = self.network.item_slots(given)
        return found

    # -- inner products --

    @torch.no_grad()
    def user_rows(self, told: PromptHistories) -> np.ndarray:
        """Compute h of histories, none empty: float32, shape (histories, head width)."""
        self.network.eval()
        found = np.zeros((len(told.histories), self.network.user_head.out_features), np.float32)
        prompts = self.writer.write(told.histories)
        self.check_memory("reading histories", prompts.texts)
        for rows in prompts.texts.sorted_batches(self.causal.lm.batch_size):
            batch = prompts.texts.batch(rows, self.device)
            slots = self.slot_vectors(prompts, rows, told.states)
            states = self.causal.last_states(batch, slots)
            found[rows] = self.network.users(states).cpu().numpy()
        return found

    def item_rows(self, vectors: np.ndarray, text_states: np.ndarray) -> np.ndarray:
        """Compute g of items: float32, shape (items, head width)."""
        self.network.eval()
        return self.network.item_rows(text_states, vectors)

    # -- titles --

    def likelihoods(
        self, told: PromptHistories, candidates: np.ndarray, *, in_neutral_order: bool = True
    ) -> np.ndarray:
        """Compute the mean log-likelihood of a token of the title of each candidate.

        The question lists the candidates in an order that does not depend on theirs, and is read
        once for all of them.

        Args:
            told: histories, none empty.
            candidates: item rows, shape (histories, c).
            in_neutral_order: False lists the candidates as they stand, to measure what their places
                do.

        Returns:
            float32, shape (histories, c).
        """
        found = np.empty(candidates.shape, np.float32)
        for rows in _blocks(len(candidates)):
            asked = candidates[rows]
            prompts, slots = self._questions(told.take(rows), asked, in_neutral_order)
            answers = [[self.writer.answer_of(item) for item in row] for row in asked.tolist()]
            sums = self.causal.log_likelihoods(prompts.texts, answers, vectors=slots)
            found[rows] = np.stack(sums) / [[len(answer) for answer in row] for row in answers]
        return found

    def text_likelihoods(
        self, told: PromptHistories, question: str, answers: Sequence[str]
    ) -> np.ndarray:
        """Compute the mean log-likelihood of a token of each answer to a question about a user.

        Args:
            told: histories, none empty.
            question: words after the history, such as "This customer likes most:".
            answers: the texts to choose from.

        Returns:
            float32, shape (histories, answers).
        """
        self.network.eval()
        words = [" " + text for text in answers]
        tokens = token_ids(self.causal.lm, words, special=False, plain=True)
        tokens = [[*ids, self.writer.end] for ids in tokens]
        lengths = np.array([len(ids) for ids in tokens], np.float32)
        found = np.empty((len(told.histories), len(tokens)), np.float32)
        for rows in _blocks(len(found)):
            some = told.take(rows)
            prompts = self.writer.write(some.histories, ending=question)
            slots = self._all_slots(prompts, some)
            sums = self.causal.log_likelihoods(prompts.texts, [tokens] * len(rows), vectors=slots)
            found[rows] = np.stack(sums) / lengths
        return found

    def generated(self, told: PromptHistories, candidates: np.ndarray) -> np.ndarray:
        """Let the LM write the title of one candidate for each history, and nothing else.

        Args:
            told: histories, none empty.
            candidates: item rows, shape (histories, c): the question.

        Returns:
            Positions among the candidates, int64, shape (histories,).
        """
        found = np.empty(len(candidates), np.int64)
        for rows in _blocks(len(candidates)):
            found[rows] = self._written(told.take(rows), candidates[rows])
        return found

    def _written(self, told: PromptHistories, candidates: np.ndarray) -> np.ndarray:
        """As ``generated``, in one go."""
        prompts, slots = self._questions(told, candidates, True)
        items = np.unique(candidates)
        trie = Trie([self.writer.titles[item] for item in items.tolist()])
        places = np.searchsorted(items, candidates)

        def allowed(prompt: int, listed: np.ndarray) -> np.ndarray:
            mask = np.zeros(len(items), bool)
            mask[places[prompt]] = True
            return mask

        separator = self.writer.separator(trie)
        written = generate_lists(
            self.causal, prompts.texts, trie, length=1, separator=separator, allowed=allowed,
            vectors=slots,
        )  # fmt: skip
        return np.argmax(places == written, axis=1)

    def _questions(
        self, told: PromptHistories, candidates: np.ndarray, in_neutral_order: bool
    ) -> tuple[Prompts, np.ndarray]:
        """The prompts with candidates, and the vectors of all their slots."""
        self.network.eval()
        asked = candidates
        if in_neutral_order:
            asked = np.take_along_axis(candidates, neutral_order(candidates), axis=1)
        prompts = self.writer.write(told.histories, list(asked))
        return prompts, self._all_slots(prompts, told)

    @torch.no_grad()
    def _all_slots(self, prompts: Prompts, told: PromptHistories) -> np.ndarray:
        """The vectors of the slots of all prompts, float32, shape (slots, LM width)."""
        return self.slot_vectors(prompts, np.arange(len(prompts)), told.states).cpu().numpy()

    def check_memory(self, what: str, texts: TokenizedTexts) -> None:
        """Log the memory of reading prompts, if they are longer than before, and check it.

        Raises:
            UnsupportedError: the device has less memory.
        """
        lm, longest = self.causal.lm, int(texts.lengths.max(initial=0))
        if len(texts) > lm.batch_size and longest > self._longest:
            self._longest = longest
            plan = reading_plan(lm, rows=lm.batch_size, tokens=longest)
            plan.check(what, lm.device, "lower batch_size of the LM, or history_length")


def _blocks(n: int) -> Iterator[np.ndarray]:
    """Rows of n queries in blocks, whose prompts and slots are in memory together."""
    return (np.arange(start, min(start + _AT_ONCE, n)) for start in range(0, n, _AT_ONCE))


def with_answers(texts: TokenizedTexts, answers: Sequence[Sequence[int]]) -> TokenizedTexts:
    """Append an answer to each prompt."""
    rows = [
        np.concatenate([ids, np.asarray(answer, np.int32)])
        for ids, answer in zip(texts.ids, answers, strict=True)
    ]
    return TokenizedTexts(tuple(rows), texts.pad_id, texts.n_cut)

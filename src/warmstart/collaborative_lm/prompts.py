"""The prompts of stage 2 of A-LLMRec: a history in words and vectors, candidates, an answer.

    introduction
    title of the oldest item [item] [user]
    ...
    title of the newest item [item] [user]
    question, title of a candidate [item], title of the next candidate [item], ...
    start of the answer: title of the next item, end token

[item] is the slot of the joint vector of the item before it. [user] is the slot of the state of the
backbone after the history so far; the LM's state there stands for the user (``network``). A causal
LM reads from left to right, so a prompt holds one question for each event, none of which sees its
answer. The paper has one user slot, before the history; it would tell all events what came last.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from warmstart.collaborative_lm.items import ItemToken
from warmstart.config import Config
from warmstart.data.histories import Histories
from warmstart.errors import ConfigError
from warmstart.lm.load import LanguageModel
from warmstart.lm.prompts import SLOT, opening_ids
from warmstart.lm.texts import TokenizedTexts, token_ids
from warmstart.lm.trie import Trie

_USER = -1  # instead of an item, at the slot of a user
_HASH = np.uint64(0x9E3779B97F4A7C15)  # odd, so that different items have different products


class PromptConfig(Config):
    """Words and vectors of the prompts.

    Attributes:
        history_length: newest items of a history that a prompt tells.
        title_tokens: a title is cut to this number of tokens.
        introduction: first words of a prompt.
        question: words before the candidates.
        answer: words before the title that the LM writes.
        user_token: whether the state of the backbone is read at the slots of users.
        item_token: what is read after titles: "joint" vectors of stage 1, the vectors of the
            "backbone" ("MLP-LLM" of the paper), or "random" vectors that are fixed; or no token is
            there ("absent").
    """

    history_length: int = Field(default=10, ge=1)
    title_tokens: int = Field(default=24, ge=1)
    introduction: str = "A customer chose these items, the oldest first."
    question: str = "The next item is one of these:"
    answer: str = "The next item is:"
    user_token: bool = True
    item_token: ItemToken = "joint"


@dataclass(frozen=True)
class Prompts:
    """Prompts with slots.

    Attributes:
        texts: their token ids, ``SLOT`` at slots.
        slots: of each prompt the item of each slot, int64, shape (slots,); -1 at slots of users.
        events: of each prompt the event of each slot of a user, int64, shape (slots of users,).
        users: of each prompt the places of the slots of users, int64, shape (slots of users,).
    """

    texts: TokenizedTexts
    slots: tuple[np.ndarray, ...]
    events: tuple[np.ndarray, ...]
    users: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def slots_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Items of the slots of some prompts, -1 at users, and events of the slots of users."""
        return (
            np.concatenate([np.zeros(0, np.int64), *(self.slots[row] for row in rows)]),
            np.concatenate([np.zeros(0, np.int64), *(self.events[row] for row in rows)]),
        )


class PromptWriter:
    """Writes prompts from tokens of titles, which are computed once for each item.

    Args:
        lm: the language model.
        titles: the title of each item.
        config: words and vectors.
    """

    def __init__(self, lm: LanguageModel, titles: Sequence[str], config: PromptConfig) -> None:
        self.lm, self.config = lm, config
        words = (config.introduction, "\n", "\n" + config.question, "\n" + config.answer)
        self._opening = [*opening_ids(lm), *self._tokens([words[0]])[0]]
        _, self._line, self._question, self._answer = self._tokens(words)
        self._unnamed = self._tokens(["item"])[0] or [lm.pad_id]
        self.titles = self._titles(titles)

    def check_length(self, n_candidates: int) -> None:
        """Check that the longest prompt fits into the LM.

        Args:
            n_candidates: items of a question, whose answer is read too; 0 without questions.

        Raises:
            ConfigError: it does not.
        """
        config = self.config
        slots = 1 + (config.item_token != "absent")
        longest = len(self._opening)
        longest += config.history_length * (len(self._line) + config.title_tokens + slots)
        parts = f"{config.history_length} items of a history"
        if n_candidates:
            per_item = len(self._line) + config.title_tokens + slots - 1
            longest += len(self._question) + n_candidates * per_item
            longest += len(self._answer) + config.title_tokens + 1
            parts += f" and {n_candidates} candidates"
        if longest > self.lm.spec.max_tokens:
            raise ConfigError(
                f"prompts: {parts} with titles of {config.title_tokens} tokens may take {longest} "
                f"tokens; the LM reads at most {self.lm.spec.max_tokens} (max_tokens); lower "
                f"{'n_candidates, ' if n_candidates else ''}history_length or title_tokens"
            )

    def extended(self, titles: Sequence[str]) -> "PromptWriter":
        """Return a writer that knows these items too, after those it has."""
        new = copy(self)
        new.titles = self.titles + self._titles(titles)
        return new

    def _titles(self, titles: Sequence[str]) -> list[list[int]]:
        words = [" " + title.strip() if title.strip() else "" for title in titles]
        found = token_ids(self.lm, words, special=False, plain=True)
        return [(ids or self._unnamed)[: self.config.title_tokens] for ids in found]

    def write(
        self,
        histories: Histories,
        candidates: Sequence[np.ndarray] | None = None,
        *,
        ending: str | None = None,
    ) -> Prompts:
        """Write the prompt of each history.

        Args:
            histories: no longer than ``history_length``; none is empty.
            candidates: the items of the question, in their order; None ends a prompt at the slot
                of its last user.
            ending: words of another question, in place of candidates.
        """
        rows, slots, events, users = [], [], [], []
        last_words = [] if ending is None else self._tokens(["\n" + ending])[0]
        for query in range(len(histories)):
            ids, items, places = list(self._opening), [], []
            for item in histories[query].tolist():
                ids += [*self._line, *self.titles[item]]
                self._add_item(ids, items, item)
                places.append(len(ids))
                items.append(_USER)
                ids.append(SLOT)
            if candidates is not None:
                ids += self._question
                for item in candidates[query].tolist():
                    ids += [*self._line, *self.titles[item]]
                    self._add_item(ids, items, item)
                ids += self._answer
            ids += last_words
            rows.append(np.asarray(ids, np.int32))
            slots.append(np.asarray(items, np.int64))
            users.append(np.asarray(places, np.int64))
            start, end = histories.offsets[query : query + 2]
            events.append(np.arange(start, end))
        texts = TokenizedTexts(tuple(rows), self.lm.pad_id, 0)
        return Prompts(texts, tuple(slots), tuple(events), tuple(users))

    def answer_of(self, item: int) -> list[int]:
        """Tokens of the title of an item and the end token."""
        return [*self.titles[item], self.end]

    @property
    def end(self) -> int:
        """The end token, or padding for an LM without one."""
        end = self.lm.tokenizer.eos_token_id
        return end if isinstance(end, int) else self.lm.pad_id

    def separator(self, trie: Trie) -> int:
        """A token that no title has and that is not the end: what would stand between two."""
        return next(
            token
            for token in range(len(self.titles) + trie.largest_token + 2)
            if token != self.end and not trie.contains(token)
        )

    def _add_item(self, ids: list[int], items: list[int], item: int) -> None:
        if self.config.item_token != "absent":
            ids.append(SLOT)
            items.append(item)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return token_ids(self.lm, list(texts), special=False)


def neutral_order(items: np.ndarray) -> np.ndarray:
    """Sort candidates by a number that depends on the item alone and looks random.

    So a question reads the same however its candidates are given, and their places tell nothing.

    Args:
        items: row numbers, shape (queries, candidates).

    Returns:
        Positions along the last axis, int64, of the same shape.
    """
    mixed = items.astype(np.uint64) * _HASH
    return np.argsort(mixed ^ (mixed >> np.uint64(29)), axis=-1, kind="stable")

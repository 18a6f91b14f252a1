"""Write texts with a causal LM: greedy or sampled, freely or as lists of catalogue titles.

transformers writes; the lists are a rule about which tokens may come next.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from warmstart.arguments import whole_number
from warmstart.config import Config
from warmstart.errors import DataError
from warmstart.lm.causal import CausalLM, check_tokens
from warmstart.lm.texts import TokenBatch, TokenizedTexts
from warmstart.lm.trie import Trie
from warmstart.train.seed import torch_seed

Allowed: TypeAlias = Callable[[int, np.ndarray], np.ndarray]
"""(prompt, items that its list has so far) -> the items that may be next, bool, shape (n_items,).

The items so far are int64, -1 for a text that means none; so their number is the place in the list.
"""

Openings: TypeAlias = Sequence[Sequence[Sequence[int]]]
"""[prompt][place] -> the tokens before the title there, after the separator; may be empty."""


class SamplingConfig(Config):
    """How tokens are drawn.

    Attributes:
        temperature: divides the logits; below 1 likely tokens become likelier.
        top_p: the likeliest tokens that together have this probability are drawn from.
    """

    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)


def generate(
    model: CausalLM,
    prompts: TokenizedTexts,
    *,
    max_new_tokens: int,
    stop: int | None = None,
    sampling: SamplingConfig | None = None,
    rng: np.random.Generator | None = None,
    vectors: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Continue each prompt until the model's end token.

    Args:
        model: the language model.
        prompts: the prompts.
        max_new_tokens: a text that has not ended then is cut.
        stop: a token that ends a text too, such as a line break; None: only the end token does.
        sampling: how tokens are drawn; None always takes the likeliest.
        rng: the only source of randomness, for ``sampling``.
        vectors: those of the slots of all prompts in order, float32, shape (slots, width).

    Returns:
        For each prompt the new token ids without the token that ended them, int64.

    Raises:
        ConfigError: ``max_new_tokens`` is no whole number from 1.
        DataError: ``sampling`` without ``rng``.
    """
    whole_number("generate", "max_new_tokens", max_new_tokens, low=1)
    if sampling is not None and rng is None:
        raise DataError("generate: sampling needs rng")
    ends = [end_token(model)]
    if stop is not None:
        check_tokens("generate: stop", [stop], model)
        ends.append(stop)
    model.check_memory("writing", prompts, max_new_tokens, cached=True)
    found: list[np.ndarray] = [np.zeros(0, np.int64)] * len(prompts)
    for rows, batch, given in model.batches(prompts, vectors):
        new = _continue(model, batch, given, max_new_tokens, ends, sampling, rng, None)
        for row, ids in zip(rows, new, strict=True):
            found[row] = ids
    return found


def generate_lists(
    model: CausalLM,
    prompts: TokenizedTexts,
    trie: Trie,
    *,
    length: int,
    separator: int,
    openings: Openings | None = None,
    allowed: Allowed | None = None,
    distinct: bool = True,
    sampling: SamplingConfig | None = None,
    rng: np.random.Generator | None = None,
    vectors: np.ndarray | None = None,
) -> np.ndarray:
    """Let the model write a list of titles of the catalogue after each prompt.

    Args:
        model: the language model.
        prompts: the prompts, which end where the first title begins.
        trie: the titles of the catalogue.
        length: number of titles of a list.
        separator: the token between two titles; no title contains it.
        openings: what stands before each title of each list, such as its genre; None: nothing.
        allowed: which items may be next in a list, such as those of a genre that the user has not
            seen; None allows all.
        distinct: an item stands in a list once.
        sampling: how tokens are drawn; None always takes the likeliest.
        rng: the only source of randomness, for ``sampling``.
        vectors: those of the slots of all prompts in order, float32, shape (slots, width).

    Returns:
        Items, int64, shape (prompts, length); -1 from the place on for which no item was left. Of
        several items with the same title the first allowed one is taken.

    Raises:
        ConfigError: ``length`` is no whole number from 1.
        DataError: ``sampling`` without ``rng``; a title contains the separator or the end token, or
            these are the same; a token is not in the vocabulary; there is not one opening for each
            place of each prompt; or ``allowed`` returns no mask of the items.
    """
    whole_number("generate_lists", "length", length, low=1)
    if sampling is not None and rng is None:
        raise DataError("generate_lists: sampling needs rng")
    end = end_token(model)
    check_tokens("generate_lists: separator", [separator], model)
    check_tokens("generate_lists: titles", [trie.largest_token], model)
    if separator == end:
        raise DataError(f"generate_lists: the separator, token {separator}, is the end token")
    for name, token in {"separator": separator, "end": end}.items():
        if trie.contains(token):
            raise DataError(f"generate_lists: a title contains the {name} token {token}")
    found = np.full((len(prompts), length), -1, np.int64)
    longest = 0
    if openings is not None:
        longest = _check_openings(openings, len(prompts), length, model)
    limit = length * (trie.longest + longest + 1)
    model.check_memory("writing lists", prompts, limit, cached=True)
    rule = _ListRule(trie, length, separator, end, openings, allowed, distinct)
    for rows, batch, given in model.batches(prompts, vectors):
        lists = _TitleLists(rule, rows)
        _continue(model, batch, given, limit, [end], sampling, rng, lists)
        found[rows] = lists.finished()
    return found


@dataclass(frozen=True)
class _ListRule:
    """What the lists of all prompts have in common; attributes as arguments of generate_lists."""

    trie: Trie
    length: int
    separator: int
    end: int
    openings: Openings | None
    allowed: Allowed | None
    distinct: bool

    def opening(self, prompt: int, place: int) -> list[int]:
        """The tokens before the title at a place, without the separator."""
        return [] if self.openings is None else list(self.openings[prompt][place])

    def running(self, prompt: int, listed: np.ndarray) -> np.ndarray:
        """Running sums of the items that may be next in a list that has these items so far."""
        n_items = len(self.trie.order)
        if len(listed) == self.length:
            return np.zeros(n_items + 1, np.int64)
        mask = np.ones(n_items, bool)
        if self.allowed is not None:
            mask = allowed_mask(self.allowed, prompt, listed, n_items)
        if self.distinct:
            mask[listed] = False
        return self.trie.running(mask)


class _TitleLists:
    """Which tokens may come next in the lists of a batch; transformers calls it at each step."""

    def __init__(self, rule: _ListRule, prompts: np.ndarray) -> None:
        self.rule, self.prompts = rule, prompts.tolist()
        self.items = np.full((len(prompts), rule.length), -1, np.int64)
        self.nodes = [rule.trie.root] * len(prompts)
        self.places = np.zeros(len(prompts), np.int64)
        self.openings = [rule.opening(prompt, 0) for prompt in self.prompts]
        none = np.zeros(0, np.int64)
        self.running = [rule.running(prompt, none) for prompt in self.prompts]

    def __call__(self, written: Tensor, scores: Tensor) -> Tensor:
        """Set the scores of the tokens that must not come next to minus infinity.

        Args:
            written: the tokens so far, shape (batch, tokens).
            scores: the scores of the next one, shape (batch, vocabulary).
        """
        if written.shape[1]:
            for row, token in enumerate(written[:, -1].tolist()):
                self._advance(row, token)
        allowed = torch.full_like(scores, -torch.inf)
        for row in range(len(scores)):
            tokens = torch.from_numpy(self._next(row)).to(scores.device)
            allowed[row, tokens] = scores[row, tokens]
        return allowed

    def finished(self) -> np.ndarray:
        """Return the items; the last token of a list, after which nothing is asked, ends it."""
        for row in range(len(self.items)):
            self._advance(row, self.rule.end)
        return self.items

    def _next(self, row: int) -> np.ndarray:
        """The tokens that may come next: of titles, or the one that ends a title or the list."""
        if self.running[row][-1] == 0:
            return np.array([self.rule.end])
        if self.openings[row]:
            return np.array(self.openings[row][:1])
        tokens, ended = self.rule.trie.next_tokens(self.nodes[row], self.running[row])
        if len(ended) == 0:
            return tokens
        last = self.places[row] + 1 == self.rule.length
        return np.append(tokens, self.rule.end if last else self.rule.separator)

    def _advance(self, row: int, token: int) -> None:
        rule = self.rule
        if self.running[row][-1] == 0:
            return
        if self.openings[row]:
            del self.openings[row][0]
            return
        if token not in (rule.end, rule.separator):
            self.nodes[row] = rule.trie.child(self.nodes[row], token)
            return
        _, ended = rule.trie.next_tokens(self.nodes[row], self.running[row])
        self.items[row, self.places[row]] = ended[0]
        self.places[row] += 1
        listed = self.items[row, : self.places[row]]
        self.nodes[row], self.running[row] = (
            rule.trie.root,
            rule.running(self.prompts[row], listed),
        )
        if self.places[row] < rule.length:
            self.openings[row] = rule.opening(self.prompts[row], int(self.places[row]))


def _check_openings(openings: Openings, n_prompts: int, length: int, model: CausalLM) -> int:
    """Return the number of tokens of the longest opening.

    Raises:
        DataError: there is not one for each place of each prompt, or a token is not known.
    """
    if len(openings) != n_prompts or any(len(of_list) != length for of_list in openings):
        raise DataError(
            f"generate_lists: openings for {len(openings)} prompts, with "
            f"{sorted({len(of_list) for of_list in openings})} places; allowed: one for each of "
            f"{length} places of {n_prompts} prompts"
        )
    tokens = [token for of_list in openings for opening in of_list for token in opening]
    if tokens:
        check_tokens("generate_lists: openings", tokens, model)
    return max((len(opening) for of_list in openings for opening in of_list), default=0)


def allowed_mask(allowed: Allowed, prompt: int, listed: np.ndarray, n_items: int) -> np.ndarray:
    """Ask which items may be next in a list: a new bool array, shape (n_items,).

    Raises:
        DataError: the answer is no such mask.
    """
    mask = np.array(allowed(prompt, listed))
    if mask.shape != (n_items,) or mask.dtype != bool:
        raise DataError(
            f"allowed({prompt}, {listed.tolist()}) returned {mask.dtype} of shape {mask.shape}; "
            f"allowed: bool of shape ({n_items},)"
        )
    return mask


def _continue(
    model: CausalLM,
    batch: TokenBatch,
    vectors: Tensor | None,
    limit: int,
    ends: list[int],
    sampling: SamplingConfig | None,
    rng: np.random.Generator | None,
    rule: _TitleLists | None,
) -> Sequence[np.ndarray]:
    """Continue a batch of prompts; the new tokens of each row before the first of ``ends``."""
    import transformers

    network = model.lm.with_head
    embedded, mask = _left_padded(model.embed(batch.ids, vectors), batch.mask)
    drawn: dict[str, Any] = {"do_sample": False}
    if sampling is not None:
        drawn = {"do_sample": True, "top_k": 0, **sampling.model_dump()}
    settings = transformers.GenerationConfig(
        max_new_tokens=limit, eos_token_id=ends, pad_token_id=ends[0], **drawn
    )
    rules = transformers.LogitsProcessorList([] if rule is None else [rule])  # pyright: ignore
    seed = np.random.default_rng(0) if rng is None else rng
    with torch_seed(seed), torch.inference_mode():
        new = network.generate(  # pyright: ignore[reportCallIssue]
            inputs_embeds=embedded,
            attention_mask=mask.long(),
            generation_config=settings,
            logits_processor=rules,
        )
    rows = new.cpu().numpy()
    ended = np.isin(rows, ends)
    return [
        row[: np.argmax(end)] if end.any() else row for row, end in zip(rows, ended, strict=True)
    ]


def _left_padded(embedded: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Move the padding of each row to the left."""
    length = mask.shape[1]
    places = torch.arange(length, device=mask.device)[None] - (length - mask.sum(1))[:, None]
    rows = torch.arange(len(mask), device=mask.device)[:, None]
    return embedded[rows, places % length], places >= 0


def end_token(model: CausalLM) -> int:
    """Return the token that ends a text.

    Raises:
        DataError: the LM has none, so it cannot write texts.
    """
    end = model.lm.tokenizer.eos_token_id
    if not isinstance(end, int):
        raise DataError(f"LM {model.lm.spec.source!r} has no end token, so it cannot write texts")
    return end

"""The titles of a catalogue that a causal LM finds likeliest after a prompt: beam search in a trie.

    log p(title | prompt) = sum of log p of its tokens, and of the end after them

The end decides between titles of which one is the beginning of another. The search goes through the
trie of titles level by level and keeps the best beginnings of each level. A beginning can only lose
by more tokens, so it is given up once k titles are better than it. A wide search is preceded by a
narrow one, which says at once what is good enough.

The list is exact if no beginning was given up for lack of room, for example with a beam as wide as
the catalogue. A narrow beam misses titles that begin with a rare word and go on as expected.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from warmstart.arguments import whole_number
from warmstart.data.histories import Histories
from warmstart.errors import DataError
from warmstart.lm.causal import LOGITS_AT_ONCE, CausalLM, Progress, check_tokens
from warmstart.lm.texts import TokenizedTexts
from warmstart.lm.token_tree import TokenTree
from warmstart.lm.trie import Node, Trie

_WIDE = 4  # times the narrow beam: a search from there on is preceded by a narrow one
_MARGIN = 0.01  # log p that rounding may change between two searches


@dataclass(frozen=True)
class BestTitles:
    """The likeliest titles after some prompts.

    Attributes:
        items: items, best first, int64, shape (prompts, k); -1 where no item was left. Items with
            equal titles have equal scores and stand in the order of their rows.
        scores: log p of the title and the end, or its mean per token, float32, shape (prompts, k);
            -inf where no item was left.
    """

    items: np.ndarray
    scores: np.ndarray


@torch.inference_mode()
def best_titles(
    model: CausalLM,
    prompts: TokenizedTexts,
    trie: Trie,
    *,
    k: int,
    end: int,
    beam: int,
    per_token: bool = False,
    left_out: Histories | None = None,
    progress: Progress | None = None,
) -> BestTitles:
    """Find the k titles with the highest log-likelihood after each prompt.

    Args:
        model: the language model.
        prompts: the prompts, without slots, which end where a title begins.
        trie: the titles of the catalogue.
        k: length of a list.
        end: the token after a title, such as a line break; no title contains it.
        beam: beginnings of titles that are kept at each number of tokens.
        per_token: divide the log-likelihood by the number of tokens, so that long titles are not
            at a disadvantage.
        left_out: items of each prompt that are not listed; None lists all.
        progress: called with the prompts done and the prompts in total.

    Raises:
        ConfigError: ``k`` or ``beam`` is no whole number from 1.
        DataError: a title contains the end, a token is not in the vocabulary, a prompt and a title
            together exceed the model's ``max_tokens``, or there is not one history for each prompt.
        UnsupportedError: the model keeps no keys and values, or its device has too little memory.
    """
    whole_number("best_titles", "k", k, low=1)
    whole_number("best_titles", "beam", beam, low=1)
    _check(model, prompts, trie, end, left_out)
    n_read = min(beam, len(trie.order)) * trie.longest
    model.check_memory("lists of titles", prompts, n_read, cached=True)
    items = np.full((len(prompts), k), -1, np.int64)
    scores = np.full((len(prompts), k), -np.inf, np.float32)
    done = 0
    for rows, batch, _ in model.batches(prompts, None):
        running = [_allowed(trie, left_out, row) for row in rows.tolist()]
        options = trie, k, end, per_token
        tree, needed = TokenTree(model, batch), [-np.inf] * len(rows)
        if beam > _WIDE * k:
            pilots = [_Search(*options, own, k, -np.inf) for own in running]
            _run(model, tree, pilots)
            needed = [pilot.needed for pilot in pilots]
            tree.restart()
        searches = [
            _Search(*options, own, beam, least) for own, least in zip(running, needed, strict=True)
        ]
        _run(model, tree, searches)
        for row, search in zip(rows.tolist(), searches, strict=True):
            for place, (score, item) in enumerate(search.found):
                items[row, place], scores[row, place] = item, score
        done += len(rows)
        if progress is not None:
            progress(done, len(prompts))
    return BestTitles(items, scores)


def _run(model: CausalLM, tree: TokenTree, searches: Sequence["_Search"]) -> None:
    """Run the searches of a batch to their end."""
    while any(search.nodes for search in searches):
        logs = _log_probabilities(model, tree.states, [s.next_tokens() for s in searches])
        grown = [search.advance(own) for search, own in zip(searches, logs, strict=True)]
        if any(search.nodes for search in searches):
            tree.grow(*_padded(grown, tree.states.device))


class _Search:
    """The search of one prompt.

    Args:
        trie, k, end, per_token: as of ``best_titles``.
        running: of the items that may be listed, from ``Trie.running``.
        beam: beginnings that are kept.
        least: a lower score is not needed.

    Attributes:
        nodes: the beginnings of titles that are followed, all of one depth.
        found: score and item of the best titles, best first; at most k.
    """

    def __init__(
        self,
        trie: Trie,
        k: int,
        end: int,
        per_token: bool,
        running: np.ndarray,
        beam: int,
        least: float,
    ) -> None:
        self._trie, self._k, self._end, self._per_token = trie, k, end, per_token
        self._running, self._beam, self._least = running, beam, least
        self.nodes: list[Node] = [trie.root] if running[-1] else []
        self.found: list[tuple[float, int]] = []
        self._scores = np.zeros(len(self.nodes))
        self._next: list[tuple[np.ndarray, np.ndarray]] = []

    def next_tokens(self) -> list[np.ndarray]:
        """For each node the tokens that may follow, and the end as the last one."""
        self._next = [self._trie.next_tokens(node, self._running) for node in self.nodes]
        return [np.append(tokens, self._end) for tokens, _ in self._next]

    def advance(self, logs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Go on by one token.

        Args:
            logs: log p of each of the ``next_tokens``.

        Returns:
            Of each new node the position of the node before it, and its token, int64.
        """
        if not self.nodes:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        length = self.nodes[0].depth + 1 if self._per_token else 1
        for score, (_, ended), log in zip(self._scores, self._next, logs, strict=True):
            self.found += [((score + log[-1]) / length, item) for item in ended.tolist()]
        self.found = sorted(self.found, key=lambda pair: (-pair[0], pair[1]))[: self._k]
        sizes = [len(tokens) for tokens, _ in self._next]
        tokens, parents = (
            np.concatenate([tokens for tokens, _ in self._next]),
            np.repeat(np.arange(len(sizes)), sizes),
        )
        totals = self._scores[parents] + np.concatenate([log[:-1] for log in logs])
        chosen = np.argsort(-totals, kind="stable")[: self._beam]
        chosen = chosen[self._may_win(totals[chosen])]
        self.nodes = [
            self._trie.child(self.nodes[parent], token)
            for parent, token in zip(parents[chosen].tolist(), tokens[chosen].tolist(), strict=True)
        ]
        self._scores = totals[chosen]
        return parents[chosen], tokens[chosen]

    @property
    def needed(self) -> float:
        """The score that a further title needs, with a margin."""
        found = self.found[-1][0] - _MARGIN if len(self.found) == self._k else -np.inf
        return max(found, self._least)

    def _may_win(self, totals: np.ndarray) -> np.ndarray:
        """Whether titles with these beginnings may be among the best: bool."""
        most = self._trie.longest + 1 if self._per_token else 1
        return totals / most >= self.needed


def _check(
    model: CausalLM, prompts: TokenizedTexts, trie: Trie, end: int, left_out: Histories | None
) -> None:
    check_tokens("best_titles: end", [end], model)
    check_tokens("best_titles: titles", [trie.largest_token], model)
    if trie.contains(end):
        raise DataError(f"best_titles: a title contains the end token {end}")
    if left_out is not None and len(left_out) != len(prompts):
        raise DataError(f"best_titles: {len(left_out)} histories for {len(prompts)} prompts")
    limit = model.lm.spec.max_tokens
    if len(prompts) and int(prompts.lengths.max()) + trie.longest > limit:
        raise DataError(
            f"best_titles: a prompt has {int(prompts.lengths.max())} tokens and a title "
            f"{trie.longest}; allowed: {limit} together (max_tokens of the LM)"
        )


def _allowed(trie: Trie, left_out: Histories | None, row: int) -> np.ndarray:
    """Running sums of the items that may be listed."""
    allowed = np.ones(len(trie.order), bool)
    if left_out is not None:
        allowed[left_out[row]] = False
    return trie.running(allowed)


def _log_probabilities(
    model: CausalLM, states: Tensor, asked: Sequence[Sequence[np.ndarray]]
) -> list[list[np.ndarray]]:
    """Compute log p of some tokens after each state.

    Args:
        model: the language model.
        states: shape (batch, tokens, width); a row may have fewer tokens, then padding.
        asked: token ids after each state of each row of the batch.

    Returns:
        float64 arrays like ``asked``.
    """
    flat = [tokens for of_row in asked for tokens in of_row]
    used = [(row, place) for row, of_row in enumerate(asked) for place in range(len(of_row))]
    rows, places = (torch.tensor(part, device=states.device) for part in zip(*used, strict=True))
    values, size = [], max(1, LOGITS_AT_ONCE // model.n_tokens)
    for begin in range(0, len(flat), size):
        some, block = flat[begin : begin + size], slice(begin, begin + size)
        logits = model.logits(states[rows[block], places[block]])
        owners = np.repeat(np.arange(len(some)), [len(tokens) for tokens in some])
        at, tokens = (
            torch.from_numpy(part).to(states.device) for part in (owners, np.concatenate(some))
        )
        found = logits[at, tokens] - logits.logsumexp(dim=1)[at]
        ends = np.cumsum([len(tokens) for tokens in some])[:-1]
        values += np.split(found.double().cpu().numpy(), ends)
    remaining = iter(values)
    return [[next(remaining) for _ in of_row] for of_row in asked]


def _padded(
    grown: Sequence[tuple[np.ndarray, np.ndarray]], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Positions of parents and tokens of each row, int64, shape (batch, longest) each."""
    longest = max(len(tokens) for _, tokens in grown)
    parents, tokens = (np.zeros((len(grown), longest), np.int64) for _ in range(2))
    for row, (own_parents, own_tokens) in enumerate(grown):
        parents[row, : len(own_parents)], tokens[row, : len(own_tokens)] = own_parents, own_tokens
    return torch.from_numpy(parents).to(device), torch.from_numpy(tokens).to(device)

"""Scores of all items after a prompt: the log-likelihood of their titles under a causal LM.

    score = log p(title and its end | prompt)

The best titles are found by a search (``best_titles``). All other items share one score below
theirs. Items that are to be scored in any case are computed one by one, as all are where the depth
reaches to the end of the catalogue.
"""

from collections.abc import Sequence

import numpy as np

from warmstart.data.histories import Histories
from warmstart.lm.best_titles import best_titles
from warmstart.lm.causal import CausalLM
from warmstart.lm.texts import TokenizedTexts
from warmstart.lm.trie import Trie


def title_scores(
    model: CausalLM,
    prompts: TokenizedTexts,
    titles: Sequence[Sequence[int]],
    *,
    end: int,
    depth: int,
    beam: int,
    per_token: bool = False,
    not_searched: Histories | None = None,
) -> np.ndarray:
    """Score all titles after each prompt.

    Args:
        model: the language model.
        prompts: the prompts, which end where a title begins.
        titles: the tokens of the title of each item.
        end: the token after a title; no title contains it.
        depth: number of items that are ranked.
        beam: beginnings of titles that the search keeps.
        per_token: the mean per token, not the sum, which prefers short titles.
        not_searched: items of each prompt that take no place of the search, such as those that are
            not listed; they are scored one by one.

    Returns:
        float32, shape (prompts, titles).

    Raises:
        DataError, UnsupportedError: see ``best_titles``.
    """
    if not len(prompts):
        return np.zeros((0, len(titles)), np.float32)
    if depth >= len(titles):
        every = Histories.from_lists([np.arange(len(titles))] * len(prompts))
        scores = np.empty((len(prompts), len(titles)), np.float32)
        _score_each(scores, model, prompts, titles, end, per_token, every)
        return scores
    none = Histories.from_lists([[]] * len(prompts))
    left_out = none if not_searched is None else not_searched
    best = best_titles(
        model, prompts, Trie(titles), k=depth, end=end, beam=beam, per_token=per_token,
        left_out=left_out,
    )  # fmt: skip
    lowest = np.where(best.items >= 0, best.scores, np.inf).min(axis=1)
    rest = np.where(np.isfinite(lowest), lowest - 1, 0).astype(np.float32)
    scores = np.repeat(rest[:, None], len(titles), axis=1)
    rows, places = np.nonzero(best.items >= 0)
    scores[rows, best.items[rows, places]] = best.scores[rows, places]
    _score_each(scores, model, prompts, titles, end, per_token, left_out)
    return scores


def _score_each(
    scores: np.ndarray,
    model: CausalLM,
    prompts: TokenizedTexts,
    titles: Sequence[Sequence[int]],
    end: int,
    per_token: bool,
    chosen: Histories,
) -> None:
    """Put the likelihoods of chosen items of each prompt into the scores, one by one."""
    rows = np.flatnonzero(chosen.lengths).tolist()
    if not rows:
        return
    asked = TokenizedTexts(tuple(prompts.ids[row] for row in rows), prompts.pad_id, 0)
    items = [np.unique(chosen[row]) for row in rows]
    told = [[[*titles[item], end] for item in own] for own in items]
    found = model.log_likelihoods(asked, told)
    for row, own, ids, values in zip(rows, items, told, found, strict=True):
        lengths = [len(tokens) if per_token else 1 for tokens in ids]
        scores[row, own] = values / lengths

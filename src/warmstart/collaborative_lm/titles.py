"""Ranking by titles: the items that score best go into a question, and the LM orders them."""

from typing import Literal

import numpy as np

from warmstart.collaborative_lm.model import PromptHistories, PromptModel


def order_by_titles(
    model: PromptModel,
    told: PromptHistories,
    items: np.ndarray,
    scores: np.ndarray,
    *,
    n: int,
    scoring: Literal["likelihood", "generation"],
) -> np.ndarray:
    """Order the best items of each query anew by their titles.

    They share the scores that they had, the highest for the first, so that they stay before the
    other items.

    Args:
        model: the prompted LM.
        told: what prompts tell of the queries, nothing empty.
        items: item rows, shape (queries, items).
        scores: their scores, float32; NaN for an item that is not ranked.
        n: items of a question.
        scoring: "likelihood" orders them by the mean log-likelihood of the tokens of their titles,
            "generation" puts the one first whose title the LM writes.

    Returns:
        float32, shape of ``scores``.
    """
    scores, sizes = scores.copy(), np.isfinite(scores).sum(axis=1).clip(max=n)
    for size in np.unique(sizes[sizes > 1]).tolist():
        rows = np.flatnonzero(sizes == size)
        best = np.argsort(-np.nan_to_num(scores[rows], nan=-np.inf), axis=1, kind="stable")
        best = best[:, :size]
        asked, own = (np.take_along_axis(of[rows], best, axis=1) for of in (items, scores))
        if scoring == "likelihood":
            order = np.argsort(-model.likelihoods(told.take(rows), asked), axis=1, kind="stable")
        else:
            written = model.generated(told.take(rows), asked)
            order = np.argsort(np.arange(size) != written[:, None], axis=1, kind="stable")
        scores[rows[:, None], np.take_along_axis(best, order, axis=1)] = own
    return scores

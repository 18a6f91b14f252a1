"""Ranking by titles: the items that score best go into a question, and the LM orders them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from warmstart.collaborative_lm.model import PromptHistories, PromptModel
from warmstart.errors import DataError


def order_by_titles(
    model: PromptModel,
    told: PromptHistories,
    items: np.ndarray,
    scores: np.ndarray,
    *,
    in_history: np.ndarray,
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
        in_history: items of the history, which enter a question only if others do not fill it; no
            question of the training has them: bool, shape (queries, items).
        n: items of a question.
        scoring: "likelihood" orders them by the mean log-likelihood of the tokens of their titles,
            "generation" puts the one first whose title the LM writes.

    Returns:
        float32, shape of ``scores``.
    """
    scores, sizes = scores.copy(), np.isfinite(scores).sum(axis=1).clip(max=n)
    for size in np.unique(sizes[sizes > 1]).tolist():
        rows = np.flatnonzero(sizes == size)
        ranked = np.nan_to_num(scores[rows], nan=-np.inf)
        best = np.lexsort((-ranked, in_history[rows] | np.isneginf(ranked)), axis=1)[:, :size]
        asked, own = (np.take_along_axis(of[rows], best, axis=1) for of in (items, scores))
        own = -np.sort(-own, axis=1)
        if scoring == "likelihood":
            order = np.argsort(-model.likelihoods(told.take(rows), asked), axis=1, kind="stable")
        else:
            written = model.generated(told.take(rows), asked)
            order = np.argsort(np.arange(size) != written[:, None], axis=1, kind="stable")
        scores[rows[:, None], np.take_along_axis(best, order, axis=1)] = own
    return scores


def checked_answers(question: str, answers: Sequence[str]) -> list[str]:
    """Check a question about a user, and list its answers.

    Raises:
        DataError: one of them is no text or blank, or there is no answer.
    """
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"text_likelihoods: question is {question!r}; allowed: a text")
    texts = [] if isinstance(answers, str) else list(answers)
    wrong = [text for text in texts if not isinstance(text, str) or not text.strip()]
    if wrong or not texts:
        found = wrong[0] if wrong else answers
        raise DataError(
            f"text_likelihoods: answers has {found!r}; allowed: a list of texts, none empty"
        )
    return texts

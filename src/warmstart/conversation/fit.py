"""Fit the parts of rta, and their weights on training dialogues that the parts did not see."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from warmstart.config import merged
from warmstart.conversation.gate import Gate, fit_gate
from warmstart.conversation.parts import Asked, ItemVectors, Learning, Parts, fit_parts
from warmstart.conversation.settings import RTAConfig
from warmstart.conversation.stand_ins import StandIns, of_catalogue
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.data.splits.dialogue_split import take_dialogues

_SCORES_AT_ONCE = 2**24  # of a part: 64 MB


@dataclass(frozen=True)
class ItemTerms:
    """All that the score of some items needs besides who asks.

    Attributes:
        vectors: those of the content score.
        bias: the additive bias, float32, shape (items,).
        factor: the multiplicative one, float32, shape (items,).
        stand_ins: the items of the fit that speak for each.
    """

    vectors: ItemVectors
    bias: np.ndarray
    factor: np.ndarray
    stand_ins: StandIns


@dataclass(frozen=True)
class Gates:
    """Weights of the parts.

    Attributes:
        words: of queries with words.
        plain: of queries by history alone.
    """

    words: Gate
    plain: Gate

    def weights(self, asked: Asked) -> np.ndarray:
        """Weights of the parts: float32, shape (queries, parts)."""
        spoken = asked.texts.any(axis=1) | asked.lm_states.any(axis=1)
        both = self.words.weights(asked.features), self.plain.weights(asked.features)
        return np.where(spoken[:, None], *both).astype(np.float32)


def fit(
    config: RTAConfig, learning: Learning, context: FitContext
) -> tuple[Parts, Gates, dict[str, Any]]:
    """Fit the parts and their weights.

    Returns:
        The parts, their weights, and the settings that validation chose.
    """
    parts, choices = fit_parts(config, learning, context)
    names = part_names(parts)
    chosen = RTAConfig.build(merged(config.model_dump(mode="json"), choices))
    if chosen.gate.kind == "equal":
        blocks = [_unseen_scores(parts, learning, np.arange(len(learning.targets)), context)]
    else:
        blocks = list(_out_of_fold(chosen, learning, context))
    rows = np.concatenate([block[0] for block in blocks])
    features = learning.asked.features[rows]
    words, plain = (np.concatenate([block[at] for block in blocks]) for at in (1, 2))
    no_words = [name for name in names if name == "similar_requests"]
    silent = features.copy()
    silent[:, -1] = 0
    gates = Gates(
        fit_gate(names, words, features, chosen.gate),
        fit_gate(names, plain, silent, chosen.gate, left_out=no_words),
    )
    return parts, gates, choices


def part_names(parts: Parts) -> tuple[str, ...]:
    """Names of the parts in the order of their weights."""
    return ("bias", *parts.by_content, *parts.by_item)


def terms_of(parts: Parts, learning: Learning) -> ItemTerms:
    """The terms of the catalogue of the fit."""
    own = parts.bias.own + parts.bias.of_genres(learning.genres)
    stand_ins = of_catalogue(learning.items.texts, learning.data.warm, parts.config.stand_ins)
    return ItemTerms(learning.items, own[:, 0], np.exp(own[:, 1]), stand_ins)


def _out_of_fold(
    config: RTAConfig, learning: Learning, context: FitContext
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each fold: its requests, and what ``_unseen_scores`` gives for them."""
    rng, spoken = context.rng.spawn(1)[0], learning.data.dialogues
    assert spoken is not None
    fold_of = rng.permutation(np.arange(len(spoken)) % config.gate.folds)
    context = replace(context, valid=None)
    for fold in range(config.gate.folds):
        held = fold_of[learning.dialogues] == fold
        if not held.any() or held.all():
            continue
        rest = np.flatnonzero(~held)
        seen = replace(
            learning,
            data=_without(learning.data, fold_of == fold),
            asked=learning.asked.take(rest),
            targets=learning.targets[rest],
            dialogues=learning.dialogues[rest],
        )
        parts, _ = fit_parts(config, seen, context)
        own = replace(learning, data=seen.data)
        yield _unseen_scores(parts, own, np.flatnonzero(held), context)


def _without(data: Dataset, held: np.ndarray) -> Dataset:
    """Leave out dialogues, and what the users of their names did."""
    spoken = data.dialogues
    assert spoken is not None
    ids = [spoken.ids[row] for row in np.flatnonzero(held).tolist()]
    users = [data.user_ids.row(name) for name in ids if name in data.user_ids]
    events = data.interactions
    return replace(
        data,
        dialogues=take_dialogues(spoken, np.flatnonzero(~held)),
        interactions=events.where(~np.isin(events.users, users)),
    )


def _unseen_scores(
    parts: Parts, learning: Learning, rows: np.ndarray, context: FitContext
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of candidates, the target first, with words and without.

    Returns:
        ``rows``, and twice float32, shape (rows, candidates, parts); -inf for mentioned items.
    """
    terms, n_items = terms_of(parts, learning), parts.n_items
    n = min(n_items - 1, parts.config.gate.negatives)
    rng = context.rng.spawn(1)[0]
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    size = max(1, _SCORES_AT_ONCE // n_items)
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        targets = learning.targets[block]
        others = np.tile(np.arange(n_items - 1), (len(block), 1))
        if n < n_items - 1:
            others = rng.permuted(others, axis=1)[:, :n]
        others = others + (others >= targets[:, None])
        candidates = np.concatenate([targets[:, None], others], axis=1)
        asked = learning.asked.take(block)
        seen = asked.histories.matrix(n_items).toarray() > 0
        hidden = np.take_along_axis(seen, candidates, axis=1)
        for kept, one in zip(found, (asked, asked.without_words()), strict=True):
            scores = _part_scores(parts, terms, one)
            own = [np.take_along_axis(part, candidates, axis=1) for part in scores]
            kept.append(np.stack(own, axis=2))
            kept[-1][hidden] = -np.inf
    words, plain = (np.concatenate(kept) for kept in found)
    return rows, words, plain


def _part_scores(parts: Parts, terms: ItemTerms, asked: Asked) -> list[np.ndarray]:
    """Scores of the catalogue by each part: float32, shape (queries, n_items)."""
    bias = np.broadcast_to(terms.bias, (len(asked), len(terms.bias)))
    content = [
        products(queries, terms.vectors) * terms.factor
        for queries in parts.queries(asked, terms.vectors)
    ]
    by_item = [terms.stand_ins.mean(scores) for scores in parts.score_by_item(asked)]
    return [bias, *content, *by_item]


def products(queries: ItemVectors, items: ItemVectors) -> np.ndarray:
    """Summed products of the vectors of queries and items: float32, shape (queries, items)."""
    found = queries.texts @ items.texts.T
    return found + queries.lm @ items.lm.T if queries.lm.shape[1] else found

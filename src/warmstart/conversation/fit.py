"""Fit the parts of rta, and their weights on training dialogues that the parts did not see."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from warmstart.config import merged
from warmstart.conversation.gate import Gate, GateConfig, fit_gate
from warmstart.conversation.parts import Asked, ItemVectors, Learning, Parts, fit_parts
from warmstart.conversation.settings import RTAConfig
from warmstart.conversation.stand_ins import StandIns, of_catalogue
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.data.splits.dialogue_split import take_dialogues

_FEW = 100  # requests without mentions, from which weights are learned
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


WAYS = ("words_and_mentions", "words", "mentions")
"""The ways of asking, which have weights of their own."""


@dataclass(frozen=True)
class Gates:
    """Weights of the parts, in the order of ``WAYS``."""

    gates: tuple[Gate, ...]

    def weights(self, asked: Asked) -> np.ndarray:
        """Weights of the parts: float32, shape (queries, parts)."""
        spoken = asked.texts.any(axis=1) | asked.lm_states.any(axis=1)
        way = np.where(spoken, np.where(asked.histories.lengths > 0, 0, 1), 2)
        each = np.stack([gate.weights(asked.features) for gate in self.gates])
        return each[way, np.arange(len(asked))].astype(np.float32)


def fit(
    config: RTAConfig, learning: Learning, context: FitContext
) -> tuple[Parts, Gates, dict[str, Any]]:
    """Fit the parts and their weights.

    The weights are equal where the requests of all dialogues are in one fold, such as those of a
    single dialogue.

    Returns:
        The parts, their weights, and the settings that validation chose.
    """
    parts, choices = fit_parts(config, learning, context)
    names = part_names(parts)
    chosen = RTAConfig.build(merged(config.model_dump(mode="json"), choices))
    weighs, blocks = chosen.gate, []
    if weighs.kind != "equal":
        blocks = list(_out_of_fold(chosen, learning, context))
    if not blocks:  # nothing is learned from requests that the parts have seen
        weighs = weighs.model_copy(update={"kind": "equal"})
        every = np.arange(len(learning.targets))
        blocks = [_unseen_scores(parts, learning, every, context)]
    with context.run.stage("gate"):
        found = [
            _gate_of(way, names, [block[at] for block in blocks], weighs)
            for at, way in enumerate(WAYS)
        ]
    known = next((gate for gate in found if gate is not None), None)
    assert known is not None, "every request has words"
    return parts, Gates(tuple(gate or known for gate in found)), choices


def _gate_of(
    way: str,
    names: tuple[str, ...],
    blocks: list[tuple[np.ndarray, np.ndarray]],
    config: GateConfig,
) -> Gate | None:
    """Learn the weights of one way of asking; None if no request was asked so."""
    features, scores = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    left_out = {"words": ["mentioned"], "mentions": ["similar_requests"]}.get(way, [])
    return fit_gate(names, scores, features, config, left_out=left_out) if len(scores) else None


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
) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """For each fold what ``_unseen_scores`` gives for its requests."""
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
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Score candidates of requests, the target first, as they were asked in each of ``WAYS``.

    Requests that mention items are asked with and without words; requests without mentions by their
    words, and where there are few of these, all requests by their words alone.

    Returns:
        For each way the features of the queries and float32 scores, shape (queries, candidates,
        parts), -inf for mentioned items.
    """
    terms, rng = terms_of(parts, learning), context.rng.spawn(1)[0]
    few = int((learning.asked.histories.lengths == 0).sum()) < _FEW
    size = max(1, _SCORES_AT_ONCE // parts.n_items)
    found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in WAYS]
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        candidates = _candidates(parts, learning.targets[block], rng)
        asked = learning.asked.take(block)
        seen = asked.histories.matrix(parts.n_items).toarray() > 0
        hidden = np.take_along_axis(seen, candidates, axis=1)
        tells = np.flatnonzero(asked.histories.lengths)
        told = asked.take(tells)
        silent = np.arange(len(block)) if few else np.flatnonzero(asked.histories.lengths == 0)
        words = asked.take(silent).without_mentions()
        ways = ((tells, told), (silent, words), (tells, told.without_words()))
        for kept, (at, one) in zip(found, ways, strict=True):
            scores = _part_scores(parts, terms, one)
            own = [np.take_along_axis(part, candidates[at], axis=1) for part in scores]
            stacked = np.stack(own, axis=2)
            stacked[hidden[at]] = -np.inf
            kept.append((one.features, stacked))
    return [
        (np.concatenate([f for f, _ in kept]), np.concatenate([s for _, s in kept]))
        for kept in found
    ]


def _candidates(parts: Parts, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The target of each request, and others: all items, or some of a large catalogue."""
    n_others = parts.n_items - 1
    others = np.tile(np.arange(n_others), (len(targets), 1))
    n = min(n_others, parts.config.gate.negatives)
    if n < n_others:
        others = rng.permuted(others, axis=1)[:, :n]
    return np.concatenate([targets[:, None], others + (others >= targets[:, None])], axis=1)


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

"""Checks of methods that answer texts, on dialogues that tell what the user wants.

They run on methods that answer "text", learn from something, and give each query its own answer.
"""

import numpy as np

from warmstart.data.queries import Queries
from warmstart.testing.case import Case, rows
from warmstart.testing.checks.shared import assert_close, only_if, refits
from warmstart.testing.worlds.dialogues import parity_of_words
from warmstart.testing.worlds.items import EVEN, ODD

_K = 5
_MIN_SHARE = 0.8  # of the places of lists: items of the wanted parity, that of half of the items


def _reads_texts(case: Case) -> bool:
    traits = case.cls.traits
    return "text" in traits.answers and traits.personal and bool(traits.reads)


_on_readers_of_texts = only_if(_reads_texts)


@refits
@_on_readers_of_texts
def dialogues_are_followed(case: Case) -> None:
    """Lists have items of the parity that the dialogue is about."""
    share = _share_of_wanted(case, case.fixtures.dialogues.split.tasks("test")["all"].queries)
    assert share > _MIN_SHARE, f"only {share:.0%} of the places are as the dialogue asks"


@refits
@_on_readers_of_texts
def dialogues_decide_by_their_words(case: Case) -> None:
    """Without mentioned items, the words alone tell what is wanted."""
    texts = [f"User: i want {a} {b}" for words in (EVEN, ODD) for a in words for b in words]
    share = _share_of_wanted(case, Queries.of_texts(texts))
    assert share > _MIN_SHARE, f"only {share:.0%} of the places are as the words ask"
    found = case.on_dialogues.recommend(texts=[texts[0], texts[-1]], k=_K)
    ids = case.on_dialogues.fitted.catalogue.item_ids
    parities = case.fixtures.dialogues.item_parity[ids.known_rows(found["item"].to_list())]
    assert found["query"].to_list() == [0] * _K + [1] * _K
    assert parities[:_K].mean() < 0.5 < parities[_K:].mean()


@refits
@_on_readers_of_texts
def dialogues_ignore_the_batch(case: Case) -> None:
    """The answer to a dialogue does not depend on the others or on their order."""
    queries = case.fixtures.dialogues.split.tasks("test")["all"].queries
    items = rows(len(case.on_dialogues.fitted.catalogue))
    scores = case.on_dialogues.score(queries, items)
    order = np.random.default_rng(0).permutation(len(queries))
    assert_close(case.on_dialogues.score(queries.take(order), items), scores[order])
    for row in order[:5]:
        assert_close(case.on_dialogues.score(queries.take(np.array([row])), items), scores[[row]])


def _share_of_wanted(case: Case, queries: Queries) -> float:
    """Share of the places of lists that have items of the parity that the text tells."""
    model = case.on_dialogues
    places, _ = model.top_items(queries, rows(len(model.fitted.catalogue)), _K)
    wanted = np.array([parity_of_words(text) for text in queries.texts or ()])
    fits = case.fixtures.dialogues.item_parity[places] == wanted[:, None]
    return float((fits & (places >= 0)).mean())

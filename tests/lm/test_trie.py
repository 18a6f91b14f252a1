"""The trie of titles, against a search through all titles."""

import numpy as np
import pytest

from warmstart.errors import DataError
from warmstart.lm.trie import Trie

TITLES = [(5, 3), (5, 3, 9), (2,), (5, 4), (2,), (7, 7, 7), (5, 3, 8)]


def walk(trie, tokens):
    node = trie.root
    for token in tokens:
        node = trie.child(node, token)
    return node


@pytest.mark.parametrize("seed", range(8))
def test_tokens_and_items_are_those_of_a_search(seed):
    rng = np.random.default_rng(seed)
    titles = [tuple(rng.integers(0, 4, rng.integers(1, 5)).tolist()) for _ in range(40)]
    trie, allowed = Trie(titles), rng.random(40) < 0.5
    running = trie.running(allowed)
    for start in {title[:n] for title in titles for n in range(len(title) + 1)}:
        tokens, ended = trie.next_tokens(walk(trie, start), running)
        open_ = [
            t for t, ok in zip(titles, allowed, strict=True) if ok and t[: len(start)] == start
        ]
        assert tokens.tolist() == sorted({t[len(start)] for t in open_ if len(t) > len(start)})
        assert set(ended) == {n for n in range(40) if allowed[n] and titles[n] == start}


def test_equal_titles_end_together():
    trie = Trie(TITLES)
    tokens, ended = trie.next_tokens(walk(trie, (2,)), trie.running(np.ones(7, bool)))
    assert tokens.tolist() == []
    assert ended.tolist() == [2, 4]


def test_facts_of_the_titles():
    trie = Trie(TITLES)
    assert trie.longest == 3
    assert trie.contains(9)
    assert not trie.contains(1)
    assert sorted(trie.order.tolist()) == list(range(7))


def test_wrong_steps_and_titles_are_named():
    trie = Trie(TITLES)
    with pytest.raises(DataError, match="no title continues with token 4"):
        walk(trie, (2, 4))
    with pytest.raises(DataError, match="title 1 has no tokens"):
        Trie([(1,), ()])
    with pytest.raises(DataError, match="there are no titles"):
        Trie([])

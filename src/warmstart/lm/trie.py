"""A trie of titles: which token may come next, so that only titles of the catalogue are written.

Titles are token sequences in lexicographic order. A node of the trie is a range of them with a
common beginning, so the trie needs no nodes of its own, and whether a node still leads to an
allowed title is the difference of two running sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.errors import DataError

_END = -1  # after the last token of a title; sorts before all tokens


@dataclass(frozen=True)
class Node:
    """The titles that begin with the tokens so far.

    Attributes:
        low, high: range of positions in the order of the titles.
        depth: number of tokens so far.
    """

    low: int
    high: int
    depth: int


class Trie:
    """Titles by their tokens.

    Args:
        titles: the token ids of the title of each item; titles may be equal.

    Attributes:
        order: items in the order of their titles, int64, shape (n_items,).

    Raises:
        DataError: there is no title, or one has no tokens or a negative one.
    """

    def __init__(self, titles: Sequence[Sequence[int]]) -> None:
        empty = [number for number, ids in enumerate(titles) if len(ids) == 0]
        if len(titles) == 0 or empty:
            what = f"title {empty[0]} has no tokens" if empty else "there are no titles"
            raise DataError(f"trie: {what}")
        longest = max(map(len, titles))
        tokens = np.full((len(titles), longest + 1), _END, np.int64)
        for row, ids in enumerate(titles):
            tokens[row, : len(ids)] = ids
        negative = np.flatnonzero([min(ids) < 0 for ids in titles])
        if len(negative):
            raise DataError(f"trie: title {negative[0]} has a token below 0")
        self.order = np.lexsort(tokens.T[::-1])
        self._tokens = tokens[self.order]

    @property
    def root(self) -> Node:
        """The node before the first token."""
        return Node(0, len(self.order), 0)

    @property
    def longest(self) -> int:
        """Number of tokens of the longest title."""
        return self._tokens.shape[1] - 1

    @property
    def largest_token(self) -> int:
        """The largest token id of all titles."""
        return int(self._tokens.max())

    def contains(self, token: int) -> bool:
        """Whether any title has this token."""
        return bool((self._tokens == token).any())

    def running(self, allowed: np.ndarray) -> np.ndarray:
        """Prepare a mask of items for ``next_tokens``: running sums in the order of the titles.

        Args:
            allowed: bool, shape (n_items,).

        Returns:
            int64, shape (n_items + 1,).
        """
        return np.concatenate([[0], np.cumsum(allowed[self.order])])

    def next_tokens(self, node: Node, running: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens that lead to allowed titles, and the items whose title ends here.

        Args:
            node: where the title stands.
            running: from ``running``.

        Returns:
            Token ids, ascending, and the allowed items that have exactly this title; int64.
        """
        column = self._tokens[node.low : node.high, node.depth]
        starts = np.flatnonzero(np.diff(column, prepend=_END - 1))
        bounds = node.low + np.append(starts, len(column))
        open_ = running[bounds[1:]] > running[bounds[:-1]]
        tokens = column[starts]
        ended = np.arange(node.low, bounds[1] if tokens[0] == _END else node.low)
        here = ended[np.diff(running)[ended] > 0]
        return tokens[open_ & (tokens != _END)], self.order[here]

    def child(self, node: Node, token: int) -> Node:
        """Return the node after one more token.

        Raises:
            DataError: no title continues with this token.
        """
        column = self._tokens[node.low : node.high, node.depth]
        low, high = np.searchsorted(column, [token, token + 1])
        if low == high or token == _END:
            raise DataError(f"trie: no title continues with token {token}")
        return Node(node.low + int(low), node.low + int(high), node.depth + 1)

"""The best list with exactly K genres by branch and bound, where items have several genres.

A node of the search tree stands for the lists that have no genre outside ``allowed``, every genre
of ``required``, every item of ``forced`` and no item of ``skipped``. Its relaxed list ignores the
number of genres: the forced items, filled up with the best others. No list of the node has a higher
sum. If the relaxed list happens to have exactly K genres, the required ones among them, it is the
best of the node. Otherwise the sum is lowered to a bound, and the node is split in two: by a genre
(required or not allowed) or by an item (forced or skipped). The node with the highest bound comes
next, so the first valid relaxed list is optimal.
"""

import heapq
from dataclasses import dataclass, replace

import numpy as np

from warmstart.rerank.candidates import union


class OutOfNodes(Exception):
    """The search has opened as many nodes as it may."""


@dataclass(frozen=True)
class _Node:
    allowed: np.ndarray  # bool, shape (n_genres,)
    required: np.ndarray  # bool, shape (n_genres,)
    forced: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()

    def split_by_genre(self, genre: int) -> tuple["_Node", "_Node"]:
        one = np.arange(len(self.allowed)) == genre
        return (
            replace(self, allowed=self.allowed & ~one),
            replace(self, required=self.required | one),
        )

    def split_by_item(self, item: int, genres: np.ndarray) -> tuple["_Node", "_Node"]:
        return (
            replace(self, skipped=(*self.skipped, item)),
            replace(self, forced=(*self.forced, item), required=self.required | genres),
        )


def search(
    scores: np.ndarray, sets: np.ndarray, n_genres: int, length: int, *, max_nodes: int
) -> np.ndarray | None:
    """Choose the list of ``length`` items with exactly K genres and the highest sum of scores.

    Args:
        scores: float64, shape (candidates,), descending.
        sets: genres of the candidates, bool, shape (candidates, n_genres).
        n_genres: K.
        length: number of items.
        max_nodes: nodes to open at most.

    Returns:
        Places in ``scores``; None if there is no such list.

    Raises:
        OutOfNodes: the search needs more nodes.
    """
    problem = _Problem(scores, sets, n_genres, length)
    everything = np.ones(sets.shape[1], bool)
    heap: list[tuple[float, int, _Relaxed]] = []
    made = 0
    children = (_Node(everything, ~everything),)
    for _ in range(max_nodes):
        for child in children:
            relaxed = problem.relaxed(child)
            if relaxed is not None:
                made += 1
                # Of equal bounds the newest first: depth first reaches a list without trying all.
                heapq.heappush(heap, (-relaxed.bound, -made, relaxed))
        if not heap:
            return None
        _, _, best = heapq.heappop(heap)
        if best.children is None:
            return best.items
        children = best.children
    raise OutOfNodes


@dataclass(frozen=True)
class _Relaxed:
    """The relaxed list of a node.

    Attributes:
        bound: no list of the node has a higher sum.
        items: places in the scores.
        children: the two halves of the node; None if the list is valid.
    """

    bound: float
    items: np.ndarray
    children: tuple[_Node, _Node] | None


@dataclass(frozen=True)
class _Loss:
    """What a valid list loses against the relaxed list, at least, and how to split the node."""

    amount: float
    children: tuple[_Node, _Node]


class _Problem:
    def __init__(self, scores: np.ndarray, sets: np.ndarray, n_genres: int, length: int) -> None:
        self._scores = scores
        self._sets = sets
        self._counts = sets.astype(np.float32)  # for products, which are fast for floats only
        self._n_genres = n_genres
        self._length = length
        self._whole = bool((scores == np.round(scores)).all())

    def relaxed(self, node: _Node) -> _Relaxed | None:
        """Bound a node; None if it has no valid list."""
        n_required, n_allowed = int(node.required.sum()), int(node.allowed.sum())
        if n_required > self._n_genres or n_allowed < self._n_genres:
            return None
        if n_required == self._n_genres:
            node = replace(node, allowed=node.required)
        elif n_allowed == self._n_genres:
            node = replace(node, required=node.allowed)
        free = self._counts @ (~node.allowed).astype(np.float32) == 0
        free[[*node.forced, *node.skipped]] = False
        others = np.flatnonzero(free)
        room = self._length - len(node.forced)
        if len(others) < room:
            return None
        items = np.array([*node.forced, *others[:room]], np.int64)
        has = union(self._sets[items])
        losses = []
        if has.sum() > self._n_genres:
            losses.append(self._loss_of_surplus(node, has, others, room))
        if has.sum() < self._n_genres or np.any(node.required & ~has):
            losses.append(self._loss_of_lack(node, has, others, room))
        total = float(self._scores[items].sum())
        if not losses:
            return _Relaxed(total, items, None)
        if None in losses:
            return None
        bound = total - max(loss.amount for loss in losses)
        if self._whole:
            bound = float(np.floor(bound + 1e-9))  # the sum of whole scores, such as hits, is whole
        return _Relaxed(bound, items, losses[0].children)

    def _loss_of_surplus(
        self, node: _Node, has: np.ndarray, others: np.ndarray, room: int
    ) -> _Loss | None:
        """Bound the loss where the relaxed list has too many genres.

        A valid list lacks at least ``surplus`` of the genres that are not required, hence all items
        that have these genres. An item that falls out loses its distance to the next best item,
        divided here equally among its genres; the genres of least loss give the bound.
        """
        optional = np.flatnonzero(has & ~node.required)
        surplus = int(has.sum()) - self._n_genres
        if len(optional) < surplus or len(others) == room:
            return None
        filled = others[:room]
        own = self._counts[filled][:, optional]
        distance = self._scores[filled] - self._scores[others[room]]
        losses = (distance / np.maximum(own.sum(axis=1), 1)) @ own
        amount = float(np.sort(losses)[:surplus].sum())
        return _Loss(amount, node.split_by_genre(int(optional[losses.argmax()])))

    def _loss_of_lack(
        self, node: _Node, has: np.ndarray, others: np.ndarray, room: int
    ) -> _Loss | None:
        """Bound the loss where the relaxed list lacks genres.

        The genres come from items outside the list, each in the place of an item of the list. Such
        an item loses its distance to the last item of the list, divided here equally among the
        genres that it adds; each genre that must be added costs its least share. In addition, n
        new items replace the last n of the list, not n times the last one.
        """
        must = node.required & ~has
        lack = max(self._n_genres - int(has.sum()), int(must.sum()))
        addable = must if lack == must.sum() else node.allowed & ~has
        added = self._counts[others] @ addable.astype(np.float32)
        helpers, added = others[added > 0], added[added > 0]
        pool = np.flatnonzero(addable)
        if len(pool) < lack or len(helpers) == 0 or lack > room * added.max():
            return None
        last_first = self._scores[others[:room]][::-1]
        shares = (last_first[0] - self._scores[helpers]) / added
        shares = np.where(self._sets[helpers][:, pool], shares[:, None], np.inf)
        losses = shares.min(axis=0)
        cheapest = np.lexsort((losses, ~must[pool]))[:lack]  # those that must be added come first
        n_new = int(np.ceil(lack / added.max()))
        amount = float(losses[cheapest].sum() + (last_first[:n_new] - last_first[0]).sum())
        if not np.isfinite(amount):
            return None
        if not must.any():
            return _Loss(amount, node.split_by_genre(int(pool[cheapest[0]])))
        dearest = np.where(must[pool], losses, -np.inf).argmax()
        item = int(helpers[shares[:, dearest].argmin()])
        return _Loss(amount, node.split_by_item(item, self._sets[item]))

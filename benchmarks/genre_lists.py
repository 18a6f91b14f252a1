"""Lists with a wanted number of first genres: their metrics, and a file of rows to add to.

Lists are int32 item rows, shape (windows, 10), -1 where a place holds no item. Values of a window
are kept, so that two methods are compared on the same resamples of windows. A row is

    {"method", "n_genres", "metrics": {name: {"value", "low", "high"}}, "minus_ease": the same}

with 95 % intervals of 1,000 bootstraps of the windows; other keys say what was chosen for the row.
"""

import json
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from warmstart.data.control import Control
from warmstart.evaluation import lists
from warmstart.evaluation.significance import intervals
from warmstart.rank import Metric, rank_task

K = 10
WANTED = tuple(range(1, K + 1))
HITS, SHARE = f"precision@{K}", f"oracle_share@{K}"
_RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows whose lists are measured.

    Attributes:
        task: the ranking task of a split; ``split.tasks("test")["all"]``.
        first: the first genre of each item: bool CSR, shape (n_items, genres).
        genres: all genres of each item, the same shape.
    """

    task: object
    first: object
    genres: object

    @classmethod
    def of(cls, split, part):
        catalogue = split.dataset.catalogue
        genres = catalogue.attribute(catalogue.genre_column)
        return cls(split.tasks(part)["all"], genres.first_matrix, genres.matrix)


def recommended(model, windows, n_genres):
    """The lists of a fitted method, with exactly ``n_genres`` first genres unless it is None."""
    task, top_items = windows.task, None
    if n_genres is not None:
        control = Control(n_genres=n_genres, first_genre_only=True)
        task, top_items = replace(task, queries=task.queries.with_control(control)), model.top_items
    return rank_task(model.score, task, K, top_items=top_items).items


def values_of(found, windows, n_genres, wanted=None):
    """Metrics of each window: name -> float64, shape (windows,).

    precision@10 is the HR@10 of DLCRec: an item that stands twice in a list counts twice.

    Args:
        found: the lists.
        windows: what they answer.
        n_genres: the wanted number of first genres; None for lists without a wish.
        wanted: the genre column that each place was to have, shape (windows, 10), -1 for none.
    """
    relevance = windows.task.relevance
    listed = np.maximum(found, 0)
    hits = relevance[np.arange(len(found))[:, None], listed].toarray() & (found >= 0)
    sizes = np.diff(relevance.indptr)
    values = {name: Metric.parse(name).per_query(hits, sizes) for name in (HITS, f"ndcg@{K}")}
    values[f"coverage@{K}"] = lists.coverage(found, windows.first)
    values[f"all_genres@{K}"] = lists.coverage(found, windows.genres)
    values[f"repetition@{K}"] = lists.repetition(found)
    if n_genres is not None:
        error = lists.coverage_error(found, windows.first, n_genres)
        values[f"coverage_error@{K}"] = error
        values[SHARE] = hits.sum(axis=1) / np.maximum(oracle(windows, n_genres), 1)
    if wanted is not None:
        values[f"match@{K}"] = lists.match_by_position(found, windows.first, wanted)
    return {name: np.asarray(x, np.float64) for name, x in values.items()}


@cache
def oracle(windows, n_genres):
    """The most hits of a list with exactly ``n_genres`` first genres, int64, shape (windows,)."""
    return lists.oracle_hits(windows.task.relevance, windows.first, K, n_genres)


def means(values, windows, n_genres):
    """Means with intervals: name -> {"value", "low", "high"}.

    The share of the oracle is all hits / all possible hits.
    """
    names = list(values)
    weights = np.ones((len(windows.task.queries), len(names)))
    if SHARE in names:
        weights[:, names.index(SHARE)] = oracle(windows, n_genres)
    table = np.column_stack([values[name] for name in names])
    found = intervals(table, weights, n_resamples=_RESAMPLES)
    return {
        name: {end: round(value, 6) for end, value in vars(x).items()}
        for name, x in zip(names, found, strict=True)
    }


def row(method, values, windows, n_genres, ease=None, **chosen):
    """A row of the file; ``ease`` are the values of EASE with exactly as many genres."""
    result = {"method": method, "n_genres": n_genres, **chosen}
    result["metrics"] = means(values, windows, n_genres)
    if ease is not None:
        gaps = {name: x - ease[name] for name, x in values.items() if name in ease}
        result["minus_ease"] = means(gaps, windows, n_genres)
    return result


def add_rows(path, rows, **facts):
    """Write rows, in the place of those of the same method and number of genres."""
    found = json.loads(path.read_text()) if path.exists() else {"rows": []}
    new = {(x["method"], x["n_genres"]) for x in rows}
    kept = [x for x in found["rows"] if (x["method"], x["n_genres"]) not in new]
    lines = ",\n".join(json.dumps(x) for x in [*kept, *rows])  # a line for each row
    head = {name: x for name, x in {**found, **facts}.items() if name != "rows"}
    parts = [f"{json.dumps(name)}: {json.dumps(x)}" for name, x in head.items()]
    path.write_text("{" + ",\n".join([*parts, f'"rows": [\n{lines}\n]']) + "}\n")

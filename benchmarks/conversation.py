"""Adapting a content scorer to conversations: a bias per item, and a gate with a recommender.

    pip install scikit-learn
    python benchmarks/conversation.py redial --json OUT.json

The requests of iEvaLM on ReDial: a row is a system turn and a title that it recommends and nobody
mentioned before. The validation dialogues train, the test dialogues test; the candidates are all
recommended titles, those mentioned before are left out, and ties are ranked in the middle.

    content      10 x cosine of TF-IDF vectors: the last 6 turns, and the titles
    popularity   training rows of each item
    bias         b, so that softmax(content + b) is likeliest on the training rows
    followers    log of the sum, over the mentioned items, of the share of an item among what was
                 recommended after them, plus 0.02 x its share of the training rows
    co-mention   the same of what was mentioned in the same dialogues
    gate g       g x content + (1 - g) x followers, or x co-mention

Check T0: learned on scores of zero, the bias ranks the items as popularity does. The gate is
chosen on a tenth of the training dialogues; all gates are shown.
"""

import argparse
import json
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from warmstart.data.readers.redial_requests import read_redial_requests
from warmstart.data.splits.dialogue_split import requests_of
from warmstart.data.splits.dialogues import dialogues
from warmstart.data.splits.part_codes import TRAIN
from warmstart.evaluation.significance import intervals, paired_intervals
from warmstart.rank import rank_task

METRICS = ("recall@1", "recall@10", "recall@50")
GATES = (0.1, 0.3, 0.5, 0.7)
TURNS, SCALE = 6, 10.0
STEPS, RATE, L2 = 300, 0.1, 1e-3  # of the bias
SMOOTHING, POPULARITY = 2, 0.02  # of co-mentions


def newest_turns(text):
    """The newest turns without the names of the speakers."""
    return " ".join(line.partition(": ")[2] for line in text.split("\n")[-TURNS:])


class Content:
    """Cosine of TF-IDF vectors of the dialogue and the title."""

    def __init__(self, texts, titles):
        self.model = TfidfVectorizer(sublinear_tf=True, stop_words="english")
        self.model.fit([*map(newest_turns, texts), *titles])
        self.items = self.model.transform(titles)

    def __call__(self, queries, items):
        asked = self.model.transform(map(newest_turns, queries.texts))
        return np.float32(SCALE) * (asked @ self.items[items].T).toarray().astype(np.float32)


class Neighbours:
    """Items by their share among the neighbours of the items mentioned so far.

    Args:
        counts: how often the column's item is a neighbour of the row's, shape (n_items, n_items).
        share: of each item in the training rows, shape (n_items,).
    """

    def __init__(self, counts, share):
        totals = counts.sum(axis=1, keepdims=True) + SMOOTHING
        self.shares, self.share = counts / totals + POPULARITY * share, share

    def __call__(self, queries, items):
        mentioned = queries.histories.matrix(len(self.share))
        found = mentioned @ self.shares
        found[np.diff(mentioned.indptr) == 0] = self.share
        return np.log(np.maximum(found[:, items], 1e-9)).astype(np.float32)


def followers(requests, n_items):
    """Counts of the items that were recommended after each item was mentioned."""
    rows = np.arange(len(requests.targets))
    pairs = (np.ones(len(rows)), (rows, requests.targets))
    targets = sparse.csr_matrix(pairs, shape=(len(rows), n_items))
    return (requests.queries.histories.matrix(n_items).T @ targets).toarray()


def co_mentions(spoken, keep, n_items):
    """Counts of the dialogues that mention both items."""
    rows = np.repeat(np.arange(len(spoken)), np.diff(spoken.items.offsets[spoken.offsets]))
    kept = keep[rows]
    pairs = (np.ones(kept.sum()), (rows[kept], spoken.items.items[kept]))
    matrix = sparse.csr_matrix(pairs, shape=(len(spoken), n_items))
    matrix.data[:] = 1
    counts = (matrix.T @ matrix).toarray()
    np.fill_diagonal(counts, 0)
    return counts


def learned_bias(scores, targets):
    """Fit b by Adam on the whole batch: float32, shape (items,)."""
    scores, targets = torch.from_numpy(scores), torch.from_numpy(targets.astype(np.int64))
    bias = torch.zeros(scores.shape[1], requires_grad=True)
    optimiser = torch.optim.Adam([bias], lr=RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(scores + bias, targets)
        (loss + L2 / len(bias) * (bias**2).sum()).backward()
        optimiser.step()
    return bias.detach().numpy()


def scorers(data, keep, seed):
    """All rows of the table, learned from the dialogues in ``keep``."""
    requests, n_items = requests_of(data.dialogues, keep), data.n_items
    counts = np.bincount(requests.targets, minlength=n_items).astype(np.float32)
    everything = np.arange(n_items, dtype=np.int32)
    content = Content(requests.queries.texts, data.catalogue.texts)
    bias = learned_bias(content(requests.queries, everything), requests.targets)
    shuffled = np.random.default_rng(seed).permutation(bias)
    share = counts / counts.sum()
    recommenders = {
        "followers": Neighbours(followers(requests, n_items), share),
        "co-mention": Neighbours(co_mentions(data.dialogues, keep, n_items), share),
    }
    plain = learned_bias(np.zeros((len(requests.targets), n_items), np.float32), requests.targets)
    t0 = {"same_order": bool((np.diff(counts[np.argsort(plain)]) >= 0).all())}
    seen = counts > 0
    t0["correlation_with_log"] = float(np.corrcoef(plain[seen], np.log(counts[seen]))[0, 1])
    rows = {
        "popularity": lambda queries, items: np.tile(counts[items], (len(queries), 1)),
        "content": content,
        "content + bias": lambda queries, items: content(queries, items) + bias[items],
        "content + shuffled bias": lambda queries, items: content(queries, items) + shuffled[items],
        **recommenders,
    }
    for (name, recommender), gate in product(recommenders.items(), GATES):
        rows[f"gate {gate}, {name}"] = lambda queries, items, r=recommender, g=gate: (
            g * content(queries, items) + (1 - g) * r(queries, items)
        )
    return rows, t0


def measured(score, task):
    """Values of each dialogue, float64, shape (dialogues, metrics), and its number of requests."""
    ranking = rank_task(score, task, 50)
    values = np.stack([ranking.per_query(metric) for metric in METRICS], axis=1)
    _, rows = np.unique(task.groups, return_inverse=True)
    counts = np.bincount(rows)
    sums = np.stack([np.bincount(rows, weights=column) for column in values.T], axis=1)
    return sums / counts[:, None], np.repeat(counts[:, None], len(METRICS), axis=1).astype(float)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with ievalm_valid, ievalm_test and items")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = read_redial_requests(arguments.data)
    split = dialogues(data, seed=arguments.seed)
    parts = np.array(data.dialogues.parts)
    chosen, _ = scorers(split.dataset, split.parts == TRAIN, arguments.seed)
    valid = {name: measured(chosen[name], split.tasks("valid")["all"]) for name in chosen}
    valid = {name: np.average(values, axis=0, weights=w)[1] for name, (values, w) in valid.items()}
    best = max((name for name in valid if name.startswith("gate")), key=valid.__getitem__)
    print("recall@10 on validation: " + ", ".join(f"{n} {x:.4f}" for n, x in valid.items()))
    rows, t0 = scorers(data, parts == "valid", arguments.seed)
    print(f"T0: {t0}")
    found = {name: measured(score, split.tasks("test")["all"]) for name, score in rows.items()}
    lines = []
    for name, (values, weights) in found.items():
        means = intervals(values, weights)
        lines.append({"scorer": name, "chosen": name == best, "valid_recall@10": valid[name]})
        lines[-1] |= {metric: asdict(one) for metric, one in zip(METRICS, means, strict=True)}
        text = "  ".join(f"{one.value:.4f} [{one.low:.4f}, {one.high:.4f}]" for one in means)
        print(f"{name:24} {text}" + (" chosen" if name == best else ""))
    pairs = [("content + bias", "content"), ("content + bias", "popularity")]
    pairs += [(best, best.partition(", ")[2]), (best, "content + bias")]
    gaps = {}
    for one, other in pairs:
        gap = paired_intervals(found[one][0], found[other][0], found[one][1])[1]
        gaps[f"{one} - {other}"] = asdict(gap)
        print(f"recall@10, {one} - {other}: {gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]")
    if arguments.json:
        arguments.json.write_text(json.dumps({"t0": t0, "rows": lines, "gaps": gaps}, indent=1))


if __name__ == "__main__":
    main()

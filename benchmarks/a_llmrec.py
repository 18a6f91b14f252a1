"""a_llmrec on frozen candidates: the four ways of scoring, and what its tokens are worth.

    warmstart fit S --method a_llmrec --config SETTINGS.toml --out MODEL
    python benchmarks/a_llmrec.py MODEL S-uni19 S-pop19 --json OUT

Asks a sample of the test queries of each split of candidates (``warmstart split --candidates
uni19``), and prints hit@1 with intervals of the difference from the backbone, paired over queries:

- the backbone alone, "alignment" (stage 1), "retrieval", "likelihood", "generation";
- "likelihood" with the states of the backbone swapped among the users, with the vectors of the
  items permuted, and with the history in random order;
- the share of queries whose choice stays if the candidates are given in another order, and hit@1
  with the true item first and last in the question.
"""

import json as jsonlib
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import typer
from environment import environment

from warmstart.collaborative_lm.fit import sampled
from warmstart.collaborative_lm.model import PromptHistories, PromptModel, prompt_histories
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.data.splits.files import load_split
from warmstart.data.tasks import RankingTask
from warmstart.evaluation.significance import intervals, paired_intervals
from warmstart.lm import CausalLMConfig, LMConfig, load_causal_lm, load_encoder
from warmstart.methods import load_model
from warmstart.methods.a_llmrec import ALLMRec


def main(
    model: Path,
    candidates: list[Path],
    encoder: str = "default",
    lm: str = "default",
    queries: int = 1000,
    batch_size: int = 32,
    controls: bool = True,
    json: Path | None = None,
) -> None:
    """Print the tables and write OUT."""
    loaded = load_model(
        model,
        encoder=load_encoder(LMConfig(source=encoder)),
        lm=load_causal_lm(CausalLMConfig(source=lm, batch_size=batch_size)),
    )
    assert isinstance(loaded, ALLMRec)
    found = {"environment": environment(), "chosen": loaded.fitted.choices, "queries": queries}
    for folder in candidates:
        task = load_split(folder).tasks("test")["all"]
        assert isinstance(task, RankingTask)
        name = load_split(folder).metric_suffix.removeprefix("~")
        found[name] = _rows(loaded, sampled(task, queries), name, controls)
        if json is not None:
            json.write_text(jsonlib.dumps(found, indent=1))


def _rows(model: ALLMRec, task: RankingTask, name: str, controls: bool) -> dict:
    histories, items = task.queries.histories, task.candidates
    assert histories is not None
    target = np.argmax(items == task.relevance.indices[:, None], axis=1)
    told = prompt_histories(
        model._backbone, model._items, histories, model.config.tuning.history_length
    )
    prompted, rng = model._prompted, np.random.default_rng(0)
    seconds: dict[str, float] = {}

    def hits(scores: np.ndarray) -> np.ndarray:
        best = np.nan_to_num(scores, nan=-np.inf).argmax(axis=1)
        return (best == target).astype(np.float64)

    def of_vectors(vectors: np.ndarray, states: np.ndarray) -> np.ndarray:
        return np.einsum("qd,qcd->qc", states, np.nan_to_num(vectors)[items])

    states = model._backbone.encode(histories)
    rows = {
        "backbone": hits(of_vectors(model._backbone.item_vectors, states)),
        "alignment": hits(of_vectors(model._items.scoring, states)),
    }
    for scoring in ("retrieval", "likelihood", "generation"):
        started = time.perf_counter()
        rows[scoring] = hits(model.with_scoring(scoring).score(task.queries, items))
        seconds[scoring] = time.perf_counter() - started
    mixed = _in_random_order(histories, rng)
    rows["retrieval, history shuffled"] = hits(model.score(Queries.of_histories(mixed), items))
    if controls:
        rows |= {
            label: hits(likelihoods)
            for label, likelihoods in _controls(prompted, told, items, rng).items()
        }
        shuffled = prompt_histories(
            model._backbone, model._items, mixed, model.config.tuning.history_length
        )
        rows["likelihood, history shuffled"] = hits(prompted.likelihoods(shuffled, items))
    labels = list(rows)
    table = np.stack([rows[label] for label in labels], axis=1)
    result: dict = {
        label: {"hit@1": [found.value, found.low, found.high]}
        for label, found in zip(labels, intervals(table), strict=True)
    }
    gains = paired_intervals(table, np.broadcast_to(table[:, :1], table.shape))
    for label, gain in zip(labels, gains, strict=True):
        result[label]["difference from the backbone"] = [gain.value, gain.low, gain.high]
    if controls:
        own = prompted.likelihoods(told, items)
        result["order"] = _order(prompted, told, items, target, own)
    result["top ten that a shuffled history keeps"] = _kept(model, histories, mixed)
    result["seconds"] = seconds
    for label, row in result.items():
        print(name, label, row, flush=True)
    return result


def _controls(
    model: PromptModel, told: PromptHistories, items: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Likelihoods with the states, and with the vectors, of others."""
    swapped = replace(told, states=told.states[rng.permutation(len(told.states))])
    own, model.vectors = model.vectors, model.vectors[rng.permutation(len(model.vectors))]
    permuted = model.likelihoods(told, items)
    model.vectors = own
    return {
        "likelihood, states of others": model.likelihoods(swapped, items),
        "likelihood, vectors of other items": permuted,
    }


def _in_random_order(histories: Histories, rng: np.random.Generator) -> Histories:
    order = np.lexsort((rng.random(len(histories.items)), histories.queries))
    return Histories(histories.offsets, histories.items[order])


def _kept(model: ALLMRec, histories: Histories, mixed: Histories) -> dict[str, float]:
    """Share of the ten best items of the catalogue that stay, of the backbone and of the sum."""
    vectors = np.nan_to_num(model._backbone.item_vectors)
    items = np.arange(len(vectors), dtype=np.int32)
    scorers = {
        "backbone": lambda asked: model._backbone.encode(asked) @ vectors.T,
        "retrieval": lambda asked: model.score(Queries.of_histories(asked), items),
    }
    found = {}
    for name, score in scorers.items():
        best = [
            np.argsort(-np.nan_to_num(score(asked), nan=-np.inf), axis=1)[:, :10]
            for asked in (histories, mixed)
        ]
        same = [len(np.intersect1d(*pair)) / 10 for pair in zip(*best, strict=True)]
        found[name] = float(np.mean(same))
    return found


def _order(
    model: PromptModel,
    told: PromptHistories,
    items: np.ndarray,
    target: np.ndarray,
    own: np.ndarray,
) -> dict:
    """What the order of the candidates changes, as it is asked, and if it were not made neutral."""
    rows = np.arange(len(items))
    place = np.arange(items.shape[1])

    def with_target_at(first: bool) -> float:
        moved = np.where(place == target[:, None], -1 if first else items.shape[1], place)
        order = np.argsort(moved, axis=1, kind="stable")
        asked = np.take_along_axis(items, order, axis=1)
        found = model.likelihoods(told, asked, in_neutral_order=False)
        return float((found.argmax(axis=1) == (0 if first else items.shape[1] - 1)).mean())

    chosen = items[rows, own.argmax(axis=1)]
    backwards = items[:, ::-1]
    neutral = model.likelihoods(told, backwards)
    raw = model.likelihoods(told, items, in_neutral_order=False)
    raw_backwards = model.likelihoods(told, backwards, in_neutral_order=False)
    raw_choice = items[rows, raw.argmax(axis=1)]
    return {
        "same choice": float((backwards[rows, neutral.argmax(axis=1)] == chosen).mean()),
        "same choice, order as given": float(
            (backwards[rows, raw_backwards.argmax(axis=1)] == raw_choice).mean()
        ),
        "hit@1, true item first": with_target_at(True),
        "hit@1, true item last": with_target_at(False),
    }


if __name__ == "__main__":
    typer.run(main)

"""Reindexing: one vector per title, so that one step of a causal LM scores all items.

"Reindex-Then-Adapt: Improving Large Language Models for Conversational Recommendation", WSDM 2025
(arXiv 2405.12119), step 1. An aggregator turns the tokens of a title into a vector. It learns from
what the frozen LM itself recommends, so no label of the platform is used:

    dialogues  the titles that the LM finds likeliest after a dialogue, by a slow search
    pages      the text of an item, as a query for its own title

The paper lets the LM write 20 titles, takes the first five and matches them to the catalogue; here
the search goes through the titles of the catalogue, so nothing has to be matched. Items that a
dialogue mentions are left out of its list: an LM likes to repeat them, and they are no answers.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from warmstart.config import Config
from warmstart.conversation.aggregator import Aggregator, AggregatorKind
from warmstart.conversation.dialogue_prompts import DialoguePrompts, PromptConfig
from warmstart.conversation.distillation import Pairs, ReindexTrainee
from warmstart.conversation.lm_rows import stage_of_lists, stage_of_states
from warmstart.conversation.title_index import (
    StateScaling,
    TitleIndex,
    TitleTokens,
    all_vectors,
    output_table,
)
from warmstart.data.catalogue import Catalogue
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.errors import DataError
from warmstart.lm.cache import Cache
from warmstart.lm.causal import CausalLM
from warmstart.lm.texts import token_hash
from warmstart.run import Run
from warmstart.sampling import evenly_spaced
from warmstart.train import Schedule, train_stage
from warmstart.train.seed import torch_seed

logger = logging.getLogger(__name__)

METRIC = "recall@10"
"""Metric of validation, on pairs that are held out."""

_HELD_OUT = 10  # one query of so many


class ReindexConfig(Config):
    """Settings of reindexing.

    Attributes:
        aggregator: how the vectors of a title's tokens become one: "mean" (untrained), "sum",
            "weighted", "gru" or "transformer".
        prompts: the words of the prompts.
        lists: number of training dialogues for which the LM's own list is searched; the search is
            the longest part of a fit (docs/methods/lm_ranking.md).
        titles_per_list: titles of a list that are learned.
        beam: beginnings of titles that the search keeps; a narrow beam misses titles.
        per_token: whether the search ranks by the mean log-likelihood per token, not by the sum.
        pages: number of items whose texts are queries for their own titles, evenly spaced.
        negatives: items drawn for each step; all of a smaller catalogue.
        epochs: maximum number of epochs; the one with the best recall@10 on the pairs of a tenth of
            the queries is kept.
        patience: epochs without improvement before training stops.
        batch_size: pairs per step.
        learning_rate: learning rate of AdamW.
        weight_decay: decoupled weight decay.
    """

    aggregator: AggregatorKind = "gru"
    prompts: PromptConfig = PromptConfig()
    lists: int = Field(default=500, ge=0)
    titles_per_list: int = Field(default=5, ge=1)
    beam: int = Field(default=50, ge=1)
    per_token: bool = False
    pages: int = Field(default=2000, ge=0)
    negatives: int = Field(default=1000, ge=1)
    epochs: int = Field(default=100, ge=1)
    patience: int = Field(default=10, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> Self:
        if self.aggregator != "mean" and not self.lists + self.pages:
            raise ValueError(
                f"lists and pages are both 0, so aggregator {self.aggregator!r} cannot learn; "
                "allowed: at least one above 0, or aggregator 'mean'"
            )
        if self.beam < self.titles_per_list:
            raise ValueError(
                f"beam must be at least titles_per_list = {self.titles_per_list}, got {self.beam}"
            )
        return self


@dataclass(frozen=True)
class LMAnswers:
    """What the LM recommends, to learn from.

    Attributes:
        states: raw states of the queries, float32, shape (queries, width).
        pairs: queries and items.
        from_lists: number of first queries that are dialogues; the others are pages.
    """

    states: np.ndarray
    pairs: Pairs
    from_lists: int


def fit_reindex(
    config: ReindexConfig,
    causal: CausalLM,
    catalogue: Catalogue,
    asked: Queries,
    run: Run,
    rng: np.random.Generator,
    cache: Cache | None = None,
) -> TitleIndex:
    """Learn one vector per title.

    Args:
        config: the settings.
        causal: the LM; it does not change.
        catalogue: the items.
        asked: dialogues of training with the items that they mention; their right answers are not
            used.
        run: the run of the fit: states, lists and training are stages that resume.
        rng: the only source of randomness.
        cache: of states of the LM; None keeps those of the fit in the run alone.

    Raises:
        ConfigError: the settings do not suit the LM, or the training diverges.
        DataError: there is nothing to learn from.
        UnsupportedError: the LM cannot be searched, or the device has too little memory.
    """
    prompts = DialoguePrompts(causal.lm, config.prompts)
    titles = prompts.titles(catalogue.names)
    answers = None
    if config.aggregator != "mean":
        answers = lm_answers(config, causal, prompts, titles, catalogue, asked, run, rng, cache)
    aggregator = new_aggregator(config, causal, titles, rng)
    scaling = StateScaling.none(causal.lm.width)
    if answers is not None and not aggregator.is_plain:
        scaling = StateScaling.of(answers.states)
    scaling.to(causal.lm.device)
    spec = causal.spec
    none = np.zeros((0, causal.lm.width), np.float32)
    index = TitleIndex(aggregator, scaling, config.prompts, spec, causal, none, cache)
    tokens = TitleTokens(output_table(causal), titles)
    if answers is not None:
        depends_on = [causal.lm.fingerprint, token_hash(titles)]
        train(config, index, tokens, answers, run, rng, depends_on)
    index.item_vectors = all_vectors(aggregator, tokens)
    return index


def new_aggregator(
    config: ReindexConfig, causal: CausalLM, titles: list[list[int]], rng: np.random.Generator
) -> Aggregator:
    """Make an untrained aggregator for the titles of a catalogue, on the device of the LM."""
    rows = output_table(causal)[np.unique(np.concatenate(titles))].float()
    scale = float(rows.square().mean().sqrt()) or 1.0
    mean_tokens = float(np.mean([len(ids) for ids in titles]))
    with torch_seed(rng):
        made = Aggregator(
            config.aggregator, causal.lm.width, config.prompts.title_tokens, mean_tokens, scale
        )
    return made.to(causal.lm.device)


def lm_answers(
    config: ReindexConfig,
    causal: CausalLM,
    prompts: DialoguePrompts,
    titles: list[list[int]],
    catalogue: Catalogue,
    asked: Queries,
    run: Run,
    rng: np.random.Generator,
    cache: Cache | None = None,
) -> LMAnswers:
    """Compute what the LM recommends: states, lists and pages as stages of the run.

    Raises:
        DataError: there is neither a dialogue nor an item with a text.
    """
    texts, histories = sampled_dialogues(asked, config.lists, rng)
    described = np.flatnonzero(catalogue.has_text)
    described = (
        described[evenly_spaced(len(described), config.pages)] if len(described) else described
    )
    if not len(texts) + len(described):
        raise DataError("reindexing: there is no dialogue and no item with a text to learn from")
    states, queries, items = [], [], []
    if texts:
        told = prompts.of_dialogues(texts)
        states.append(stage_of_states(run, "dialogue-states", causal, told, cache))
        lists = stage_of_lists(
            run, "lm-lists", causal, told, titles, histories,
            k=config.titles_per_list, end=prompts.end, beam=config.beam,
            per_token=config.per_token,
        )  # fmt: skip
        at = np.nonzero(lists >= 0)
        queries.append(at[0])
        items.append(lists[at])
    if len(described):
        pages = prompts.of_pages([catalogue.texts[row] for row in described.tolist()])
        states.append(stage_of_states(run, "page-states", causal, pages, cache))
        queries.append(len(texts) + np.arange(len(described)))
        items.append(described)
    pairs = Pairs(np.concatenate(queries), np.concatenate(items))
    return LMAnswers(np.concatenate(states), pairs, len(texts))


def sampled_dialogues(
    asked: Queries, n: int, rng: np.random.Generator
) -> tuple[list[str], Histories]:
    """Draw n different texts of queries, or all, with the items that they mention."""
    said = list(asked.texts or ())
    first = {text: row for row, text in reversed(list(enumerate(said)))}
    rows = np.sort(rng.permutation(np.sort(np.fromiter(first.values(), np.int64, len(first))))[:n])
    histories = asked.histories or Histories.from_lists([[]] * len(said))
    return [said[row] for row in rows.tolist()], histories.take(rows)


def train(
    config: ReindexConfig,
    index: TitleIndex,
    tokens: TitleTokens,
    answers: LMAnswers,
    run: Run,
    rng: np.random.Generator,
    depends_on: Sequence[str],
) -> None:
    """Train the aggregator of an index in place, as a stage of the run.

    The pairs of a tenth of the queries are held out, of dialogues where there are any, else of
    pages.

    Args:
        config: the settings.
        index: with an untrained aggregator.
        tokens: of the titles of all items.
        answers: what the LM recommends.
        run: the run of the fit.
        rng: the only source of randomness.
        depends_on: what else the result depends on: fingerprint of the LM, hash of the titles.
    """
    pairs, n_queries = answers.pairs, len(answers.states)
    candidates = rng.permutation(answers.from_lists or n_queries)
    held_out = np.zeros(n_queries, bool)
    if n_queries > 1:
        held_out[candidates[: max(len(candidates) // _HELD_OUT, 1)]] = True
    validates = held_out[pairs.queries]
    held, learned = pairs.where(validates), pairs.where(~validates)
    if not len(learned):
        held, learned = pairs.where(np.zeros(0, np.int64)), pairs
    trainee = ReindexTrainee(
        index.aggregator,
        tokens,
        index.scaled(answers.states),
        learned,
        negatives=config.negatives,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    logger.info("reindexing: %d pairs, %d of them held out", len(pairs), len(held))
    result = train_stage(
        run,
        "reindex",
        trainee,
        Schedule(config.epochs, 1, config.patience, METRIC),
        rng,
        depends_on=[config, *depends_on, answers.states, pairs.queries, pairs.items],
        validate=(lambda: trainee.recall(held)) if len(held) else None,
        validated_on=str(np.flatnonzero(held_out).tolist()) if len(held) else None,
        code=__name__,
    )
    logger.info("reindexing: %s %s at epoch %d", METRIC, result.metric, result.best_epoch)

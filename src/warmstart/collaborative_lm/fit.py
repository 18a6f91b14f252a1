"""The two stages of A-LLMRec as stages of a fit: resumable, stopped early on validation."""

import logging
from typing import Annotated, TypeAlias

import numpy as np
from pydantic import Field

from warmstart.backbones.next_item import NextItemModel
from warmstart.collaborative_lm.alignment import (
    Alignment,
    AlignmentConfig,
    AlignmentTrainee,
    NextItems,
    new_alignment,
    spread,
)
from warmstart.collaborative_lm.items import AlignedItems
from warmstart.collaborative_lm.model import PromptHistories, PromptModel, prompt_histories
from warmstart.collaborative_lm.network import new_network
from warmstart.collaborative_lm.prompts import PromptWriter
from warmstart.collaborative_lm.ridge_alignment import RidgeAlignment, RidgeAlignmentConfig
from warmstart.collaborative_lm.tuning import PromptTrainee, PromptTuningConfig, training_windows
from warmstart.config import default_kind
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.data.tasks import RankingTask
from warmstart.errors import DataError
from warmstart.lm.causal import CausalLM
from warmstart.lm.lora import TunableLM
from warmstart.lm.texts import tokenize
from warmstart.rank import mean_metric
from warmstart.sampling import evenly_spaced
from warmstart.train import Schedule, train_stage

logger = logging.getLogger(__name__)

AnyAlignmentConfig: TypeAlias = Annotated[
    Annotated[AlignmentConfig | RidgeAlignmentConfig, Field(discriminator="kind")],
    default_kind("autoencoders"),
]
"""Configuration of stage 1; ``kind`` selects the type, "autoencoders" without one."""

METRIC = "ndcg@10"
"""Metric of validation."""


def fit_alignment(
    config: AnyAlignmentConfig,
    backbone: NextItemModel,
    states: np.ndarray,
    data: Dataset,
    texts: np.ndarray,
    context: FitContext,
    rng: np.random.Generator,
    n_queries: int,
) -> tuple[AlignedItems, TunableLM | None, int | None]:
    """Train stage 1, or solve it in closed form.

    Args:
        config: the settings.
        backbone: the fitted backbone; it does not change.
        states: its states after each event of the training histories; ``encode_events``.
        data: the training data.
        texts: text vectors of the items, float32, shape (n_items, text width).
        context: validation, text encoder, and the folder of checkpoints.
        rng: the only source of randomness.
        n_queries: queries of validation that the best epoch is chosen on.

    Returns:
        The aligned items, the trained text encoder if there is one, and the chosen number of epochs
        if validation chose it.
    """
    learned = backbone.item_vectors
    known = np.flatnonzero(np.isfinite(learned).all(axis=1))
    if isinstance(config, RidgeAlignmentConfig):
        with context.run.stage("align"):
            ridge = RidgeAlignment.fit(config, learned[known], texts[known])
        return AlignedItems(ridge, learned, texts), None, None
    following = next_items(data.histories, states, known, last=config.positions == "last")
    _check_learnable(data, len(following.items))
    alignment = new_alignment(learned[known], texts[known], config.width, rng.spawn(1)[0])
    tunable, tokens = None, None
    if config.text_encoder != "frozen":
        whole = config.text_encoder == "full"
        tunable = TunableLM(context.encoder.lm, config.lora, rng.spawn(1)[0], whole=whole)
        tokens = tokenize(tunable.lm, [data.catalogue.texts[row] for row in known])

    def aligned(found: np.ndarray, vectors: np.ndarray = learned) -> AlignedItems:
        return AlignedItems(alignment, vectors, found, warm_items=config.warm_items)

    validate, validated_on = None, None
    tasks = validation_tasks(context, data.warm, n_queries)
    if tasks:
        asked = [tasks["all"], tasks.get("cold", tasks["all"])]
        encoded = [backbone.encode(task.queries.histories_or(data.histories)) for task in asked]
        validated_on = " ".join(task.hash for task in asked)

        def mean_of_both_sides() -> float:
            """All items by what is known of them, and "cold" ones, or all, by their texts."""
            found = texts if tunable is None else tunable.encode(data.catalogue.texts)
            items = aligned(found).scoring, aligned(found, learned[:0]).scoring
            sides = zip(asked, encoded, items, strict=True)
            return float(np.mean([product_metric(*side) for side in sides]))

        validate = mean_of_both_sides
    result = train_stage(
        context.run,
        "align",
        AlignmentTrainee(
            alignment, learned[known], texts[known], following, config, tunable, tokens
        ),
        Schedule(config.epochs, 1, config.patience, METRIC),
        rng,
        depends_on=[
            config, data.hash, learned, following.states, context.encoder.lm.fingerprint, n_queries,
        ],
        validate=validate,
        validated_on=validated_on,
        code=__name__,
    )  # fmt: skip
    if tunable is not None:
        texts = tunable.encode(data.catalogue.texts)
    items = aligned(texts)
    for side, joint in (("items", items.joint), ("texts", items.joint_of_texts)):
        logger.info("joint vectors of %s: %s", side, spread(joint[known]))
    return items, tunable, None if validate is None else result.best_epoch


def restore_items(
    config: AnyAlignmentConfig,
    arrays: dict[str, np.ndarray],
    learned: np.ndarray,
    texts: np.ndarray,
) -> AlignedItems:
    """Rebuild the items of ``fit_alignment``, followed by those that were added since.

    Args:
        config: the settings of the fit.
        arrays: the ``state`` of their alignment.
        learned: the backbone's vectors, float32, shape (items of the fit, item width).
        texts: text vectors of all items, float32, shape (items, text width).

    Raises:
        ArtefactError: an array is missing or has a wrong shape.
    """
    if isinstance(config, RidgeAlignmentConfig):
        return AlignedItems(RidgeAlignment.restore(config, arrays), learned, texts)
    alignment = Alignment.from_state(arrays)
    return AlignedItems(alignment, learned, texts, warm_items=config.warm_items)


def fit_prompts(
    config: PromptTuningConfig,
    backbone: NextItemModel,
    states: np.ndarray,
    items: AlignedItems,
    data: Dataset,
    text_states: np.ndarray,
    causal: CausalLM,
    context: FitContext,
    rng: np.random.Generator,
) -> tuple[PromptModel, TunableLM, int | None]:
    """Train stage 2.

    Args:
        config: the settings.
        backbone: the fitted backbone; it does not change.
        states: its states after each event of the training histories; ``encode_events``.
        items: the aligned items.
        data: the training data.
        text_states: states of the LM after the texts, float32, shape (n_items, LM width).
        causal: the LM; it does not change.
        context: validation and the folder of checkpoints.
        rng: the only source of randomness.

    Returns:
        The model, the LM with its adapter, and the chosen number of epochs if validation chose it.
    """
    tunable = TunableLM(causal.lm, config.lora, rng.spawn(1)[0])
    slots = items.slots_of(config.item_token)
    scale = float(np.sqrt(np.nanmean(np.square(states)))) or 1.0
    widths = states.shape[1], slots.shape[1]
    network = new_network(*widths, causal.words(), config, rng.spawn(1)[0])
    writer = PromptWriter(causal.lm, data.catalogue.names, config)
    model = PromptModel(CausalLM(tunable.tuned()), network, writer, slots, text_states, scale)
    if not config.epochs:
        return model, tunable, None
    of_new = items.slots_of_new(config.item_token)
    told = data.histories.numbered.where(items.known[data.histories.items])
    windows, events, owners = training_windows(told, config.history_length)
    _check_learnable(data, len(windows))
    trainee = PromptTrainee(
        model,
        tunable,
        PromptHistories(windows, states[told.numbers[events]]),
        told.items[events + 1].astype(np.int64),
        np.flatnonzero(data.warm),
        of_new,
        data.histories.matrix(data.n_items)[owners],
        config,
    )
    validate, validated_on = None, None
    tasks = validation_tasks(context, data.warm, config.validation_queries)
    if tasks and config.retrieval_weight:
        asked = tasks["all"]
        of_asked = prompt_histories(
            backbone, items, asked.queries.histories_or(data.histories), config.history_length
        )
        validated_on = asked.hash
        validate = lambda: product_metric(  # noqa: E731
            asked, model.user_rows(of_asked), model.item_rows(slots, text_states)
        )
    result = train_stage(
        context.run,
        "prompts",
        trainee,
        Schedule(config.epochs, 1, config.patience, METRIC),
        rng,
        depends_on=[config, data.hash, slots, of_new, states, causal.lm.fingerprint],
        validate=validate,
        validated_on=validated_on,
        code=__name__,
    )
    model.causal = CausalLM(tunable.tuned())
    return model, tunable, None if validate is None else result.best_epoch


def validation_tasks(
    context: FitContext, warm: np.ndarray, n_queries: int
) -> dict[str, RankingTask]:
    """Sample the slices of validation: "all" and, if some items have no interactions, both sides.

    The slices "warm" and "cold" of leave-one-out without cold items are the queries for popular and
    for rare items; a choice on one of them would favour these.

    Args:
        context: the validation.
        warm: whether each item has interactions.
        n_queries: of each slice, evenly spaced.

    Returns:
        "all" and, if there are both, "warm" and "cold"; empty without validation.
    """
    every, cold = context.task("all", "overall", "warm"), context.task("cold")
    if every is None:
        return {}
    found = {"all": every}
    if cold is not None and not warm[np.unique(cold.candidates)].any():
        found |= {"warm": context.task("warm") or every, "cold": cold}
    return {name: sampled(task, n_queries) for name, task in found.items()}


def _check_learnable(data: Dataset, n: int) -> None:
    """Check that some item follows another in the training histories.

    Raises:
        DataError: none does.
    """
    if not n:
        raise DataError(
            f"a_llmrec: no user of {data.name!r} has two training interactions with items of which "
            "something is known, so there is no next item to learn"
        )


def next_items(
    histories: Histories, states: np.ndarray, known: np.ndarray, *, last: bool
) -> NextItems:
    """Collect the states of the training histories and the items that follow them.

    Args:
        histories: the training histories.
        states: after each of their events, float32, shape (events, width).
        known: the items with a vector of the backbone, int64, ascending; others follow no state. An
            item of none but histories of one event has interactions and no vector.
        last: only the last item of each history.
    """
    place = np.full(max(histories.items.max(initial=-1), known.max(initial=-1)) + 1, -1)
    place[known] = np.arange(len(known))
    owners = histories.queries
    events = np.flatnonzero(owners[:-1] == owners[1:])
    if last:
        ends = histories.offsets[1:][histories.lengths >= 2] - 2
        events = ends.astype(np.int64)
    following = place[histories.items[events + 1]]
    kept = np.isfinite(states[events]).all(axis=1) & (following >= 0)
    seen = histories.matrix(len(place))[:, known].tocsr()
    seen.sort_indices()
    return NextItems(states[events[kept]], following[kept], owners[events[kept]], seen)


def sampled(task: RankingTask, n: int) -> RankingTask:
    """Take at most ``n`` queries, evenly spaced."""
    return task if len(task.queries) <= n else task.take(evenly_spaced(len(task.queries), n))


def product_metric(task: RankingTask, users: np.ndarray, items: np.ndarray) -> float:
    """Rank by products of vectors of the queries and of all items, NaN where there are none."""
    rows = items if task.candidates.ndim == 2 else items[task.candidates]
    return score_metric(task, users @ rows.T)


def score_metric(task: RankingTask, scores: np.ndarray) -> float:
    """Rank by given scores.

    Args:
        task: the task.
        scores: of its candidates or, if each query has its own, of all items; float32, shape
            (queries, candidates or items).
    """
    numbered = RankingTask(
        task.name,
        Queries.of_users(np.arange(len(scores))),
        task.candidates,
        task.relevance,
        task.masked,
        ties=task.ties,
    )
    own = task.candidates.ndim == 2
    return mean_metric(
        lambda queries, rows: scores[queries.users][:, rows] if own else scores[queries.users],
        numbered,
        METRIC,
    )

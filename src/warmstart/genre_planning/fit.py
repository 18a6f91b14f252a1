"""Train the adapters of the tasks, each over the same frozen causal LM."""

import logging
from collections.abc import Sequence

import numpy as np

from warmstart.core import FitContext
from warmstart.data.histories import Histories
from warmstart.genre_planning.augmentation import (
    Priors,
    another_genre,
    items_of_other_number,
    other_items,
    other_number_of_genres,
)
from warmstart.genre_planning.settings import AugmentationConfig, DLCRecConfig
from warmstart.genre_planning.tasks import TaskName, TaskWriter, tasks_of
from warmstart.genre_planning.windows import Window, training_windows, validation_windows
from warmstart.lm.causal import CausalLM
from warmstart.lm.lora import TunableLM
from warmstart.lm.supervised import Examples, SupervisedTuning
from warmstart.lm.texts import token_hash
from warmstart.train import Schedule, train_stage

logger = logging.getLogger(__name__)


def fit_adapters(
    config: DLCRecConfig,
    causal: CausalLM,
    writer: TaskWriter,
    histories: Histories,
    context: FitContext,
) -> tuple[dict[TaskName, TunableLM], dict[str, int]]:
    """Train one adapter for each task of the plan.

    Args:
        config: the settings.
        causal: the LM; it does not change.
        writer: of the examples.
        histories: of the training users, oldest first.
        context: of the fit; with a validation task, the best epoch of each adapter is kept.

    Returns:
        The adapters, and the number of epochs of each.
    """
    rng = context.rng.spawn(1)[0]
    lengths = config.history_length, config.list_length, config.max_windows
    windows = training_windows(histories, writer.table, *lengths, rng)
    held_out = _validation(config, writer, histories, context, rng)
    logger.info("%d training windows, %d of validation", len(windows), len(held_out))
    adapters: dict[TaskName, TunableLM] = {}
    epochs: dict[str, int] = {}
    for task in tasks_of(config.plan):
        made = windows + more_windows(config.augmentation, writer, task, windows, rng)
        examples = writer.examples(task, made, rng)
        valid = writer.examples(task, held_out, rng) if held_out else None
        adapters[task] = TunableLM(causal.lm, config.lora, rng)
        epochs[task] = _train(config, task, adapters[task], examples, valid, context, rng)
    return adapters, epochs


def more_windows(
    config: AugmentationConfig,
    writer: TaskWriter,
    task: TaskName,
    windows: Sequence[Window],
    rng: np.random.Generator,
) -> list[Window]:
    """Make the windows that augmentation adds for a task; none for the prediction of genres."""
    if task == "genres":
        return []
    priors, most, found = Priors.of(windows, writer.table), config.most_genres, []
    for window in windows:
        if config.noise and task == "places":
            found.append(another_genre(window, priors, rng))
        if config.noise and task == "items":
            found.append(other_items(window, priors, config.noise_rate, rng))
        if config.numbers and task == "places":
            found.append(other_number_of_genres(window, priors, most, rng))
        if config.numbers and task == "items":
            found.append(items_of_other_number(window, priors, most, rng))
    return found


def _validation(
    config: DLCRecConfig,
    writer: TaskWriter,
    histories: Histories,
    context: FitContext,
    rng: np.random.Generator,
) -> list[Window]:
    task = context.task("all", "overall", "warm", "cold")
    if task is None:
        return []
    lengths = config.history_length, config.list_length, config.max_windows
    asked = task.queries.histories_or(histories)
    return validation_windows(task, asked, writer.table, *lengths, rng)


def _train(
    config: DLCRecConfig,
    task: TaskName,
    tunable: TunableLM,
    examples: Examples,
    valid: Examples | None,
    context: FitContext,
    rng: np.random.Generator,
) -> int:
    trainee = SupervisedTuning(tunable, examples, config.training)
    epochs = getattr(config.training.epochs, task)
    depends_on = [
        tunable.lm.fingerprint, tunable.adapter_hash(), config.training, _hash(examples)
    ]  # fmt: skip
    validate, validated_on = None, None
    if valid is not None and len(valid):
        validate, validated_on = lambda: -trainee.mean_loss(valid), _hash(valid)
    result = train_stage(
        context.run,
        f"tune {task}",
        trainee,
        Schedule(epochs, patience=config.training.patience, metric="log-likelihood"),
        rng,
        depends_on=depends_on,
        validate=validate,
        validated_on=validated_on,
        code=__name__,
    )
    return result.best_epoch


def _hash(examples: Examples) -> str:
    return token_hash(examples.texts.ids) + token_hash(examples.learned)

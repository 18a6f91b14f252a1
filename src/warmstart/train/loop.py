"""The training loop: epochs, early stopping on a declared metric, checkpoints, resume.

The loop drives a ``Trainee``, which trains one epoch at a time (a numba kernel, a graph model) or
one batch at a time (a language model), and exports and imports its arrays. The loop does everything
else. The randomness of an epoch depends only on the seed and the epoch number, so a run that is
killed and resumed ends bit for bit where an uninterrupted run ends.
"""

import json
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from warmstart.errors import ConfigError
from warmstart.process import check_process
from warmstart.train.checkpoint import Arrays, Checkpoint, read_checkpoint, write_checkpoint

logger = logging.getLogger(__name__)


class Trainee(ABC):
    """A model under training, as ``run_epochs`` sees it."""

    @abstractmethod
    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        """Train one epoch; yield the loss after each step (one step may be the whole epoch).

        Args:
            rng: the only source of randomness; a fresh stream for every epoch.
            epoch: number of the epoch, starting at 1.
        """

    @abstractmethod
    def state(self) -> Arrays:
        """Return the learned parameters by name; the loop keeps those of the best epoch."""

    @abstractmethod
    def restore(self, state: Arrays) -> None:
        """Load the arrays of ``state``; they may be used without a copy."""

    def optimiser_state(self) -> Arrays:
        """Return what else is needed to continue (momenta, step counts), by name."""
        return {}

    def restore_optimiser(self, state: Arrays) -> None:  # noqa: B027 - nothing to do by default
        """Load the arrays of ``optimiser_state``."""


@dataclass(frozen=True)
class Schedule:
    """Length of training and rules of early stopping.

    Attributes:
        epochs: maximum number of epochs; the exact number without validation.
        validate_every: number of epochs between validations; the last epoch is always validated.
        patience: validations without improvement before training stops.
        metric: name of the validation metric in logs; bigger is better.
    """

    epochs: int
    validate_every: int = 1
    patience: int = 5
    metric: str = "validation"


@dataclass
class TrainResult:
    """Chosen epoch and history of a training run.

    Attributes:
        best_epoch: the epoch whose parameters the trainee now holds.
        metric: validation metric of that epoch; None without validation.
        history: one row per epoch: epoch, loss, seconds, and the metric if it was measured.
    """

    best_epoch: int = 0
    metric: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)


def run_epochs(
    trainee: Trainee,
    schedule: Schedule,
    rng: np.random.Generator,
    *,
    validate: Callable[[], float] | None = None,
    folder: Path | None = None,
    settings: str = "",
    checkpoint_seconds: float = 30.0,
) -> TrainResult:
    """Train, then restore the parameters of the best epoch (the last one without validation).

    Args:
        trainee: a freshly initialised trainee (initialise it from ``rng`` before this call).
        schedule: epochs, validation interval, patience.
        rng: one draw from it seeds all epochs.
        validate: returns the metric of the trainee's current parameters; bigger is better.
        folder: folder of checkpoints and ``log.jsonl``; an unfinished run in it is resumed, a
            finished one is loaded without training.
        settings: everything the run depends on (configuration, data hash), as text; a checkpoint
            made with other settings is refused.
        checkpoint_seconds: minimum time between two checkpoints.

    Raises:
        ConfigError: the training diverges: the loss is not finite, or an epoch divides by 0.
        ArtefactError: the checkpoint in the folder belongs to another run or is damaged.
        UnsupportedError: this process was forked from one that had used warmstart.
    """
    check_process()
    seed = int(rng.integers(2**63))
    settings = f"{settings} seed={seed} {schedule}"
    checkpoint = Checkpoint()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = read_checkpoint(folder, settings) or checkpoint
        (folder / "log.jsonl").write_text("".join(_line(row) for row in checkpoint.history))
    if checkpoint.history:
        logger.info("resumed after epoch %d from %s", len(checkpoint.history), folder)
        trainee.restore(checkpoint.state)
        trainee.restore_optimiser(checkpoint.optimiser)
    saved = time.monotonic()
    with Progress(
        console=(console := Console(stderr=True)), disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(
            schedule.metric, total=schedule.epochs, completed=len(checkpoint.history)
        )
        while not _finished(checkpoint, schedule, validate is not None):
            row = _one_epoch(trainee, schedule, seed, len(checkpoint.history) + 1, validate)
            checkpoint.history.append(row)
            _warn_of_divergence(checkpoint.history)
            _keep_best(checkpoint, trainee, row, schedule, validate is not None)
            bar.update(task, advance=1, description=f"{schedule.metric} {_best(checkpoint)}")
            if folder is None:
                continue
            with (folder / "log.jsonl").open("a") as log:
                log.write(_line(row))
            done = _finished(checkpoint, schedule, validate is not None)
            if done or time.monotonic() - saved >= checkpoint_seconds:
                checkpoint.state, checkpoint.optimiser = trainee.state(), trainee.optimiser_state()
                write_checkpoint(folder, settings, checkpoint)
                saved = time.monotonic()
    if checkpoint.best_state:
        trainee.restore(checkpoint.best_state)
    return TrainResult(
        checkpoint.best_epoch or len(checkpoint.history), checkpoint.best_metric, checkpoint.history
    )


def _one_epoch(
    trainee: Trainee,
    schedule: Schedule,
    seed: int,
    epoch: int,
    validate: Callable[[], float] | None,
) -> dict[str, float]:
    started = time.perf_counter()
    loss = _loss_of_epoch(trainee, seed, epoch)
    row: dict[str, float] = {"epoch": epoch, "loss": loss}
    row["seconds"] = round(time.perf_counter() - started, 4)
    if validate is not None and (epoch % schedule.validate_every == 0 or epoch == schedule.epochs):
        row[schedule.metric] = float(validate())
    logger.info(", ".join(f"{name} {value:.4g}" for name, value in row.items()))
    return row


def _loss_of_epoch(trainee: Trainee, seed: int, epoch: int) -> float:
    """Train one epoch and return its mean loss.

    Raises:
        ConfigError: the loss is not finite, or a computation of the epoch overflows.
    """
    try:
        losses = list(trainee.epoch(np.random.default_rng([seed, epoch]), epoch))
        loss = math.fsum(losses) / max(len(losses), 1)
        problem = "" if math.isfinite(loss) else f"the loss is {loss}"
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        loss, problem = math.nan, str(error)
    if problem:
        raise ConfigError(
            f"training diverged: {problem} in epoch {epoch}; lower learning_rate, or choose other "
            "settings less extreme"
        )
    return loss


def _warn_of_divergence(history: list[dict[str, float]]) -> None:
    losses = [row["loss"] for row in history]
    if losses[-1] > 2 * min(losses) > 0:
        logger.warning(
            "training diverges: the loss is %.4g in epoch %d, up from %.4g; lower learning_rate",
            *(losses[-1], len(losses), min(losses)),
        )


def _keep_best(
    checkpoint: Checkpoint,
    trainee: Trainee,
    row: dict[str, float],
    schedule: Schedule,
    validated: bool,
) -> None:
    if not validated or schedule.metric not in row:
        return
    value = row[schedule.metric]
    if checkpoint.best_metric is None or value > checkpoint.best_metric:
        checkpoint.best_epoch, checkpoint.best_metric, checkpoint.validations_since_best = (
            int(row["epoch"]),
            value,
            0,
        )
        checkpoint.best_state = {name: np.array(array) for name, array in trainee.state().items()}
    else:
        checkpoint.validations_since_best += 1


def _finished(checkpoint: Checkpoint, schedule: Schedule, validated: bool) -> bool:
    return len(checkpoint.history) >= schedule.epochs or (
        validated and checkpoint.validations_since_best >= schedule.patience
    )


def _best(checkpoint: Checkpoint) -> str:
    if checkpoint.best_metric is None:
        return ""
    return f"best {checkpoint.best_metric:.4f} at {checkpoint.best_epoch}"


def _line(row: dict[str, float]) -> str:
    return json.dumps(row) + "\n"

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
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import Progress

from warmstart.errors import ConfigError
from warmstart.process import check_process
from warmstart.train.checkpoint import Arrays, Checkpoint, read_checkpoint, write_checkpoint
from warmstart.train.ranks import is_first_process

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Trainee(ABC):
    """A model under training, as ``run_epochs`` sees it."""

    @abstractmethod
    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        """Train one epoch; yield the loss after each step (one step may be the whole epoch).

        Args:
            rng: the only source of randomness; a fresh stream for every epoch.
            epoch: number of the epoch, starting at 1.
        """

    def end_epoch(self) -> None:  # noqa: B027 - nothing to do by default
        """Finish what ``epoch`` began; called after the last step of every epoch."""

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

    def agreed(self, value: T) -> T:
        """Return what the first process passes, if processes train together; else ``value``."""
        return value


@dataclass(frozen=True)
class Schedule:
    """Length of training and rules of early stopping.

    Attributes:
        epochs: maximum number of epochs; the exact number without validation.
        validate_every: number of epochs between validations; the last epoch is always validated.
        patience: validations without improvement before training stops. The start does not count,
            since training may get worse before it gets better.
        metric: name of the validation metric in logs; bigger is better.
        keep_start: the start is validated, as epoch 0, and kept if it is better than every epoch.
            At a tie the epoch is kept, so that a coarse metric does not undo the training. Without
            validation it has no effect.
    """

    epochs: int
    validate_every: int = 1
    patience: int = 5
    metric: str = "validation"
    keep_start: bool = False


@dataclass
class TrainResult:
    """Chosen epoch and history of a training run.

    Attributes:
        best_epoch: the epoch whose parameters the trainee now holds; 0 is the start.
        metric: validation metric of that epoch; None without validation.
        history: one row per epoch: epoch, loss, seconds, and the metric if it was measured. The row
            of the start, if it was validated, has no loss and no seconds.
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
    validated = validate is not None
    if not is_first_process():
        folder = None  # the first one keeps the checkpoints, and reads them for all
    settings = f"{settings} seed={seed} {schedule} validated={validated}"
    checkpoint = Checkpoint()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = read_checkpoint(folder, settings) or checkpoint
        (folder / "log.jsonl").write_text("".join(_line(row) for row in checkpoint.history))
    checkpoint, keeps = trainee.agreed((checkpoint, folder is not None))
    epoch = 0
    if checkpoint.history:
        epoch = int(checkpoint.history[-1]["epoch"])
        logger.info("resumed after epoch %d from %s", epoch, folder)
        trainee.restore(checkpoint.state)
        trainee.restore_optimiser(checkpoint.optimiser)
    saved = time.monotonic()
    with Progress(
        console=(console := Console(stderr=True)), disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(schedule.metric, total=schedule.epochs, completed=epoch)
        while not _finished(checkpoint, schedule, validated):
            epoch = _next_epoch(checkpoint, schedule, validated)
            row = _one_epoch(trainee, schedule, seed, epoch, validate)
            checkpoint.history.append(row)
            _warn_of_divergence(checkpoint.history)
            _keep_best(checkpoint, trainee, row, schedule, validated)
            bar.update(task, completed=epoch, description=f"{schedule.metric} {_best(checkpoint)}")
            if not keeps:
                continue
            if folder is not None:
                with (folder / "log.jsonl").open("a") as log:
                    log.write(_line(row))
            done = _finished(checkpoint, schedule, validated)
            if trainee.agreed(done or time.monotonic() - saved >= checkpoint_seconds):
                checkpoint.state, checkpoint.optimiser = trainee.state(), trainee.optimiser_state()
                if folder is not None:
                    write_checkpoint(folder, settings, checkpoint)
                saved = time.monotonic()
    if checkpoint.best_state:
        trainee.restore(checkpoint.best_state)
    best_epoch = checkpoint.best_epoch if validated else len(checkpoint.history)
    return TrainResult(best_epoch, checkpoint.best_metric, checkpoint.history)


def _one_epoch(
    trainee: Trainee,
    schedule: Schedule,
    seed: int,
    epoch: int,
    validate: Callable[[], float] | None,
) -> dict[str, float]:
    """Train one epoch, none for epoch 0; return its row of the history."""
    row: dict[str, float] = {"epoch": epoch}
    if epoch:
        started = time.perf_counter()
        row["loss"] = _loss_of_epoch(trainee, seed, epoch)
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
        trainee.end_epoch()
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
    losses = [row["loss"] for row in history if row["epoch"]]
    if losses and losses[-1] > 2 * min(losses) > 0:
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
    value, best = row[schedule.metric], checkpoint.best_metric
    if best is None or value > best or (value == best and checkpoint.best_epoch == 0):
        checkpoint.best_epoch, checkpoint.best_metric = int(row["epoch"]), value
        checkpoint.best_state = {name: np.array(array) for name, array in trainee.state().items()}


def _next_epoch(checkpoint: Checkpoint, schedule: Schedule, validated: bool) -> int:
    first = 0 if schedule.keep_start and validated else 1
    return first + len(checkpoint.history)


def _finished(checkpoint: Checkpoint, schedule: Schedule, validated: bool) -> bool:
    return _next_epoch(checkpoint, schedule, validated) > schedule.epochs or (
        validated
        and _validations_since_best(checkpoint.history, schedule.metric) >= schedule.patience
    )


def _validations_since_best(history: list[dict[str, float]], metric: str) -> int:
    values = [row[metric] for row in history if row["epoch"] and metric in row]
    return len(values) - 1 - values.index(max(values)) if values else 0


def _best(checkpoint: Checkpoint) -> str:
    if checkpoint.best_metric is None:
        return ""
    return f"best {checkpoint.best_metric:.4f} at {checkpoint.best_epoch}"


def _line(row: dict[str, float]) -> str:
    return json.dumps(row) + "\n"

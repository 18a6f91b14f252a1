"""The training loop: epochs, early stopping on a declared metric, checkpoints, resume.

What is trained is a ``Trainee``: one epoch at a time (a numba kernel, a graph model) or one batch
at a time (a language model), its arrays in and out. The loop owns everything else. The randomness
of an epoch depends on the seed and on the number of the epoch only, so a run that was killed and
resumed ends bit for bit where the unbroken run ends.
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
from warmstart.train.checkpoint import Arrays, Checkpoint, read_checkpoint, write_checkpoint

logger = logging.getLogger(__name__)


class Trainee(ABC):
    """Something that learns by epochs."""

    @abstractmethod
    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        """Train one epoch; give the loss after each step (one step may be the whole epoch).

        Args:
            rng: the only source of randomness; a fresh stream for every epoch.
            epoch: number of the epoch, from 1.
        """

    @abstractmethod
    def state(self) -> Arrays:
        """The learned parameters, by name; the best epoch's are kept."""

    @abstractmethod
    def restore(self, state: Arrays) -> None:
        """Take ``state`` back; its arrays may be used as they are."""

    def optimiser_state(self) -> Arrays:
        """What else is needed to continue (momenta, step counts), by name."""
        return {}

    def restore_optimiser(self, state: Arrays) -> None:  # noqa: B027 - nothing to do by default
        """Take ``optimiser_state`` back."""


@dataclass(frozen=True)
class Schedule:
    """How long to train.

    Attributes:
        epochs: the most epochs; exactly so many where there is no validation.
        validate_every: epochs from one validation to the next; the last epoch is always validated.
        patience: validations without a new best before training stops.
        metric: how the validation metric is called in logs; bigger is better.
    """

    epochs: int
    validate_every: int = 1
    patience: int = 5
    metric: str = "validation"


@dataclass
class TrainResult:
    """What came of training.

    Attributes:
        epochs: the epoch whose parameters the trainee now holds.
        metric: its validation metric; None without validation.
        history: one row an epoch: epoch, loss, seconds, and the metric where it was measured.
    """

    epochs: int = 0
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
    """Train, and leave the trainee with the parameters of its best epoch (the last without metric).

    Args:
        trainee: what is trained, freshly initialised (initialise from ``rng`` before this call).
        schedule: epochs, validation interval, patience.
        rng: one draw is taken from it as the seed of all epochs.
        validate: the metric of the trainee as it stands; bigger is better.
        folder: where checkpoints and ``log.jsonl`` go; an unfinished run there is resumed, a
            finished one is read back without training.
        settings: what the run depends on (configuration, data hash); a checkpoint made under
            other settings is refused.
        checkpoint_seconds: the least time between two checkpoints.

    Raises:
        ConfigError: the loss is no longer finite.
        ArtefactError: the folder holds a checkpoint of another run, or a damaged one.
    """
    seed = int(rng.integers(2**63))
    settings = f"{settings} seed={seed} {schedule}"
    at = Checkpoint()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        at = read_checkpoint(folder, settings) or at
        (folder / "log.jsonl").write_text("".join(_line(row) for row in at.history))
    if at.history:
        logger.info("resumed after epoch %d from %s", len(at.history), folder)
        trainee.restore(at.state)
        trainee.restore_optimiser(at.optimiser)
    saved = time.monotonic()
    with Progress(
        console=(console := Console(stderr=True)), disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(schedule.metric, total=schedule.epochs, completed=len(at.history))
        while not _finished(at, schedule, validate is not None):
            row = _one_epoch(trainee, schedule, seed, len(at.history) + 1, validate)
            at.history.append(row)
            _warn_of_divergence(at.history)
            _keep_best(at, trainee, row, schedule, validate is not None)
            bar.update(task, advance=1, description=f"{schedule.metric} {_best(at)}")
            if folder is None:
                continue
            with (folder / "log.jsonl").open("a") as log:
                log.write(_line(row))
            done = _finished(at, schedule, validate is not None)
            if done or time.monotonic() - saved >= checkpoint_seconds:
                at.state, at.optimiser = trainee.state(), trainee.optimiser_state()
                write_checkpoint(folder, settings, at)
                saved = time.monotonic()
    if at.best_state:
        trainee.restore(at.best_state)
    return TrainResult(at.best_epoch or len(at.history), at.best_metric, at.history)


def _one_epoch(
    trainee: Trainee,
    schedule: Schedule,
    seed: int,
    epoch: int,
    validate: Callable[[], float] | None,
) -> dict[str, float]:
    started = time.perf_counter()
    losses = list(trainee.epoch(np.random.default_rng([seed, epoch]), epoch))
    loss = math.fsum(losses) / max(len(losses), 1)
    if not math.isfinite(loss):
        raise ConfigError(
            f"training diverged: the loss is {loss} in epoch {epoch}; lower learning_rate"
        )
    row: dict[str, float] = {"epoch": epoch, "loss": loss}
    row["seconds"] = round(time.perf_counter() - started, 4)
    if validate is not None and (epoch % schedule.validate_every == 0 or epoch == schedule.epochs):
        row[schedule.metric] = float(validate())
    logger.info(", ".join(f"{name} {value:.4g}" for name, value in row.items()))
    return row


def _warn_of_divergence(history: list[dict[str, float]]) -> None:
    losses = [row["loss"] for row in history]
    if losses[-1] > 2 * min(losses) > 0:
        logger.warning(
            "training diverges: the loss is %.4g in epoch %d, it was %.4g; lower learning_rate",
            *(losses[-1], len(losses), min(losses)),
        )


def _keep_best(
    at: Checkpoint,
    trainee: Trainee,
    row: dict[str, float],
    schedule: Schedule,
    validated: bool,
) -> None:
    if not validated or schedule.metric not in row:
        return
    value = row[schedule.metric]
    if at.best_metric is None or value > at.best_metric:
        at.best_epoch, at.best_metric, at.stale = int(row["epoch"]), value, 0
        at.best_state = {name: np.array(array) for name, array in trainee.state().items()}
    else:
        at.stale += 1


def _finished(at: Checkpoint, schedule: Schedule, validated: bool) -> bool:
    return len(at.history) >= schedule.epochs or (validated and at.stale >= schedule.patience)


def _best(at: Checkpoint) -> str:
    return "" if at.best_metric is None else f"best {at.best_metric:.4f} at {at.best_epoch}"


def _line(row: dict[str, float]) -> str:
    return json.dumps(row) + "\n"

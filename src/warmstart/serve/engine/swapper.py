"""Swapping models: a model is tried, announced to every replica, loaded beside the old one."""

import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

import structlog

from warmstart.artefact import read_manifest
from warmstart.errors import ConfigError, WarmstartError
from warmstart.serve.engine import metrics
from warmstart.serve.engine.deployment import Deployment, Loader
from warmstart.serve.engine.encoder import Encoder
from warmstart.serve.engine.follower import Follower
from warmstart.serve.engine.ids import KINDS, IdKind, integer_kinds
from warmstart.serve.settings import Settings
from warmstart.serve.storage.store import Store

log = structlog.get_logger("warmstart.serve")

_TRIAL_SECONDS = 1800  # to load a model and to compute a list with it


class SwapStoppedError(Exception):
    """The service stops, and with it the swap."""


class Swapper:
    """Follows the announced models.

    Args:
        store: the store.
        settings: settings of the service.
        loader: loads models.
        encoder: encodes the items of the store by a new model.
        follower: brings later changes into a new index.
        started_with: hash of the model that the command line named.
        is_stopping: whether the service stops.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        loader: Loader,
        encoder: Encoder,
        follower: Follower,
        *,
        started_with: str,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._store, self._settings, self._loader = store, settings, loader
        self._encoder, self._follower = encoder, follower
        self._started_with, self._is_stopping = started_with, is_stopping
        self.swapping: str | None = None
        self.handled = 0  # number of the last announcement that was handled

    # -- announcing --

    def announce(self, folder: str, served: Deployment) -> None:
        """Try a model in a process of its own, then announce it to every replica.

        Args:
            folder: path of the artefact, relative to ``models_folder``.
            served: what is served now.

        Raises:
            ConfigError: swapping is disabled, the folder is not below ``models_folder``, its ids
                are of another type than those in the store, or the model failed the trial.
            ArtefactError: the folder contains no artefact.
        """
        try:
            self.try_model(self.check(folder, served))
        except WarmstartError as error:
            # Whoever may swap models need not learn where the server keeps them.
            error.args = (str(error).replace(f"{self._settings.models_folder}/", ""),)
            raise
        self._store.models.announce(folder, self._started_with)

    def check(self, folder: str, served: Deployment) -> Path:
        """Return the path of a model that may be swapped in.

        Raises:
            ConfigError: see ``announce``.
            ArtefactError: the folder contains no artefact.
        """
        models = self._settings.models_folder
        if models is None:
            raise ConfigError(
                "swapping models is disabled: set models_folder to the folder of the models"
            )
        try:
            path = (models / folder).resolve()
            if not path.is_relative_to(models.resolve()):
                raise ConfigError(f"the model must be below models_folder, got {folder!r}")
            read_manifest(path)
            self._check_id_types(folder, integer_kinds(path), served)
        except OSError as error:  # the name is too long, or the folder is not readable
            raise ConfigError(f"model {folder!r} cannot be read: {error.strerror}") from None
        return path

    def _check_id_types(self, folder: str, integer: Collection[IdKind], served: Deployment) -> None:
        """Refuse a model by which the ids in the store would become ids of another type."""
        for kind in KINDS:
            if (kind in integer) == served.ids(kind).is_integer or not self._store.items.has_ids():
                continue
            new, old = ("integers", "text") if kind in integer else ("text", "integers")
            raise ConfigError(
                f"the {kind} ids of the model {folder!r} are {new}, those of the served model are "
                f"{old}, and the store has items or interactions; serve it with a new store"
            )

    def try_model(self, path: Path) -> None:
        """Load a model in a process of its own: if it crashes, the service goes on.

        Raises:
            ConfigError: the model cannot be loaded or used; the message has the reason.
        """
        command = [sys.executable, "-m", "warmstart.serve.engine.trial"]
        settings = self._settings.model_copy(update={"model": path})
        try:
            done = subprocess.run(
                command,
                input=settings.model_dump_json(),
                capture_output=True,
                text=True,
                timeout=_TRIAL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ConfigError(
                f"model {path.name!r} cannot be served: it was not loaded after {_TRIAL_SECONDS} s"
            ) from None
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            reason = lines[-1] if lines else f"the process ended with status {done.returncode}"
            raise ConfigError(f"model {path.name!r} cannot be served: {reason}")

    # -- swapping --

    def next_model(self, served: Deployment) -> Deployment | None:
        """Load the announced model, if there is a new one; None if there is none, or it fails."""
        latest = self._store.models.in_force(self._started_with)
        if latest is None or latest.number <= self.handled:
            return None
        try:
            return self.load(latest.folder, served)
        except SwapStoppedError:
            return None
        except Exception:
            log.exception("model not swapped", folder=latest.folder)
            metrics.FAILED_SWAPS.inc()
            return None
        finally:
            self.handled = latest.number

    def load(self, folder: str, served: Deployment) -> Deployment | None:
        """Load a model and bring its index up to date with the served one.

        Returns:
            The deployment; None if the model is the served one.

        Raises:
            WarmstartError: the model may not be swapped in, or cannot be loaded.
            SwapStoppedError: the service stops.
        """
        path, batch = self.check(folder, served), self._settings.encode_batch_size
        self.swapping, started = folder, time.perf_counter()
        try:
            loaded = self._loader.load(path)
            if loaded[1] == served.model_hash:
                return None
            new = self._loader.deploy(path, loaded, self._store, started)
            missing = self._store.encodings.missing(new.model_hash)  # the encoder does later items
            for start in range(0, len(missing), batch):
                if self._is_stopping():
                    raise SwapStoppedError
                self._encoder.encode(new, missing[start : start + batch], is_served=False)
            while changes := self._store.changes.after(new.last_change):
                self._follower.apply(new, changes, is_served=False)
                new.last_change = changes[-1].number
            while self._follower.record(new):
                pass
            integer: set[IdKind] = {kind for kind in KINDS if new.ids(kind).is_integer}
            self._check_id_types(folder, integer, served)  # again: the store may have got items
        finally:
            self.swapping = None
        log.info("model swapped", folder=folder)
        return new

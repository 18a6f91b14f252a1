"""Connect to a Ray cluster that runs already, or start Ray on this machine alone."""

import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from warmstart.errors import ConfigError, UnsupportedError, missing_extra
from warmstart.machine import available_cores
from warmstart.version import __version__

logger = logging.getLogger(__name__)

LOCAL = "local"
_SECONDS = 10  # to reach the address
_CORES_OF_A_WORKER = 4
_ENVIRONMENT = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # errors are raised; logs would stand among the progress
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the default of later versions; avoids a warning
}


@dataclass(frozen=True)
class Place:
    """Where a worker is started.

    Attributes:
        node: Ray's id of the machine.
        threads: cores of the worker.
        gpus: 1 if it has a GPU for itself, else 0.
    """

    node: str
    threads: int
    gpus: int = 0


@contextmanager
def cluster(address: str, workers: int | None = None) -> Iterator[list[Place]]:
    """Connect to Ray inside the block, where whatever is printed goes to stderr.

    Args:
        address: HOST:PORT of a cluster of which this machine is a part, or "local", which starts
            Ray on this machine and ends it after the block.
        workers: how many workers there will be on all machines together; None means one for each
            GPU, or, without any, for every four cores, and at least one on each machine.

    Yields:
        The places of the workers.

    Raises:
        ConfigError: the address is malformed or cannot be reached, or there are no cores.
        UnsupportedError: the extra ``ray`` is not installed, or a machine has another version of
            warmstart, Ray or Python, or lacks warmstart.
    """
    host, _, port = address.rpartition(":")
    if address != LOCAL and not (host and port.isdecimal()):
        raise ConfigError(f"--ray {address!r}; allowed: HOST:PORT of a Ray cluster, or {LOCAL}")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if address == LOCAL and "RAY_AUTH_MODE" not in os.environ:
        # Otherwise Ray writes a token into the home folder, which then applies to other clusters.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray
    except ImportError:
        raise missing_extra("ray", "ray") from None
    # Ray prints that a worker died; stdout is for results.
    with redirect_stdout(sys.stderr):
        try:
            _connect(ray, address)
            machines = [node for node in ray.nodes() if node["Alive"]]
            machines = _of_this_version(ray, machines)
            yield places([(node["NodeID"], node["Resources"]) for node in machines], workers)
        finally:
            ray.shutdown()


def places(machines: list[tuple[str, dict[str, float]]], workers: int | None) -> list[Place]:
    """Spread workers over machines, each given as Ray's id and resources; see ``cluster``.

    Raises:
        ConfigError: no machine has a core.
    """
    usable = [(node, int(has["CPU"]), int(has.get("GPU", 0))) for node, has in machines
              if has.get("CPU", 0) >= 1]  # fmt: skip
    if not usable:
        raise ConfigError("--ray: no machine of the cluster has a core for a worker")
    if workers is None and any(gpus for *_, gpus in usable):
        return [
            Place(node, max(1, cores // gpus), 1)
            for node, cores, gpus in usable
            for _ in range(gpus)
        ]
    if workers is None:
        counts = [max(1, cores // _CORES_OF_A_WORKER) for _, cores, _ in usable]
    else:
        counts = [(workers + len(usable) - 1 - number) // len(usable)
                  for number in range(len(usable))]  # fmt: skip
    return [
        Place(node, max(1, cores // count))
        for (node, cores, _), count in zip(usable, counts, strict=True)
        for _ in range(count)
    ]


def _connect(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        ray.init("local", num_cpus=available_cores(), include_dashboard=False, **quiet)
        return
    host, _, port = address.rpartition(":")
    try:  # Ray itself repeats for half a minute, with many lines
        socket.create_connection((host, int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--ray {address}: no Ray cluster can be reached: {error}") from None
    try:
        ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if "ersion mismatch" in str(error):
            raise UnsupportedError(f"--ray {address}: {error}") from None
        raise ConfigError(
            f"--ray {address}: {error}; a cluster that asks for a token needs RAY_AUTH_MODE=token "
            "and its RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH here too"
        ) from None


def _of_this_version(ray: Any, machines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Check that machines have the warmstart of this process; leaves out those that are gone.

    Ray takes some seconds to notice that a machine is gone, and lists it until then.
    """

    def version() -> str | None:  # a local function travels as code, so it needs no warmstart there
        try:
            from warmstart.version import __version__
        except ImportError:
            return None
        return __version__

    tasks = [
        ray.remote(version)
        .options(num_cpus=0, scheduling_strategy=on_node(node["NodeID"], soft=False))
        .remote()
        for node in machines
    ]
    answered = []
    for node, task in zip(machines, tasks, strict=True):
        address = node["NodeManagerAddress"]
        try:
            found = ray.get(task)
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.TaskUnschedulableError):
            logger.warning("--ray: machine %s of the cluster does not answer: left out", address)
            continue
        if found != __version__:
            has = "no warmstart" if found is None else f"warmstart {found}"
            raise UnsupportedError(
                f"--ray: machine {address} of the cluster has {has}, this process has "
                f"{__version__}; install the same version on all machines"
            )
        answered.append(node)
    return answered


def on_node(node: str, *, soft: bool = True) -> Any:
    """The strategy that starts work on a machine, or if ``soft``, on another one if it is gone."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=soft)

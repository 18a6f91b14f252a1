"""Divide pieces of work among actors of Ray; what a killed one was doing is done again.

Ray starts a killed actor again, on another machine if its own is gone, sends it what it was made
of, and repeats the pieces that it had. A piece that ends every worker is given up after some
attempts, since it will hardly ever fit into memory. Until Ray has noticed that a machine is gone,
its workers only cannot be reached; such pieces are handed over again for some minutes.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from warmstart.distributed.cluster import Place, on_node
from warmstart.errors import UnsupportedError, WarmstartError

_AHEAD = 2  # pieces that a worker has: one in work, one that waits
_REPEATS = 3  # of a piece whose worker was killed
_PAUSE = 1.0  # seconds between attempts to reach a worker
_PATIENCE = 300.0  # seconds until a worker that cannot be reached is given up


def start_actors(kind: type, places: Sequence[Place], sent: Sequence[Any]) -> list[Any]:
    """Start an actor at each place.

    Args:
        kind: the class; it is made with the threads and the GPUs of its place, and a list with what
            was sent to it, see ``received``.
        places: where.
        sent: references of what each actor is made of; whoever starts the actors has to keep them,
            since an actor that is started again needs them again.
    """
    import ray

    remote = ray.remote(kind)
    return [
        # No core is reserved: after the loss of a machine, its workers find room on those that are
        # left.
        remote.options(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=_REPEATS,
            num_gpus=place.gpus,
            scheduling_strategy=on_node(place.node),
        ).remote(place.threads, place.gpus, [own])
        for place, own in zip(places, sent, strict=True)
    ]


def received(sent: list[Any]) -> Any:
    """What was sent to an actor; arrays are read-only, and shared by the actors of a machine."""
    import ray

    return ray.get(sent[0])


def spread(
    kind: type, places: Sequence[Place], sent: Any, pieces: Iterable[tuple]
) -> Iterator[tuple[int, Any]]:
    """Let one actor at each place do pieces of work by its method ``work``.

    Args:
        kind: see ``start_actors``.
        places: where.
        sent: a reference of what all actors are made of.
        pieces: the arguments of ``work``; taken as workers get free, so that few exist at a time.

    Yields:
        The number of a piece and its result, as they are finished.

    Raises:
        WarmstartError: raised by a worker.
        UnsupportedError: a piece ended every worker that tried it.
    """
    import ray

    waiting = enumerate(pieces)
    actors = start_actors(kind, places, [sent] * len(places))
    running: dict[Any, tuple[int, tuple, Any]] = {}

    def submit(actor: Any) -> None:
        for number, piece in islice(waiting, 1):
            running[actor.work.remote(*piece)] = (number, piece, actor)

    for actor in actors * _AHEAD:
        submit(actor)
    while running:
        finished = ray.wait(list(running), num_returns=1)[0][0]
        number, piece, actor = running.pop(finished)
        result = result_of(finished, partial(actor.work.remote, *piece))
        submit(actor)
        yield number, result


def result_of(reference: Any, again: Callable[[], Any]) -> Any:
    """Wait for the result of a task.

    Args:
        reference: of the result.
        again: hands the task over again, and returns the new reference; called if a worker could
            not be reached.

    Raises:
        WarmstartError: raised by the task.
        UnsupportedError: the task ended every worker that tried it, or a worker could not be
            reached for minutes.
    """
    import ray
    from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

    ends = time.monotonic() + _PATIENCE
    while True:
        try:
            return ray.get(reference)
        except RayError as error:
            # The cause of a task's error is what it raised, or what befell a task that it needs.
            cause = error.cause if isinstance(error, RayTaskError) else error
            if isinstance(cause, WarmstartError):
                raise cause from None
            if not isinstance(cause, RayError):
                raise
            if not isinstance(cause, ActorUnavailableError) or time.monotonic() > ends:
                raise _lost(cause) from None
        time.sleep(_PAUSE)
        reference = again()


def _lost(error: Exception) -> UnsupportedError:
    return UnsupportedError(
        f"--ray: a worker was lost {_REPEATS + 1} times at the same work; it may need more memory "
        f"than there is, for fewer workers of a machine see --workers. Ray says: {error}"
    )

"""What requests for lists have in common, as an index takes it."""

from collections.abc import Sequence
from typing import Any

from warmstart.data.control import Control
from warmstart.data.ids import ExternalId
from warmstart.serve.api.convert import internal_names
from warmstart.serve.api.problems import Problem
from warmstart.serve.api.schemas import ListOptions
from warmstart.serve.engine.lists import ControlError
from warmstart.serve.engine.service import Service

_MAX_CONTROLLED_K = 100  # the time of the search for a number of genres grows with k


def check_k(service: Service, body: ListOptions) -> None:
    """Check the length of a list.

    Raises:
        Problem: it is above ``max_k``, or that of lists under a control.
    """
    limit, under = service.settings.max_k, ""
    if _control(body) is not None and limit > _MAX_CONTROLLED_K:
        limit, under = _MAX_CONTROLLED_K, " with a control"
    if body.k > limit:
        raise Problem(422, f"k may be at most {limit}{under}", pointer="#/k", seen=body.k)


def uncontrolled(body: ListOptions, error: ControlError) -> Problem:
    """The problem that no list is as the control of a request asks."""
    assert body.control is not None
    seen = body.control.model_dump(mode="json", exclude_defaults=True)
    return Problem(422, str(error), pointer="#/control", seen=seen)


def _control(body: ListOptions) -> Control | None:
    """The control of a request; None if it asks for nothing."""
    return body.control if body.control is not None and body.control.wishes else None


def list_options(service: Service, body: ListOptions) -> dict[str, Any]:
    """Fields of a ``ListRequest``, with internal names.

    Raises:
        Problem: an id is malformed, or does not have the type of the model's ids.
    """

    def names(given: Sequence[ExternalId] | None, pointer: str) -> tuple[str, ...] | None:
        return None if given is None else tuple(internal_names(service, given, pointer))

    return {
        "history": names(body.history, "#/history/{}"),
        "k": body.k,
        "allow": names(body.allow, "#/allow/{}"),
        "deny": names(body.deny, "#/deny/{}") or (),
        "cold_share_min": body.cold_share_min,
        "cold_share_max": body.cold_share_max,
        "explain": body.explain,
        "control": _control(body),
    }

"""What requests for lists have in common, as an index takes it."""

from collections.abc import Sequence
from typing import Any

from warmstart.data.ids import ExternalId
from warmstart.serve.api.convert import internal_names
from warmstart.serve.api.problems import Problem
from warmstart.serve.api.schemas import ListOptions
from warmstart.serve.engine.service import Service


def check_k(service: Service, body: ListOptions) -> None:
    """Check the length of a list.

    Raises:
        Problem: it is above ``max_k``.
    """
    if body.k > service.settings.max_k:
        allowed = f"k may be at most {service.settings.max_k}"
        raise Problem(422, allowed, pointer="#/k", seen=body.k)


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
    }

"""The error that the client raises."""

from collections.abc import Sequence
from typing import Any

from warmstart.errors import WarmstartError


class ServiceError(WarmstartError):
    """The service refused a request, failed to serve it, or did not answer.

    Args:
        detail: the service's description of the problem.
        status: HTTP status; None without a response.
        errors: one mapping for each wrong field, with "pointer", "detail" and "seen".
        request_id: the request's name in the log of the service; None without a response.
        retry_after: seconds to wait before another attempt, if the service gave a number.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        errors: Sequence[dict[str, Any]] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        fields = "; ".join(f"{error.get('pointer')}: {error.get('detail')}" for error in errors)
        code = "" if status is None else f"{status}: "
        super().__init__(f"{code}{detail}" + (f" ({fields})" if fields else ""))
        self.status, self.detail, self.errors = status, detail, tuple(errors)
        self.request_id, self.retry_after = request_id, retry_after

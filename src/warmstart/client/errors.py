"""What the client raises."""

from collections.abc import Sequence
from typing import Any

from warmstart.errors import WarmstartError


class ServiceError(WarmstartError):
    """The service refused a request, failed at it, or did not answer.

    Args:
        detail: what is wrong, as the service says it.
        status: of HTTP; None where nothing answered.
        errors: one mapping a wrong field: "pointer", "detail", "seen".
        request_id: names the request in the log of the service; None where nothing answered.
        retry_after: seconds after which the service asks to be tried again.
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

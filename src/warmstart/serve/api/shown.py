"""Items in responses."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from warmstart.data.ids import ExternalId
from warmstart.serve.api.convert import external_id
from warmstart.serve.engine.lists import Hit
from warmstart.serve.engine.service import Service


class Shown:
    """Shows items with external ids, and with the columns that the request asked for.

    Args:
        service: service that has the items.
        columns: names of the columns.
    """

    def __init__(self, service: Service, columns: Sequence[str]) -> None:
        self._index, self._columns = service.deployment.index, list(columns)
        self._to_external: Callable[[str], ExternalId] = external_id(service)

    def item(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row of an item, whose "item" is its internal name."""
        shown = {**row, "item": self._to_external(row["item"])}
        if self._columns:
            shown["columns"] = self.columns(row["item"])
        return shown

    def columns(self, name: str) -> dict[str, Any]:
        """The columns of an item."""
        return self._index.columns(name, self._columns)


def recommended(hit: Hit, shown: Shown) -> dict[str, Any]:
    """One item of a list."""
    evidence = hit.evidence
    if evidence is not None:
        similar = [shown.item(one) for one in evidence["similar_in_history"]]
        evidence = {**evidence, "similar_in_history": similar}
    return shown.item(
        {
            "item": hit.item,
            "score": hit.score,
            "rank": hit.rank,
            "is_cold": hit.is_cold,
            "evidence": evidence,
            "columns": None,
        }
    )

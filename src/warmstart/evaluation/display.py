"""Results that show themselves as a table: printed, in a terminal with colours, in a notebook."""

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

_WIDTH = 160  # characters; wide enough for two metrics of three slices


class ShownAsTable(ABC):
    """A result whose ``repr`` is its table."""

    @abstractmethod
    def table(self, metrics: Sequence[str] | None = None) -> Table:
        """Build the table; of some metrics only if they are given."""

    def text(self, metrics: Sequence[str] | None = None, width: int = _WIDTH) -> str:
        """Format ``table`` as plain text, at most ``width`` characters wide."""
        out = io.StringIO()
        Console(file=out, width=width, color_system=None).print(self.table(metrics))
        return out.getvalue()

    def __repr__(self) -> str:
        return self.text()

    def __rich__(self) -> Table:
        return self.table()

    def _repr_html_(self) -> str:
        console = Console(file=io.StringIO(), width=_WIDTH, record=True)
        console.print(self.table())
        return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")

"""The methods of docs/adding-a-method.md, importable, so that other processes can load them too."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"

for _code in re.findall(
    r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
):
    if "class " in _code:  # the others use the methods
        exec(compile(_code, PAGE.name, "exec"))

"""The contract: what every recommender must do, as named checks in a world with a known answer.

For a method of one's own, in a test::

    def test_my_method(tmp_path):
        run_contract(MyMethod, {"width": 8, "epochs": 20}, folder=tmp_path)

Give settings that learn the toy world (48 users, 65 items) in a moment. The class must be
importable in another process. Every check is a function of a ``Case``; the first word of its name
is the group.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from warmstart.core import Recommender
from warmstart.methods import METHODS
from warmstart.testing.case import Fixtures
from warmstart.testing.checks import abilities, answers, fits, honesty, shared, state

CHECKS = {
    name: check
    for module in (fits, answers, state, abilities, honesty)
    for name, check in shared.CHECKS.items()
    if check.run.__module__ == module.__name__
}
"""All checks by name, in the order of the groups."""


def run_contract(
    cls: type[Recommender], settings: Mapping[str, Any] | None = None, *, folder: Path
) -> None:
    """Run all checks on one method.

    Args:
        cls: an importable recommender.
        settings: for its configuration.
        folder: an empty folder for models and checkpoints.

    Raises:
        ExceptionGroup: the checks that fail, each noted with its name.
    """
    failures: list[Exception] = []
    with patch.dict(METHODS, {cls.name: f"{cls.__module__}:{cls.__qualname__}"}):
        case = Fixtures(folder).case(cls, settings)
        for name, check in CHECKS.items():
            try:
                check.run(case)
            except Exception as error:  # noqa: BLE001 - whatever a method raises is its failure
                error.add_note(f"in the check {name}")
                failures.append(error)
    if failures:
        raise ExceptionGroup(f"{cls.name} fails {len(failures)} of {len(CHECKS)} checks", failures)

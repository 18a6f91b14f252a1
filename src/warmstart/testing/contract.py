"""The contract of recommenders, as named checks on toy data whose ideal ranking is known.

To check your own method, write a test::

    def test_my_method(tmp_path):
        run_contract(MyMethod, {"width": 8, "epochs": 20}, folder=tmp_path)

Choose settings that learn the toy data (48 users, 65 items) within a second or so. The class must
be importable in another process. A check is a function of a ``Case``; the first word of its name is
its group.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from warmstart.core import Recommender
from warmstart.methods import METHODS
from warmstart.testing.case import Fixtures
from warmstart.testing.checks import (
    abilities,
    control,
    dialogues,
    fits,
    labels,
    leakage,
    order,
    queries,
    ranking,
    serving,
    shared,
    state,
)

_GROUPS = (
    *(fits, ranking, queries, state, abilities, serving, leakage),
    *(order, control, dialogues, labels),
)
CHECKS = {
    name: check
    for module in _GROUPS
    for name, check in shared.CHECKS.items()
    if check.run.__module__ == module.__name__
}
"""All checks by name, group by group."""


def run_contract(
    cls: type[Recommender], settings: Mapping[str, Any] | None = None, *, folder: Path
) -> None:
    """Run all checks on one method.

    Args:
        cls: an importable recommender.
        settings: nested values of its configuration; the defaults if None.
        folder: an empty folder for models and checkpoints.

    Raises:
        ExceptionGroup: one exception per failed check, with the name of the check as a note.
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

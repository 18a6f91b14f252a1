"""Every awkward value means the same through every door: one table, all ways in."""

import warnings

import numpy as np
import pytest

from tests.doors.doors import (
    ADDING,
    NAMING,
    READING,
    TALKING,
    CannotCarry,
    path_door,
    service_door,
)
from tests.doors.table import TABLE, Awkward, Refused
from warmstart.errors import DataWarning, WarmstartError

OF_KIND = {
    "id": {**READING, **ADDING, **NAMING, **TALKING},
    "text": {**READING, **ADDING, **TALKING},
    "list": {**READING, **ADDING},
    "number": READING,
    "time": READING,
    "released": {**READING, **ADDING},
}
CASES = [pytest.param(awkward, id=f"{n:03d} {awkward.name}") for n, awkward in enumerate(TABLE)]


def expected(awkward: Awkward):
    if awkward.kind == "number" and isinstance(awkward.meaning, int):
        return float(np.float32(min(awkward.meaning, float(np.finfo(np.float32).max))))
    return awkward.meaning


def outcome(door, *arguments):
    """What a door makes of a value; ``Refused`` with the message; None where it cannot carry it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            return True, door(*arguments)
        except WarmstartError as error:
            return True, error
        except CannotCarry:
            return False, None


def problem(awkward: Awkward, found) -> str:
    """How an outcome differs from the table; "" if it does not."""
    wanted = expected(awkward)
    if isinstance(wanted, Refused):
        if not isinstance(found, WarmstartError):
            return f"made {found!r} of it; it is to be refused"
        return "" if wanted.words in str(found) else f"{wanted.words!r} is not in: {found}"
    if isinstance(found, WarmstartError):
        return f"refused: {found}"
    same = type(found) is type(wanted) and found == wanted
    return "" if same else f"made {found!r} of it; it means {wanted!r}"


@pytest.mark.parametrize("awkward", CASES)
def test_a_value_means_the_same_through_every_door(awkward, tmp_path):
    problems, carried = [], 0
    for number, (name, door) in enumerate(OF_KIND[awkward.kind].items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        can_carry, found = outcome(door, awkward, folder)
        carried += can_carry
        if can_carry and (what := problem(awkward, found)):
            problems.append(f"{name}: {what}")
    assert not problems, "\n".join(problems)
    assert carried >= 3, f"only {carried} doors can carry it"


SERVED = [case for case in CASES if case.values[0].kind in ("id", "text", "list")]


def test_a_value_means_the_same_to_the_service(running):
    """One running service takes all values of the table, through three doors."""
    service = running.app.state.service
    problems, carried = [], 0
    doors = {
        "API": lambda awkward: service_door(running, service, awkward, client=False),
        "client": lambda awkward: service_door(running, service, awkward, client=True),
        "path": lambda awkward: path_door(running, service, awkward),
    }
    for case in SERVED:
        (awkward,) = case.values
        for name, door in doors.items():
            if name == "path" and awkward.kind != "id":
                continue
            can_carry, found = outcome(door, awkward)
            carried += can_carry
            meaning = awkward.meaning
            if awkward.kind == "id" and isinstance(meaning, int):
                meaning = Refused("ids of this model are text")
            shown = Awkward(awkward.kind, awkward.value, awkward.cell, meaning)
            if can_carry and (what := problem(shown, found)):
                problems.append(f"{case.id}, {name}: {what[:300]}")
    assert not problems, "\n".join(problems)
    assert carried > 150

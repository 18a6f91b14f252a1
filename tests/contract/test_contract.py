"""Every method against every check; over the other backbones, the checks that share one fit."""

import pytest

from warmstart.methods import METHODS
from warmstart.testing.contract import CHECKS
from warmstart.testing.small import OVER_BACKBONES, SMALL

# (case, check) -> why it fails for now; a check that passes after all is an error here.
KNOWN_GAPS: dict[tuple[str, str], str] = {}


def pairs():
    for name in (*SMALL, *OVER_BACKBONES):
        for check in CHECKS:
            if name in SMALL or not CHECKS[check].dear:
                gap = KNOWN_GAPS.get((name, check))
                marks = [] if gap is None else [pytest.mark.xfail(reason=gap, strict=True)]
                yield pytest.param(name, check, marks=marks, id=f"{name}-{check}")


@pytest.mark.parametrize(("name", "check"), list(pairs()))
def test_contract(name, check, lab):
    CHECKS[check].run(lab.cases[name])


def test_every_method_has_small_settings():
    assert {name.partition("/")[0] for name in SMALL} == set(METHODS)


def test_known_gaps_name_cases_and_checks():
    assert {name for name, _ in KNOWN_GAPS} <= {*SMALL, *OVER_BACKBONES}
    assert {check for _, check in KNOWN_GAPS} <= set(CHECKS)

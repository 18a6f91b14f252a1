"""Evaluation: what a number is, what it depends on, and whether it means anything.

- ``evaluation``: ``evaluate`` ranks every slice of a split and gives a ``Report``
- ``facts``: what all numbers of a report depend on, known defects included
- ``strata``: exposure, calibration of cold against warm, user and item degrees
- ``significance``: bootstrap intervals, randomisation test, Holm, detectable effect
- ``simulation``: quality of simulated interactions, with controls
- ``compare``: several Reports to one ``Comparison``; ``comparison``: that table, JSON, text
- ``report``, ``plots``: the HTML page

Masking, top-k and the metric formulas are one layer below, in ``warmstart.rank``.
"""

import sys
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    """Makes ``warmstart.evaluate(model, split)`` the function of this package's name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from warmstart.evaluate.evaluation import evaluate

        return evaluate(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule

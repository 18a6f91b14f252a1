"""Every error that warmstart raises on purpose.

WarmstartError
├── ConfigError        a parameter or configuration file is wrong
├── DataError          an input file, frame, id or split is wrong
├── NotFittedError     a recommender is used before ``fit``
├── UnsupportedError   the method (see its Traits), process or installation cannot do this
└── ArtefactError      a saved artefact is missing, corrupt, foreign or from another version

A message names the method, file or parameter, the value seen, what is allowed and what to do.
"""

from typing import Any


class WarmstartError(Exception):
    """Base of every error that warmstart raises on purpose."""


class ConfigError(WarmstartError):
    """A parameter or a configuration file is wrong."""


class DataError(WarmstartError):
    """An input file, frame, id or split is wrong."""


class NotFittedError(WarmstartError, AttributeError):
    """A recommender is used before ``fit`` or ``load``.

    It is also an AttributeError, so that ``hasattr``, ``copy`` and notebooks can look up missing
    attributes of a recommender that is not fitted.
    """


class UnsupportedError(WarmstartError):
    """The method, the process or the installation does not support the operation."""


class ArtefactError(WarmstartError):
    """A saved artefact is missing, corrupt, foreign or from another version."""


class DataWarning(UserWarning):
    """The data can be read, but probably contain a mistake."""


def shortened(value: Any) -> str:
    """Represent a value in an error message, in at most about 200 characters."""
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} within many others"
    return text if len(text) <= 200 else f"{text[:200]}..."


def missing_extra(package: str, extra: str) -> UnsupportedError:
    """Build the error for an optional dependency that is not installed."""
    return UnsupportedError(
        f"the package {package!r} is not installed; "
        f"install it with: pip install 'warmstart[{extra}]'"
    )

"""Every error that warmstart raises on purpose.

WarmstartError
├── ConfigError        a parameter or configuration file is wrong
├── DataError          an input file, frame, id or split is wrong
├── NotFittedError     a recommender is used before ``fit``
├── UnsupportedError   the method cannot do what was asked (its Traits say so)
└── ArtefactError      a saved artefact is missing, corrupt, foreign or from another version

A message names who complains, the value seen, what is allowed and what to do.
"""


class WarmstartError(Exception):
    """Base of every error that warmstart raises on purpose."""


class ConfigError(WarmstartError):
    """A parameter or a configuration file is wrong."""


class DataError(WarmstartError):
    """An input file, frame, id or split is wrong."""


class NotFittedError(WarmstartError, AttributeError):
    """A recommender is used before ``fit`` or ``load``.

    It is an AttributeError too, so that ``hasattr``, ``copy`` and notebooks can ask a recommender
    that is not fitted for what it does not have.
    """


class UnsupportedError(WarmstartError):
    """The method cannot do what was asked."""


class ArtefactError(WarmstartError):
    """A saved artefact is missing, corrupt, foreign or from another version."""


class DataWarning(UserWarning):
    """The data can be read, but something about them is probably not meant."""


def missing_extra(package: str, extra: str) -> UnsupportedError:
    """The error for an optional dependency that is not installed."""
    return UnsupportedError(
        f"the package {package!r} is not installed; "
        f"install it with: pip install 'warmstart[{extra}]'"
    )

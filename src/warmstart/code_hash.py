"""Hash of the code that a result depends on, so that unrelated edits keep finished results."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import grimp

# They name methods without importing them, or hold the version: no result depends on their text.
_WITHOUT_EFFECT = {"warmstart", "warmstart.methods", "warmstart.version"}


def code_hash(roots: Iterable[str], package: str = "warmstart") -> str:
    """Compute the sha256 of modules and of all modules that they import, directly or not.

    Imports inside functions count; imports for type checkers only do not.

    Args:
        roots: names of modules of the package.
        package: the top-level package; modules of others are left out.
    """
    graph = _import_graph(package)
    modules = set(roots)
    for root in tuple(modules):
        modules |= graph.find_upstream_modules(root)
    digest = hashlib.sha256()
    for name in sorted(modules - _WITHOUT_EFFECT):
        digest.update(name.encode() + b"\0" + _source(name).read_bytes())
    return digest.hexdigest()


@lru_cache
def _import_graph(package: str) -> grimp.ImportGraph:
    return grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)


def _source(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return Path(spec.origin)

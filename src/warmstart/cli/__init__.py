"""The command line: one file per command, each a thin layer over the library.

Results go to stdout, progress, warnings and problems to stderr. Exit codes: 0, success; 2, bad
input, with one line on stderr that names what is wrong and where; 1, a fault of warmstart, or an
address that ``serve`` cannot use; 130, interrupted.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import warmstart.passive_threads  # noqa: F401 - before anything imports torch
from warmstart.errors import DataWarning, WarmstartError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, then exit the process.

    Args:
        arguments: the words after ``warmstart``; those of this process if None.
    """
    from warmstart.cli.app import app
    from warmstart.cli.output import print_problem

    def show_warning(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        print_problem(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show_warning
        try:
            app(None if arguments is None else list(arguments))
        except (WarmstartError, OSError) as error:
            print_problem(str(error))
            sys.exit(2)
        except Exception as error:
            if os.environ.get("WARMSTART_DEBUG"):
                raise
            print_problem(
                f"a fault of warmstart: {type(error).__name__}: {error}; run it again with "
                "WARMSTART_DEBUG=1 for the traceback, and please report it"
            )
            sys.exit(1)

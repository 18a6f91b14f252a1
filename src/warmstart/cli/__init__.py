"""The command line: one file per command, each a thin layer over the library.

Results go to stdout, progress and problems to stderr. Exit codes: 0, success; 2, bad input, with
one line on stderr that names what is wrong and where; 130, interrupted.
"""

import sys
from collections.abc import Sequence

from warmstart.errors import WarmstartError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, then exit the process.

    Args:
        arguments: the words after ``warmstart``; those of this process if None.
    """
    from warmstart.cli.app import app
    from warmstart.cli.output import complain

    try:
        app(None if arguments is None else list(arguments))
    except WarmstartError as error:
        complain(str(error))
        sys.exit(2)

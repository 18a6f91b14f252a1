"""The command line: one file a command, each a thin layer over the library.

Results go to stdout, progress and problems to stderr. Exit code 0: done; 2: bad input, with one
line that says what and where; 130: interrupted.
"""

import sys
from collections.abc import Sequence

from warmstart.errors import WarmstartError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process.

    Args:
        arguments: those of the process where None.
    """
    from warmstart.cli.app import app
    from warmstart.cli.output import complain

    try:
        app(None if arguments is None else list(arguments))
    except WarmstartError as error:
        complain(str(error))
        sys.exit(2)

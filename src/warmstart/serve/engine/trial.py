"""Try to serve a model, in a process of its own.

Settings come as JSON on standard input. The exit status is 0 if a list can be computed; otherwise
the last line on standard error says why not.
"""

import sys

from warmstart.errors import WarmstartError
from warmstart.sampling import evenly_spaced
from warmstart.serve.engine.deployment import Loader
from warmstart.serve.engine.index import Index
from warmstart.serve.engine.lists import ListRequest
from warmstart.serve.settings import Settings

_LISTS = 3


def main() -> int:
    """Load the model, build its index, and compute lists for a few users."""
    settings = Settings.model_validate_json(sys.stdin.read())
    try:
        model, _ = Loader(settings).load(settings.model)
        index = Index(model)
        users = model.fitted.user_ids.values
        some = evenly_spaced(len(users), _LISTS)
        index.recommend([ListRequest(user=str(users[at]), explain=True) for at in some])
        index.prepare()
    except WarmstartError as error:
        sys.stderr.write(str(error).replace("\n", " ") + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

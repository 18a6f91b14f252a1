"""Build and load networks by transformers in one thread at a time.

While transformers loads a network it replaces methods of its own classes, such as the one that ties
the vocabulary head to the input vectors. A network that another thread builds or loads meanwhile
keeps an untied head, and two loads that overlap leave the methods replaced for good.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()


@contextmanager
def exclusive_transformers() -> Iterator[None]:
    """Let one thread at a time into the block, without progress bars and load reports.

    A load report would list missing tensors; ``load.py`` checks for them and raises an error.
    """
    from transformers.utils import logging as library

    with _lock:
        bars, level = library.is_progress_bar_enabled(), library.get_verbosity()
        library.disable_progress_bar()
        library.set_verbosity(logging.ERROR)
        try:
            yield
        finally:
            library.set_verbosity(level)
            if bars:
                library.enable_progress_bar()

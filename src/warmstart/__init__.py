"""Recommend items nobody has clicked yet.

    import warmstart as ws

    data = ws.read_dataset("my-shop")                  # interactions and item texts
    model = ws.EaseText().fit(data, encoder=ws.load_encoder())
    model.add_items("new-items.csv")                   # recommendable from here on
    model.recommend(["u42"], k=10)

The public names are listed once, in ``__init__.pyi``, and loaded on first use: importing this
package imports neither torch nor numpy.
"""

import lazy_loader

from warmstart.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

from warmstart.methods import method
from warmstart.testing.case import Fixtures
from warmstart.testing.small_settings import OVER_BACKBONES, SMALL


@pytest.fixture(scope="session")
def default_cache(tmp_path_factory):
    """Stands for the user's own cache folder, which nothing has a reason to write to."""
    folder = tmp_path_factory.mktemp("home") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WARMSTART_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def lab(tmp_path_factory, default_cache):
    """Every method, and the methods with a backbone over each kind of it."""
    lab = Fixtures(tmp_path_factory.mktemp("contract"))
    for name, settings in {**SMALL, **OVER_BACKBONES}.items():
        lab.case(method(name.partition("/")[0]), settings, name)
    return lab

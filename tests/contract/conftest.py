import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

from warmstart.methods import method
from warmstart.testing.case import Fixtures
from warmstart.testing.small_settings import BACKBONE_VARIANTS, METHOD_SETTINGS


@pytest.fixture(scope="session")
def default_cache(tmp_path_factory):
    """The default cache folder of the user, to which no test should write."""
    folder = tmp_path_factory.mktemp("home") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WARMSTART_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def fixtures(tmp_path_factory, default_cache):
    """Cases of every method and its variants, and of methods on every kind of backbone."""
    fixtures = Fixtures(tmp_path_factory.mktemp("contract"))
    for name, settings in {**METHOD_SETTINGS, **BACKBONE_VARIANTS}.items():
        fixtures.case(method(name.partition("/")[0]), settings, name)
    return fixtures

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

from warmstart.methods import method
from warmstart.testing.case import Lab
from warmstart.testing.small import OVER_BACKBONES, SMALL


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """Every method, and the methods with a backbone over each kind of it."""
    lab = Lab(tmp_path_factory.mktemp("contract"))
    for name, settings in {**SMALL, **OVER_BACKBONES}.items():
        lab.case(method(name.partition("/")[0]), settings, name)
    return lab

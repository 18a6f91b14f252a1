import importlib.metadata
import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

from warmstart.lm import LMConfig, load_language_model
from warmstart.lm.source import DEFAULT_PACKAGE
from warmstart.testing.tiny_lm import tiny_causal, tiny_encoder

WORDS = [
    "even",
    "odd",
    "red",
    "blue",
    "book",
    "film",
    "tale",
    "of",
    "the",
    "a",
    "wise",
    "old",
    "dragon",
]
TEXTS = [
    "even book",
    "odd tale of the wise old dragon",
    "red",
    "the even blue book of a dragon",
    "odd film",
]


@pytest.fixture(autouse=True)
def separate_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WARMSTART_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("lm") / "encoder", WORDS)


@pytest.fixture(scope="session")
def causal_folder(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("lm") / "causal", WORDS)


@pytest.fixture(scope="session", params=["encoder", "causal"])
def folder(request, encoder_folder, causal_folder):
    return encoder_folder if request.param == "encoder" else causal_folder


@pytest.fixture(scope="session")
def lm(folder):
    return load_language_model(LMConfig(source=str(folder), device="cpu"))


@pytest.fixture(scope="session")
def minilm():
    try:
        importlib.metadata.distribution(DEFAULT_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"package {DEFAULT_PACKAGE} is not installed")
    return load_language_model(LMConfig(source=f"package:{DEFAULT_PACKAGE}", device="cpu"))

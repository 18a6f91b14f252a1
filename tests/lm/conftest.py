import importlib.metadata
import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

from warmstart.lm import CausalLMConfig, LMConfig, load_language_model
from warmstart.lm.source import DEFAULT_CAUSAL_PACKAGE, DEFAULT_PACKAGE
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


def need_package(name):
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"package {name} is not installed")


@pytest.fixture(scope="session")
def smollm():
    """The default causal LM in float32; its conversion is kept in the user's cache folder."""
    need_package(DEFAULT_CAUSAL_PACKAGE)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WARMSTART_CACHE", raising=False)
        return load_language_model(CausalLMConfig(device="cpu", dtype="float32"))


@pytest.fixture
def user_cache(separate_cache, monkeypatch):
    monkeypatch.delenv("WARMSTART_CACHE")


@pytest.fixture(scope="session")
def minilm():
    need_package(DEFAULT_PACKAGE)
    return load_language_model(LMConfig(source=f"package:{DEFAULT_PACKAGE}", device="cpu"))

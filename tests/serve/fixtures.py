"""Fixtures: a small fitted model, and services with it."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

import warmstart as ws
from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service
from warmstart.serve.settings import Settings
from warmstart.serve.storage.keys import make_key
from warmstart.testing.tiny_lm import tiny_encoder


@pytest.fixture(scope="session")
def toy_data() -> ws.Dataset:
    return ws.synthetic(60, 80, rng=np.random.default_rng(0))


@pytest.fixture
def texts(toy_data) -> list[str]:
    return list(toy_data.catalogue.texts)


@pytest.fixture
def user(toy_split) -> str:
    """A user of the training data."""
    return str(toy_split.train.user_ids.values[0])


@pytest.fixture(scope="session")
def lm_folder(tmp_path_factory, toy_data) -> Path:
    """A tiny encoder whose vocabulary has the words of the toy catalogue."""
    words = sorted({w for text in toy_data.catalogue.texts for w in text.lower().split()})
    return tiny_encoder(tmp_path_factory.mktemp("lm") / "tiny-lm", words)


@pytest.fixture(scope="session")
def toy_split(toy_data) -> ws.Split:
    return ws.split(toy_data, "time-cold")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, lm_folder, toy_split) -> Path:
    """filterllm on iALS; cold scores fuse folded-in vectors and the user distribution."""
    model = ws.FilterLLM(backbone={"kind": "ials", "width": 8, "epochs": 3}, text_weight=0.5)
    lm = ws.load_encoder(ws.LMConfig(source=str(lm_folder)), use_cache=False)
    model.fit(toy_split.train, encoder=lm)
    return model.save(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture
def settings(tmp_path, model_folder, lm_folder) -> Settings:
    return Settings(
        model=model_folder,
        encoder=str(lm_folder),
        store=f"sqlite:///{tmp_path / 'store.db'}",
        models_folder=model_folder.parent,
        poll_seconds=0.2,
    )


@pytest.fixture
def service(settings) -> Iterator[Service]:
    """A service that is not started: tests encode and follow step by step."""
    service = Service(settings)
    yield service
    service.close()


@pytest.fixture
def running(settings) -> Iterator[TestClient]:
    """A client of the application with running threads; requests carry an admin key."""
    service = Service(settings)
    token = make_key(service.store, "tests", "admin")
    service.keys.load(service.store.keys.all())
    with TestClient(create_app(service), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


@pytest.fixture
def until(running):
    """Repeat a GET request until its response satisfies a condition."""

    def poll(path: str, right, seconds: float = 20.0) -> httpx.Response:
        end = time.monotonic() + seconds
        while True:
            response = running.get(path)
            if response.is_success and right(response.json()):
                return response
            assert time.monotonic() < end, response.text
            time.sleep(0.02)

    return poll

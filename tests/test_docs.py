"""Runs the Python blocks and shell lines of the documentation, page by page, on small data."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import warmstart as ws
from warmstart.cli import main
from warmstart.data.splits.random_cold import random_cold
from warmstart.experiment.spec import read_experiment

REPOSITORY = Path(__file__).parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GENRES = ("History", "Travel", "History|Travel", "Food", "Art|Food", "Poetry")
_LINK = re.compile(r"\]\(([^)#]+)\)")


def name_of(page):
    return str(page.relative_to(REPOSITORY))


def blocks(page, language) -> Iterator[str]:
    for found, content in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if found == language:
            yield content


def pages_with(language):
    return [page for page in PAGES if any(blocks(page, language))]


def pages_with_python():
    """Pages with Python blocks, except docs/serving: tests/serve/test_pages.py runs those."""
    return [page for page in pages_with("python") if page.parent.name != "serving"]


@pytest.fixture(scope="module")
def shop_data():
    """Frames of clicks and products; users are u1, u2, ..., items are p-1, p-2, ..."""
    made = ws.synthetic(150, 180, rng=np.random.default_rng(5))
    events, catalogue = made.interactions, made.catalogue
    clicks = pl.DataFrame(
        {
            "who": [f"u{row + 1}" for row in events.users],
            "sku": [f"p-{row + 1}" for row in events.items],
            "when": events.times,
        }
    )
    products = pl.DataFrame(
        {
            "sku": [f"p-{row + 1}" for row in range(len(catalogue))],
            "title": catalogue.columns["title"],
            "text": catalogue.columns["text"],
            "genres": [_GENRES[row % len(_GENRES)] for row in range(len(catalogue))],
        }
    )
    return clicks, products


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def shop(shop_data, cache, tmp_path, monkeypatch):
    """Creates the files that the pages use; returns the variables of their Python blocks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WARMSTART_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    clicks, products = shop_data
    Path("my-shop").mkdir()
    columns = {"who": "user", "sku": "item", "when": "timestamp"}
    clicks.rename(columns).write_csv("my-shop/interactions.csv")
    products.rename({"sku": "item"}).write_csv("my-shop/items.csv")
    Path("my-shop/dataset.toml").write_text('text = ["title"]\n')
    Path("new-items.csv").write_text("item,title\np-901,Roman roads\np-902,Night trains\n")
    split = random_cold(ws.read_dataset(Path("my-shop")), seed=7)
    Path("coldllm_split").mkdir()
    names = ["warm_emb", "warm_val", "warm_test", "cold_item_val", "cold_item_test"]
    for name, part in zip(names, split.parts.values(), strict=True):
        users = split.dataset.user_ids.take(part.users)
        items = split.dataset.catalogue.item_ids.take(part.items)
        pl.DataFrame({"user": users, "item": items}).write_csv(f"coldllm_split/{name}.csv")
    return {"clicks": clicks, "products": products, "__name__": "page"}


@pytest.mark.parametrize("page", pages_with_python(), ids=name_of)
def test_python_on_the_page_runs(page, shop):
    for code in blocks(page, "python"):
        with redirect_stdout(StringIO()):
            exec(compile(code, name_of(page), "exec"), shop)


@pytest.mark.parametrize("page", pages_with("sh"), ids=name_of)
def test_shell_lines_of_the_page_run(page, shop):
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    assert lines
    for line in lines:
        command, *arguments = shlex.split(line)
        assert command == "warmstart"
        err = StringIO()
        with redirect_stdout(StringIO()), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0, f"{line}\n{err.getvalue()}"


@pytest.mark.parametrize("page", pages_with("toml"), ids=name_of)
def test_experiment_files_on_the_page_are_valid(page, tmp_path):
    for number, content in enumerate(blocks(page, "toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(content)
        assert read_experiment(path).method


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_exist(page):
    links = [link for link in _LINK.findall(page.read_text()) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_the_map_names_existing_files():
    text = (REPOSITORY / "docs" / "map.md").read_text()
    named = re.findall(r"`((?:[\w-]+/)*[\w.-]+\.(?:py|j2|sh|txt)|(?:[\w-]+/)+)`", text)
    places = [
        REPOSITORY,
        REPOSITORY / "src" / "warmstart",
        REPOSITORY / "src" / "warmstart" / "cli",
    ]
    lost = [path for path in named if not any((place / path).exists() for place in places)]
    assert len(named) > 40
    assert lost == []


def test_tables_of_results_match_the_reference_files():
    command = [sys.executable, str(REPOSITORY / "tools" / "results.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

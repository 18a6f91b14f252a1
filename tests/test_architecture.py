"""Import layers and conventions about where code lives."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import warmstart
from warmstart.experiment.spec import read_experiment
from warmstart.methods import METHODS, method

SOURCE = Path(warmstart.__file__).parent
REPOSITORY = SOURCE.parent.parent
MODULES = sorted(
    module.name for module in pkgutil.walk_packages([str(SOURCE)], prefix="warmstart.")
)


def test_imports_follow_the_layers():
    # In a new process: the linter configures logging for the whole process.
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name):
    if not name.endswith(("__main__", "migrations.env")):  # these are executed, not imported
        importlib.import_module(name)


def test_every_method_file_is_registered_under_its_name():
    files = {path.stem for path in (SOURCE / "methods").glob("*.py")} - {"__init__"}
    assert files == set(METHODS)
    assert all(method(name).name == name for name in METHODS)


def test_every_method_has_a_page():
    pages = {path.stem for path in (REPOSITORY / "docs" / "methods").glob("*.md")}
    assert pages == set(METHODS)


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "experiments").glob("*.toml")), ids=lambda path: path.name
)
def test_every_committed_experiment_can_be_built(path):
    assert read_experiment(path).method


def test_no_function_is_longer_than_a_screen():
    long = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 80:
                    long.append(f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}: {length}")
    assert long == []


def test_nothing_writes_to_stdout_but_the_command_line():
    for path in SOURCE.rglob("*.py"):
        if path.parts[-2] == "cli":
            continue
        calls = [
            node.lineno
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ]
        assert calls == [], path

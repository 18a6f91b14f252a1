import sys

import pytest

from warmstart.code_hash import _import_graph, code_hash
from warmstart.experiment.controls import ControlJob
from warmstart.experiment.job import MethodJob
from warmstart.experiment.spec import MethodSpec

FILES = {
    "__init__.py": "",
    "method.py": "from typing import TYPE_CHECKING\n"
    "from planted.helper import value\n"
    "if TYPE_CHECKING:\n    import planted.types\n",
    "helper.py": "def value():\n    from planted.lazy import other\n    return other\n",
    "lazy.py": "other = 1\n",
    "types.py": "",
    "service.py": "import planted.method\n",
}


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A package on the path, and a function that changes a file of it and hashes the method."""
    package = tmp_path / "planted"
    package.mkdir()
    for name, text in FILES.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))

    def hash_after(name=None, text="# edited\n"):
        if name is not None:
            (package / name).write_text(FILES.get(name, "") + text)
        _import_graph.cache_clear()
        return code_hash(["planted.method"], "planted")

    yield hash_after
    _import_graph.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "planted"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["service.py", "types.py", "new.py"])
def test_code_that_a_method_does_not_import_keeps_its_results(planted, name):
    assert planted(name) == planted()


@pytest.mark.parametrize("name", ["method.py", "helper.py", "lazy.py"])
def test_code_that_a_method_imports_in_any_way_voids_its_results(planted, name):
    before = planted()
    assert planted(name) != before


def test_a_new_import_voids_results_too(planted):
    before = planted()
    assert planted("lazy.py", "import planted.types\n") != before


def test_methods_depend_on_their_own_code_alone():
    """The service, the client and other methods void nothing; the evaluation voids everything."""
    jobs = [MethodJob(MethodSpec(name=name), 0) for name in ("popular", "cf_only")]
    jobs.append(ControlJob({"kind": "bpr"}, 0))
    graph = _import_graph("warmstart")
    for job in jobs:
        roots = ["warmstart.experiment.job", type(job).__module__, *job.modules()]
        modules = set(roots).union(*(graph.find_upstream_modules(root) for root in roots))
        assert "warmstart.evaluation.evaluate" in modules
        assert "warmstart.rank" in modules
        assert not {name for name in modules if name.split(".")[1:2] in (["serve"], ["client"])}
        assert ("warmstart.backbones.bpr" in modules) == (job is not jobs[0])

import os
import subprocess
import sys

import pytest

_REPORT = (
    "import os, sys; {}; found = os.environ.get; "
    "print(found('OMP_WAIT_POLICY'), found('KMP_BLOCKTIME'), 'torch' in sys.modules)"
)


def run(statement, **variables):
    names = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", _REPORT.format(statement)]
    done = subprocess.run(
        command, env=environment | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_command_line_lets_threads_sleep_before_torch_is_loaded():
    assert run("import warmstart.cli") == ["PASSIVE", "0", "False"]


def test_the_demo_lets_threads_sleep_before_torch_is_loaded():
    spy = (
        "import builtins, sys; real = builtins.__import__\n"
        "def spy(name, *rest, **more):\n"
        "    if name == 'torch' and 'torch' not in sys.modules:\n"
        "        print(os.environ.get('OMP_WAIT_POLICY'))\n"
        "    return real(name, *rest, **more)\n"
        "builtins.__import__ = spy\n"
        "import warmstart.demo\n"
        "pass"
    )
    assert run(spy)[0] == "PASSIVE"


@pytest.mark.parametrize("policy", ["ACTIVE", "PASSIVE"])
def test_what_the_user_has_set_stays(policy):
    assert run("import warmstart.cli", OMP_WAIT_POLICY=policy, KMP_BLOCKTIME="7")[:2] == [
        policy,
        "7",
    ]


def test_the_library_leaves_the_choice_to_its_user():
    assert run("import warmstart; warmstart.load_model")[:2] == ["None", "None"]

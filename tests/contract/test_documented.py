"""Every method of docs/adding-a-method.md passes the contract, and is as short as it says."""

import inspect
import re

import pytest

from tests.contract import documented
from warmstart.core import Recommender
from warmstart.testing.contract import run_contract

METHODS = [
    value
    for value in vars(documented).values()
    if inspect.isclass(value) and issubclass(value, Recommender) and value is not Recommender
]


def test_the_page_has_a_method_for_each_kind_of_question():
    assert {method.name for method in METHODS} == {
        *("longest", "next_item", "word_votes", "genres_in_turn", "agreement")
    }


@pytest.mark.parametrize("method", METHODS)
def test_it_passes_all_checks(method, tmp_path):
    run_contract(method, folder=tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_it_is_short(method):
    (body,) = re.findall(
        rf"^class {method.__name__}\(.*?(?=^```)", documented.PAGE.read_text("utf-8"), re.M | re.S
    )
    lines = [line for line in body.splitlines() if line.strip()]
    assert 10 <= len(lines) <= 28

"""Where workers are started; needs no Ray."""

import sys

import pytest

from warmstart.distributed.cluster import Place, cluster, places
from warmstart.errors import ConfigError, UnsupportedError


def of(*machines):
    return [(f"m{number}", has) for number, has in enumerate(machines)]


def test_one_worker_for_every_four_cores_and_at_least_one_on_each_machine():
    found = places(of({"CPU": 2}, {"CPU": 9}), None)
    assert found == [Place("m0", 2), Place("m1", 4), Place("m1", 4)]


def test_one_worker_for_each_gpu_if_there_are_any():
    found = places(of({"CPU": 16}, {"CPU": 16, "GPU": 2}), None)
    assert found == [Place("m1", 8, 1), Place("m1", 8, 1)]


def test_a_number_of_workers_is_spread_equally():
    found = places(of({"CPU": 2}, {"CPU": 2}), 3)
    assert found == [Place("m0", 1), Place("m0", 1), Place("m1", 2)]
    assert len(places(of({"CPU": 2}, {"CPU": 2}), 1)) == 1


def test_a_machine_without_cores_gets_no_worker():
    assert places(of({"memory": 1}, {"CPU": 1}), 2) == [Place("m1", 1)] * 2
    with pytest.raises(ConfigError, match="no machine of the cluster has a core"):
        places(of({"memory": 1}), None)


@pytest.mark.parametrize("address", ["nowhere", "host:", ":6379", "host:port"])
def test_a_malformed_address_is_an_error(address):
    with pytest.raises(ConfigError, match="allowed: HOST:PORT"), cluster(address):
        pass


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'warmstart\[ray\]'"), cluster("a:1"):
        pass

"""Configurations refuse unknown keys; settings come from TOML files and overrides."""

import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from warmstart.config import Config, merged, read_settings
from warmstart.errors import ConfigError
from warmstart.methods import METHODS
from warmstart.methods import method as method_class


class Inner(Config):
    layers: int = Field(2, ge=1)
    kind: Literal["a", "b"] = "a"


class Outer(Config):
    rate: float = Field(0.1, gt=0)
    inner: Inner = Field(default_factory=Inner)
    names: tuple[str, ...] = ()


def test_settings_are_validated_into_a_frozen_configuration():
    config = Outer.build({"rate": 2, "inner": {"layers": 3}, "names": ["x"]})
    assert config == Outer(rate=2, inner=Inner(layers=3, kind="a"), names=("x",))
    with pytest.raises(ValidationError, match="frozen"):
        config.rate = 1.0  # pyright: ignore[reportAttributeAccessIssue]
    assert Outer.build(json.loads(config.model_dump_json())) == config


def test_all_mistakes_are_reported_together_with_path_and_value():
    with pytest.raises(ConfigError) as caught:
        Outer.build({"rate": -1, "inner": {"layer": 3, "kind": "c"}, "typo": 0})
    message = str(caught.value)
    assert message.startswith("Outer: ")
    for part in (
        "rate: Input should be greater than 0, got -1",
        "inner.layer: there is no such setting, got 3",
        "inner.kind: Input should be 'a' or 'b', got 'c'",
        "typo: there is no such setting, got 0",
    ):
        assert part in message


def test_settings_that_are_not_a_table_are_refused():
    with pytest.raises(ConfigError, match=r"Outer: \(top level\)"):
        Outer.build([1])  # pyright: ignore[reportArgumentType]


def test_overrides_win_over_the_file_and_are_toml(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('rate = 0.5\n[inner]\nlayers = 4\nkind = "b"\n', encoding="utf-8")
    overrides = ["inner.layers=9", 'names=["x", "y"]', "rate = 1e-3"]
    assert read_settings(path) == {"rate": 0.5, "inner": {"layers": 4, "kind": "b"}}
    assert read_settings(path, overrides) == {
        "rate": 0.001,
        "inner": {"layers": 9, "kind": "b"},
        "names": ["x", "y"],
    }
    assert read_settings(None) == {}
    assert read_settings(None, ["a.b.c=true"]) == {"a": {"b": {"c": True}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("lightgcn", "lightgcn"),
        ("'5'", "5"),
        ("5", 5),
        ("", ""),
        ("a=b", "a=b"),
        ("~/x y", "~/x y"),
    ],
)
def test_a_bare_word_is_a_string(text, value):
    assert read_settings(None, [f"key={text}"]) == {"key": value}


@pytest.mark.parametrize("override", ["rate", "=3", ""])
def test_an_override_without_key_or_value_is_refused(override):
    with pytest.raises(ConfigError, match=f"override '{override}' is not of the form"):
        read_settings(None, [override])


def test_an_override_below_a_value_is_refused():
    with pytest.raises(ConfigError, match="'rate' is a value, not a table"):
        read_settings(None, ["rate=1", "rate.more=2"])


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.toml does not exist"):
        read_settings(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match=f"{tmp_path.name} cannot be read"):
        read_settings(tmp_path)
    for content in (b"rate = ", b"\xff\xfe", b"rate = 1\nrate = 2"):
        (tmp_path / "wrong.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"wrong\.toml is not TOML"):
            read_settings(tmp_path / "wrong.toml")


NESTED = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
TABLES = st.dictionaries(st.sampled_from("abc"), NESTED, max_size=3)


@given(TABLES, TABLES)
def test_merging_prefers_the_top_table_by_table(base, top):
    result = merged(base, top)
    assert set(result) == {*base, *top}
    for key, value in result.items():
        both = [side[key] for side in (base, top) if key in side]
        if len(both) == 2 and all(isinstance(side, dict) for side in both):
            assert value == merged(*both)
        else:
            assert value == both[-1]


def test_merging_does_not_change_its_arguments():
    base, top = {"a": {"b": 1}}, {"a": {"c": 2}}
    result = merged(base, top)
    result["a"]["d"] = 3
    assert (base, top) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_the_word_none_means_nothing_in_toml_and_nowhere_else():
    class Inner(Config):
        depth: int = 1

    class Outer(Config):
        inner: Inner | None = Inner()
        name: str = "x"

    assert Outer.build({"name": "none"}).name == "none"
    with pytest.raises(ConfigError, match=r"inner: .*got 'none'"):
        Outer.build({"inner": "none"})
    assert Outer.build(read_settings(None, ["inner=none"])).inner is None
    assert read_settings(None, ['masks=["all", "none"]']) == {"masks": ["all", "none"]}
    with pytest.raises(ConfigError, match=r"depth.*none"):
        Inner.build({"depth": "none"})


class Numbers(Config):
    """Settings of every kind of number."""

    whole: int = 1
    maybe: int | None = 1
    part: float = Field(default=0.5, ge=0)
    flag: bool = True
    either: int | bool = 1
    several: tuple[float, ...] = ()


@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_is_no_number(value):
    for name in ("whole", "maybe", "part"):
        with pytest.raises(ConfigError, match=rf"Numbers: {name}: .*number|integer.*got {value}"):
            Numbers.build({name: value})
        with pytest.raises(ValidationError, match=name):
            Numbers(**{name: value})
    assert Numbers.build({"flag": value, "either": value}).either is value
    with pytest.raises(ConfigError, match=rf"unknown: .*got {value}"):
        Numbers.build({"unknown": value})


@pytest.mark.parametrize("value", [float("inf"), float("nan"), float("-inf")])
def test_infinities_and_nan_are_no_settings(value):
    for settings in ({"part": value}, {"several": [value]}):
        with pytest.raises(ConfigError, match=r"finite number"):
            Numbers.build(settings)


@pytest.mark.parametrize("method", METHODS)
def test_no_setting_of_a_method_takes_a_boolean_as_a_number(method):
    def numbers(config, path=()):
        for name, value in config:
            if isinstance(value, Config):
                yield from numbers(value, (*path, name))
            elif isinstance(value, int | float) and not isinstance(value, bool):
                yield (*path, name)

    config_type = method_class(method).config_type
    defaults = config_type().model_dump(mode="json")
    for path in numbers(config_type()):
        settings = True
        for name in reversed(path):
            settings = {name: settings}
        with pytest.raises(ConfigError, match=f"{path[-1]}.*got True"):
            config_type.build(merged(defaults, settings))

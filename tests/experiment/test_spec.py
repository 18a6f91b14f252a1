import pytest

from warmstart.errors import ConfigError
from warmstart.experiment.spec import Experiment, parse_method, parse_methods, read_experiment
from warmstart.methods import build


def test_methods_are_separated_by_commas_outside_brackets_and_quotes():
    text = 'popular, text_ridge:l2=1, a:x=[1, 2];y={b = 1, c = 2}, b:z="p,q", cf_only[ials]'
    specs = parse_methods(text)
    assert [spec.name for spec in specs] == ["popular", "text_ridge", "a", "b", "cf_only[ials]"]
    assert specs[2].settings == {"x": [1, 2], "y": {"b": 1, "c": 2}}
    assert specs[3].settings == {"z": "p,q"}


def test_settings_may_be_nested_and_of_any_type():
    text = "filterllm[ials]:backbone.width=8;lm_tuning=lora;ridge.l2=2.5;sample_users=true"
    spec = parse_method(text)
    assert spec.method == "filterllm"
    assert spec.display_name == text
    assert spec.full_settings == {
        "backbone": {"kind": "ials", "width": 8},
        "lm_tuning": "lora",
        "ridge": {"l2": 2.5},
        "sample_users": True,
    }


def test_paper_is_the_published_configuration():
    from warmstart.methods.filterllm import PAPER

    spec = parse_method("filterllm@paper")
    assert build(spec.method, spec.full_settings).config == PAPER
    other = parse_method("filterllm@paper[ials]:epochs=2")
    config = build(other.method, other.full_settings).config
    assert (config.backbone.kind, config.epochs, config.lm_tuning) == ("ials", 2, PAPER.lm_tuning)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not of the form"),
        ("two words", "not of the form"),
        ("cf_only[", "not of the form"),
        ("popular:x", "a.b=value"),
        ("popular@print", "not of the form"),
    ],
)
def test_a_wrong_short_form_is_named(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_method(text)


def test_a_method_without_published_settings_says_so():
    with pytest.raises(ConfigError, match="no published settings"):
        read_experiment(None, ["popular@paper"])


def test_a_wrong_setting_is_found_before_anything_is_fitted():
    with pytest.raises(ConfigError, match=r"'cf_only\[bpr\]:backbone.widht=3'.*widht"):
        read_experiment(None, ["popular,cf_only[bpr]:backbone.widht=3"])


def test_options_replace_the_fields_of_the_file(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text(
        'seeds = 3\nmasks = ["train"]\nagainst = "popular"\n\n[lm]\nsource = "default"\n\n'
        '[[method]]\nname = "popular"\n'
    )
    experiment = read_experiment(file, ["random"], seeds=2, masks=None)
    assert [spec.display_name for spec in experiment.method] == ["popular", "random"]
    assert (experiment.seeds, experiment.masks) == (2, ("train",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[[method]]\nname = "popular"\nlable = "x"\n', "lable"),
        ('seed = -1\n[[method]]\nname = "popular"\n', "seed"),
        ('masks = ["nothing"]\n[[method]]\nname = "popular"\n', "masks"),
        ('against = "x"\n[[method]]\nname = "popular"\n', "against"),
    ],
)
def test_a_wrong_file_is_refused_by_name(content, message, tmp_path):
    (tmp_path / "x.toml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_experiment(tmp_path / "x.toml")


def test_the_mask_none_is_a_word(tmp_path):
    (tmp_path / "x.toml").write_text('masks = ["all", "none"]\n[[method]]\nname = "popular"\n')
    assert read_experiment(tmp_path / "x.toml").masks == ("all", "none")


def test_labels_must_differ():
    with pytest.raises(ConfigError, match="occur twice"):
        Experiment.build({"method": [{"name": "popular"}, {"name": "random", "label": "popular"}]})

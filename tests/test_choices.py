"""Methods and backbones as parts of a config: a name, options of its own, and what a file and a line say together."""

from dataclasses import dataclass

import pytest
import yaml

from icrl.choices import Choice
from icrl.config import config_to_dict, first_difference, load_config, parse_command, save_config
from icrl.errors import UsageError
from icrl.models.methods import METHODS
from icrl.models.options import ModelOptions
from icrl.train.config import TrainConfig, lasting

AD, DT = METHODS["ad"].Options, METHODS["dt"].Options
OWN = """
from dataclasses import dataclass
from icrl.models.methods.ad import AlgorithmDistillation

@dataclass(frozen=True)
class Options:
    strength: int = 1
    '''How much of it.'''
    sizes: tuple[int, ...] = (1, 2)

class Mine(AlgorithmDistillation):
    Options = Options

class WithoutOptions(AlgorithmDistillation):
    Options = None

class Stranger:
    Options = Options
"""


def parse(*argv: str) -> TrainConfig:
    return parse_command("icrl train", "Trains.", TrainConfig, argv, lambda parser: None)[1]


@pytest.fixture
def file(tmp_path):
    """Writes a config file."""

    def write(text: str) -> str:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def own(tmp_path, monkeypatch) -> str:
    """The place of a method of somebody's own, without its class."""
    (tmp_path / "my_method.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return "my_method.py"


@pytest.mark.parametrize(
    "argv",
    [
        ["--method", "dt", "--method.tokens", "one"],
        ["--method=dt", "--method.tokens=one"],
        ["--method.tokens", "one", "--method", "dt"],
        ["--method.name", "dt", "--method.tokens", "one"],
        ["--method", "ad", "--method=dt", "--method.tokens", "one"],
    ],
)
def test_a_flag_names_the_method_wherever_it_stands(argv):
    """Kills: options that are only known after the name, or of the first of two names."""
    config = parse(*argv)
    assert config.method == Choice("dt", DT(tokens="one"))
    assert config.model == Choice("transformer", ModelOptions())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Choice("ad", AD())),
        ("method: dt", Choice("dt", DT())),
        ("method: {name: dt, tokens: one}", Choice("dt", DT(tokens="one"))),
        ("method: {label_smoothing: 0.1}", Choice("ad", AD(label_smoothing=0.1))),
        ("method: {name: dt}", Choice("dt", DT())),
    ],
)
def test_a_file_names_it_as_text_or_as_a_mapping(text, expected, file):
    """Kills: a mapping whose name, or whose options, are dropped."""
    path = file(text)
    assert parse("--config", path).method == load_config(TrainConfig, path).method == expected


def test_the_line_adds_to_the_options_of_the_file(file):
    """Kills: a flag that resets what the file says of the same method; a name given again that does."""
    path = file("method: {name: dt, tokens: one}\nmodel: {n_layer: 5, width: 32}")
    for argv in (["--method.context", "one"], ["--method", "dt", "--method.context", "one"]):
        config = parse("--config", path, *argv, "--model.width", "16")
        assert config.method == Choice("dt", DT(tokens="one", context="one"))
        assert config.model == Choice("transformer", ModelOptions(n_layer=5, width=16))
    assert load_config(TrainConfig, path, {"method.tokens": "three"}).method == Choice("dt", DT())
    started = load_config(TrainConfig, path)
    assert load_config(TrainConfig, started, {"method.context": "one"}).method.options == DT("one", "one")


def test_options_of_another_choice_than_the_lines_are_left_out(file):
    """Kills: a preset of AD that cannot be used with another method, or that hands its options to it."""
    path = file("method: {name: ad, label_smoothing: 0.1}\nseed: 3")
    assert parse("--config", path, "--method", "dt") == TrainConfig(seed=3, method="dt")
    assert load_config(TrainConfig, path, {"method": "dt", "method.tokens": "one"}).method.options == DT(tokens="one")
    assert parse("--config", path, "--method", "ad").method.options == AD(label_smoothing=0.1)
    # The same where the file is of an earlier release.
    path = file("method: ad\ntrain: {label_smoothing: 0.1}")
    assert parse("--config", path, "--method", "dt") == TrainConfig(method="dt")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: parse("--method.label_smoothin", "0.1"), r"did you mean .*--method\.label_smoothing"),
        (lambda f: parse("--method", "dt", "--method.token", "one"), r"did you mean .*--method\.tokens"),
        (lambda f: parse("--method", "dt", "--method.token_mask", "0.1"), r"unknown argument --method\.token_mask"),
        (lambda f: parse("--config", f("method: {name: dt, token: one}")), r"'method\.token'.*did you mean .*tokens"),
        (lambda f: TrainConfig(method={"name": "dt", "token": "one"}), "method dt has no option 'token'.*'tokens'"),
        (lambda f: parse("--method", "dd"), "unknown method 'dd' .did you mean"),
        (lambda f: parse("--config", f("method: dd")), "unknown method 'dd'"),
        (lambda f: TrainConfig(method="dd"), "unknown method 'dd'"),
        (lambda f: TrainConfig(model="transfomer"), "unknown backbone 'transfomer' .did you mean 'transformer'"),
        (lambda f: parse("--method"), "--method is given without a name: choose from ad, dt"),
        (lambda f: parse("--config", f("method: {name: 3}")), "method.name is 3: expected one of ad, dt"),
        (lambda f: parse("--method", "dt", "--method.tokens", "two"), r"method\.tokens.*[Ee]xpected one of"),
        (lambda f: parse("--method.label_smoothing", "1.5"), r"method\.label_smoothing is 1\.5"),
        (lambda f: TrainConfig(method=3), "method is 3: expected one of ad, dt"),
    ],
)
def test_what_is_unknown_names_its_neighbour_in_one_line(call, message, file):
    """Kills: a typing error that trains with the default, an option of another method that is taken and ignored."""
    with pytest.raises(UsageError, match=message) as error:
        call(file)
    assert "\n" not in str(error.value)


def test_options_alone_tell_what_they_are_of():
    """Kills: options of one method that are taken for another's."""
    assert TrainConfig(method=DT(tokens="one")).method == Choice("dt", DT(tokens="one"))
    assert TrainConfig(method=AD()).method == Choice("ad", AD())
    assert TrainConfig(model=ModelOptions(n_layer=1)).model == Choice("transformer", ModelOptions(n_layer=1))

    @dataclass
    class Foreign:
        tokens: str = "one"

    with pytest.raises(UsageError, match="or the options of one"):
        TrainConfig(method=Foreign())


def test_a_method_of_ones_own_by_its_place(own, file):
    """Kills: options of somebody's own class that no flag sets, or that are another's."""
    name = f"{own}:Mine"
    config = parse("--method", name, "--method.strength", "3", "--method.sizes", "[4, 5]")
    assert config.method.name == name
    assert vars(config.method.options) == {"strength": 3, "sizes": (4, 5)}
    same = parse("--config", file(f"method: {{name: '{name}', strength: 3, sizes: [4, 5]}}"))
    assert config_to_dict(same) == config_to_dict(config)
    assert TrainConfig(method={"name": name, "sizes": [4, 5]}).method.options.sizes == (4, 5)
    with pytest.raises(UsageError, match=r"did you mean .*--method\.strength"):
        parse("--method", name, "--method.strenght", "3")
    with pytest.raises(UsageError, match="has no options class"):
        parse("--method", f"{own}:WithoutOptions")
    with pytest.raises(UsageError, match=r"is no method: expected a subclass of icrl\.models\.methods\.base\.Method"):
        parse("--method", f"{own}:Stranger")
    with pytest.raises(UsageError, match=r"names no class.*Mine"):
        parse("--method", own)


@pytest.mark.parametrize("method", ["ad", "dt", "my_method.py:Mine"])
def test_what_is_printed_and_what_is_saved_read_back_equal(method, own, capsys, tmp_path):
    """Kills: a resolved config beside a run that does not make the run again; options that the print leaves out."""
    argv = ["--method", method, "--model.n_layer", "2", "--seed", "4"]
    with pytest.raises(SystemExit) as stop:
        parse(*argv, "--print_config")
    assert stop.value.code in (0, None)
    printed = capsys.readouterr().out
    config = parse(*argv)
    assert yaml.safe_load(printed) == config_to_dict(config)
    assert list(yaml.safe_load(printed)["method"]) == ["name", *vars(config.method.options)]
    (tmp_path / "printed.yaml").write_text(printed)
    save_config(config, tmp_path / "saved.yaml")
    for name in ("printed.yaml", "saved.yaml"):
        again = parse("--config", str(tmp_path / name))
        assert config_to_dict(again) == config_to_dict(config)
        assert again.method.name == method


def test_the_help_lists_the_choices_and_the_options_of_the_chosen(own, capsys):
    """Kills: a method that nobody finds, and options of another method than the one asked about."""
    for argv, shown, hidden in (
        ([], ["--method.label_smoothing", "--model.n_layer"], "--method.tokens"),
        (["--method", "dt"], ["--method.tokens", "--method.context"], "--method.label_smoothing"),
        (["--method", f"{own}:Mine"], ["--method.strength", "How much of it"], "--method.tokens"),
    ):
        with pytest.raises(SystemExit):
            parse(*argv, "--help")
        text = " ".join(capsys.readouterr().out.split())
        assert f"--method NAME: {', '.join(METHODS)}, or the place of your own" in text
        assert "--model NAME: transformer" in text
        for words in shown:
            assert words in text
        assert hidden not in text


def test_a_config_of_an_earlier_release_is_the_same_config(file):
    """Kills: options of AD that were training's once, forgotten; a resume refused because they have moved."""
    old = "method: ad\nmodel: {n_layer: 2}\ntrain: {label_smoothing: 0.1, token_mask: 0.2, steps: 7}"
    config = load_config(TrainConfig, file(old))
    assert config.method == Choice("ad", AD(label_smoothing=0.1, token_mask=0.2))
    assert (config.train.steps, config.model.options.n_layer) == (7, 2)
    stored = config_to_dict(config)
    flat = {
        **stored,
        "method": "ad",
        "model": {key: value for key, value in stored["model"].items() if key != "name"},
        "train": stored["train"] | {"label_smoothing": 0.1, "token_mask": 0.2},
    }
    assert lasting(flat) == lasting(stored)
    other = lasting(config_to_dict(load_config(TrainConfig, config, {"method.token_mask": 0.3})))
    assert first_difference(lasting(flat), other) == "method.token_mask was 0.2, now 0.3"
    dt = lasting(config_to_dict(load_config(TrainConfig, config, {"method": "dt"})))
    assert first_difference(lasting(flat), dt) == "method.name was 'ad', now 'dt'"


def test_a_program_chooses_by_a_mapping():
    """Kills: method={"name": …} in Python, taken for an unknown method that has JSON for a name."""
    config = load_config(TrainConfig, None, {"method": {"name": "dt", "tokens": "one"}, "model": {"width": 32}})
    assert (config.method.name, config.method.options.tokens) == ("dt", "one")
    assert (config.model.name, config.model.options.width) == ("transformer", 32)

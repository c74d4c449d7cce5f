"""Presets, YAML files and flags: one precedence, checked types, and an error that says how to fix it."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest
import yaml

from icrl.config import config_to_dict, first_difference, load_config, parse_command, save_config
from icrl.errors import UsageError


@dataclass
class Inner:
    depth: int = 3
    betas: tuple[float, float] = (0.9, 0.95)
    schedule: Literal["wsd", "cosine"] = "wsd"

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise UsageError(f"depth is {self.depth}: expected at least 1")


@dataclass
class Stage:
    presets: ClassVar[str] = "icrl.train.presets"
    family: str
    """Which tasks."""
    seed: int = 0
    rate: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


def parse(*argv: str):
    def add_arguments(parser):
        parser.add_argument("run", nargs="?")
        parser.add_argument("--out")

    return parse_command("icrl stage", "A stage.", Stage, argv, add_arguments)


def test_flags_override_the_file_and_the_file_overrides_the_defaults(tmp_path):
    """Kills: a preset that wins over a flag, a dict that a dotted flag replaces instead of extending."""
    path = tmp_path / "stage.yaml"
    path.write_text("family: grid\nrate: 1e-2\noptions: {size: 9}\ninner: {depth: 5}\n")
    arguments, config = parse(
        "runs/x", "--config", str(path), "--inner.depth", "7", "--options.goal", "[1, 2]", "--out=o"
    )
    assert (arguments.run, arguments.out) == ("runs/x", "o")
    assert config == Stage("grid", rate=0.01, options={"size": 9, "goal": [1, 2]}, inner=Inner(depth=7))
    assert load_config(Stage, path, {"inner.betas": (0.9, 0.99)}).inner == Inner(5, (0.9, 0.99))


def test_the_saved_config_reads_back_equal(tmp_path):
    """Kills: a resolved config beside a result that no longer makes the result."""
    config = Stage("null", 3, 3e-3, {"a": {"b": [1, 2.5, "x"]}}, Inner(1, (0.5, 0.25), "cosine"))
    save_config(config, tmp_path / "config.yaml")
    assert load_config(Stage, tmp_path / "config.yaml") == config
    assert load_config(Stage, config, {"seed": 4}).seed == 4
    assert config_to_dict(config)["inner"] == {"depth": 1, "betas": [0.5, 0.25], "schedule": "cosine"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--family", "g", "--inner.dept", "4"], r"unknown argument --inner.dept \(did you mean '--inner.depth'\?\)"),
        (["--family", "g", "--inner.depth", "four"], "--inner.depth: Expected an integer. Got value: four"),
        (["--family", "g", "--inner.depth", "0"], "depth is 0: expected at least 1"),
        (["--family", "g", "--inner.schedule", "linear"], "--inner.schedule: .*'wsd', 'cosine'"),
        (["--seed", "1"], "required: --family; give --config with one of the presets ad-"),
        (["--config", "ad-smal"], "unknown config 'ad-smal'.*did you mean 'ad-small'"),
        (["--config", "missing.yaml"], "missing.yaml cannot be read"),
        (["--family", "g", "--seed"], "--seed: expected one argument"),
    ],
)
def test_a_wrong_line_is_one_line_of_help(argv, message):
    """Kills: a usage dump or a traceback where one line would do."""
    with pytest.raises(UsageError, match=message) as caught:
        parse(*argv)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("family: g\ninner: {dept: 4}\n", "unknown key 'inner.dept'.*did you mean 'inner.depth'"),
        ("family: g\nsead: 4\n", "unknown key 'sead'.*did you mean 'seed'"),
        ("- family\n", "holds a list: expected keys and values"),
        ("family: [\n", "not valid YAML"),
        ("family: g\nseed: x\n", "--seed: Expected an integer"),
    ],
)
def test_a_wrong_file_names_the_key_and_its_neighbour(tmp_path, text, message):
    """Kills: a misspelt key in a file that is silently ignored."""
    path = tmp_path / "stage.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_config(Stage, path)


def test_print_config_prints_what_would_run(capsys):
    """Kills: a printed config that is not the resolved one, or holds flags that are no part of it, or needs them."""

    def add_arguments(parser):
        parser.add_argument("run")
        parser.add_argument("--out", required=True)

    argv = ["--family", "g", "--inner.depth", "9", "--print_config"]
    with pytest.raises(SystemExit) as stop:
        parse_command("icrl stage", "A stage.", Stage, argv, add_arguments)
    assert stop.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out) == config_to_dict(Stage("g", inner=Inner(9)))


def test_first_difference_names_the_dotted_key():
    """Kills: a refusal to resume that does not say why."""
    old, new = config_to_dict(Stage("g")), config_to_dict(Stage("g", inner=Inner(4)))
    assert first_difference(old, new) == "inner.depth was 3, now 4"
    assert first_difference(old, old) is None
    assert first_difference({}, {"a": 1}) == "a was None, now 1"

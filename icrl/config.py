"""Configs: one dataclass per stage, YAML files and packaged presets that hold overrides only, dotted flags on top.

The order of precedence is: the dataclass's defaults, the preset or YAML file, the flags. Everything is checked
against the dataclass's types, and an unknown key names its nearest neighbour.
"""

import json
import re
from argparse import SUPPRESS, ArgumentError, Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from icrl.choices import Choice, choices_of, options_class, pick, registry_of, to_dict
from icrl.errors import UsageError, did_you_mean
from icrl.files import write_atomically
from icrl.spelling import as_spelled

# A field's docstring, the string below it, is its help text.
set_parsing_settings(docstring_parse_attribute_docstrings=True)

Config = TypeVar("Config")
KINDS = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "text"}
"""Of values, as a message says them."""


def load_config(
    config_class: type[Config],
    source: str | Path | Config | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """A checked config.

    Args:
        config_class: the stage's dataclass; its class attribute `presets` names the folder of packaged presets.
        source: a preset's name, a YAML file, a config to start from, or None for the defaults.
        overrides: dotted keys, such as `{"train.steps": 2000}`.

    Raises:
        UsageError: for an unknown preset or key, or a value of the wrong type.
    """
    values = config_to_dict(source) if is_dataclass(source) else _read_source(config_class, source)
    tokens = [_token(key, value) for key, value in _dotted(config_class, overrides or {})]
    return _parse(config_class, values, str(source), tokens, "icrl", "", None)[1]


def _dotted(config_class: type, overrides: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The overrides, with a choice that is given as a mapping taken apart: its name, and each option."""
    choices = {f.name for f in choices_of(config_class)}
    for key, value in overrides.items():
        if key in choices and isinstance(value, Mapping):
            yield from ((key if option == "name" else f"{key}.{option}", of) for option, of in value.items())
        else:
            yield key, value


def parse_command(
    prog: str,
    description: str,
    config_class: type[Config],
    argv: Sequence[str],
    add_arguments: Callable[[ArgumentParser], None],
) -> tuple[Namespace, Config]:
    """Parses one command's line: its own arguments, `--config`, and a dotted flag for every field of the config.

    `--print_config` prints the resolved config and exits with 0. A flag may be written with - or _ alike.

    Returns:
        the command's own arguments, and the resolved config.
    """
    argv = as_spelled(argv, ["--print_config"])
    source = _flag_value(argv, "--config")
    values = _read_source(config_class, source)
    arguments, config = _parse(config_class, values, str(source), list(argv), prog, description, add_arguments)
    if "--print_config" in argv:
        print(yaml.safe_dump(config_to_dict(config), sort_keys=False), end="")
        raise SystemExit(0)
    return arguments, config


def config_to_dict(config: Any) -> dict[str, Any]:
    """The config as plain data, tuples as lists: what YAML and JSON hold."""
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    plain = {key: to_dict(value) if isinstance(value, Choice) else _plain(value) for key, value in values.items()}
    return json.loads(json.dumps(plain))


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) else value


def save_config(config: Any, path: Path) -> None:
    """Writes the resolved config as YAML, atomically; `load_config(type(config), path)` reads it back."""
    write_atomically(path, yaml.safe_dump(config_to_dict(config), sort_keys=False))


def preset_names(config_class: type) -> dict[str, str]:
    """The packaged presets of a stage: name → the comment on the file's first line."""
    package, _, folder = config_class.presets.rpartition(".")
    names = {}
    for entry in sorted(resources.files(package).joinpath(folder).iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            first = entry.read_text().partition("\n")[0]
            names[entry.name.removesuffix(".yaml")] = first.lstrip("# ") if first.startswith("#") else ""
    return names


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> str | None:
    """The first dotted key on which two configs (as dicts) differ, with both values; None where they agree."""
    for key in [*old, *(key for key in new if key not in old)]:
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            if found := first_difference(a, b, f"{prefix}{key}."):
                return found
        elif a != b:
            return f"{prefix}{key} was {a!r}, now {b!r}"
    return None


def _read_source(config_class: type, source: str | Path | None) -> dict[str, Any]:
    """The values of a preset or a YAML file."""
    if source is None:
        return {}
    path = Path(source)
    if path.suffix not in (".yaml", ".yml") and len(path.parts) == 1:
        package, _, folder = config_class.presets.rpartition(".")
        preset = resources.files(package).joinpath(folder, f"{source}.yaml")
        if not preset.is_file():
            names = preset_names(config_class)
            raise UsageError(
                f"unknown config {str(source)!r}{did_you_mean(str(source), names)}: "
                f"expected a YAML file or one of the presets {', '.join(names)}"
            )
        text = preset.read_text()
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"config {path} cannot be read ({error.strerror}): expected a YAML file") from None
        except UnicodeDecodeError as error:
            raise UsageError(f"config {path} is not UTF-8 text ({error}): expected a YAML file") from None
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"config {source} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values or {}, dict):
        raise UsageError(f"config {source} holds a {type(values).__name__}: expected keys and values")
    return values or {}


def _parse(
    config_class: type[Config],
    values: Mapping[str, Any],
    origin: str,
    tokens: list[str],
    prog: str,
    description: str,
    add_arguments: Callable[[ArgumentParser], None] | None,
) -> tuple[Namespace, Config]:
    """Puts a file's values in front of the flags, as flags, so that one parser checks both."""
    choices, values = list(choices_of(config_class)), dict(getattr(config_class, "upgraded", dict)(values))
    chosen = {}
    for f in choices:
        chosen[f.name], options, tokens = pick(f, values.pop(f.name, None), tokens)
        values |= {f.name: options} if options else {}
    parser = ArgumentParser(prog=prog, description=description, exit_on_error=False, allow_abbrev=False)
    own = {action.dest for action in parser._actions}
    if add_arguments:
        add_arguments(parser)
        parser.add_argument("--config", metavar="NAME|FILE", help="a packaged preset's name or a YAML file")
        parser.add_argument("--print_config", action="store_true", help="print the resolved config and stop")
        own = {action.dest for action in parser._actions}
    parser.add_class_arguments(config_class, skip={f.name for f in choices})
    for f in choices:
        parser.add_class_arguments(options_class(f, chosen[f.name]), f.name, sub_configs=False)
        _say_choices(parser, f.name, chosen[f.name], registry_of(f))
    keys = [action.dest for action in parser._actions if action.dest not in own]
    flags = [option for action in parser._actions for option in action.option_strings]
    from_file = [_token(key, value) for key, value in _flatten(values, keys, origin)]
    if "--print_config" in tokens:
        for action in parser._actions:  # What a config does not hold need not be known to print it.
            if action.dest in own:
                action.required, action.nargs = False, action.nargs if action.option_strings else "?"
    if help_asked := {"-h", "--help"} & set(tokens):
        tokens = list(help_asked)
    # The parser has a flag of that name of its own, which prints what is not resolved yet.
    tokens = as_spelled([token for token in tokens if token != "--print_config"], flags)
    yes_or_no = {action.dest for action in parser._actions if isinstance(action.default, bool)} - own
    tokens = _said(tokens, {f"--{dest}" for dest in yes_or_no})
    try:
        namespace = parser.parse_args(from_file + tokens)
        instance = parser.instantiate(namespace)
    except ArgumentError as error:
        message = _one_line(str(error), flags)
        missing = message.rpartition(": ")[2].replace("--", "").split(", ")
        if "are required" in message and not values and any(key in keys for key in missing):
            message += f"; give --config with one of the presets {', '.join(preset_names(config_class))}, or a file"
        raise UsageError(message) from None
    given = {f.name: getattr(instance, f.name) for f in fields(config_class) if f.name not in chosen}
    for f in choices:
        given[f.name] = Choice(chosen[f.name], getattr(instance, f.name, None) or options_class(f, chosen[f.name])())
    config = config_class(**given)
    return Namespace(**{dest: getattr(namespace, dest) for dest in own if hasattr(namespace, dest)}), config


def _say_choices(parser: ArgumentParser, name: str, chosen: str, choices: Iterable[str]) -> None:
    """Has the help say what may be chosen; `--name` itself is taken from the line before it is parsed."""
    for group in parser._action_groups:
        if getattr(group, "dest", None) == name:
            group.title = f"--{name} NAME: {', '.join(choices)}, or the place of your own; options of {chosen}"
            for action in group._group_actions:
                action.help = SUPPRESS if action.dest == name else action.help


def _said(tokens: Sequence[str], flags: set[str]) -> list[str]:
    """The line with `=true` after each of these flags that stands without a value."""
    following = [*tokens[1:], "--"][: len(tokens)]
    pairs = zip(tokens, following, strict=True)
    return [f"{token}=true" if token in flags and then.startswith("--") else token for token, then in pairs]


def _flatten(values: Mapping[str, Any], keys: list[str], origin: str, prefix: str = ""):
    """Dotted (key, value) pairs down to the config's fields; raises UsageError for a key that is no field."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if any(known.startswith(f"{key}.") for known in keys) and isinstance(value, Mapping):
            yield from _flatten(value, keys, origin, f"{key}.")
        elif key in keys:
            yield key, value
        else:
            raise UsageError(f"unknown key {key!r} in config {origin}{did_you_mean(key, keys)}")


def _token(key: str, value: Any) -> str:
    """A value as the flag that would set it."""
    return f"--{key}={value if isinstance(value, str) else json.dumps(value)}"


def _flag_value(argv: Sequence[str], flag: str) -> str | None:
    """The last value of `flag` in an argument list, in either of its two forms."""
    value = None
    for i, token in enumerate(argv):
        if token == flag and i + 1 < len(argv):
            value = argv[i + 1]
        elif token.startswith(f"{flag}="):
            value = token.partition("=")[2]
    return value


def _one_line(message: str, flags: list[str]) -> str:
    """The parser's message as one line, with the nearest flag where one was not recognised."""
    text = " ".join(message.split())
    if found := re.search(r"unrecognized arguments: (.*)", text, re.IGNORECASE):
        unknown = next((word for word in found[1].split() if word.startswith("-")), found[1])
        flag = unknown.partition("=")[0]
        return f"unknown argument {unknown}{did_you_mean(flag, flags)}; see --help"
    if found := re.search(r'Parser key "(.+?)": (.*)', text):
        told = re.sub(r"<class '(\w+)'>", r"\1", found[2]).replace("typing.", "")
        told = re.sub(r"Expected a Literal\[(.*?)\]", r"Expected one of \1", told)
        for kind, words in KINDS.items():
            told = told.replace(f"Expected a {kind}.", f"Expected {words}.")
        return f"--{found[1]}: {told}"
    if found := re.search(r"arguments are required: (.*)", text):
        names = (f"--{name}" if f"--{name}" in flags else name for name in found[1].split(", "))
        return f"the following arguments are required: {', '.join(names)}"
    return text

"""A part of a config that is one of several kinds, each with options of its own: a method, a backbone.

In a config class it is a field made by `choice`, and holds a `Choice`. On a command line `--method NAME` chooses and
`--method.x 3` sets an option of what is chosen; in YAML it is `method: NAME` or `method: {name: NAME, x: 3}`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass
from importlib import import_module
from typing import Any

from icrl.errors import UsageError, did_you_mean
from icrl.registry import PlaceRegistry


@dataclass(frozen=True)
class Choice:
    """A name of a registry, and options for what it names."""

    name: str
    options: Any
    """An instance of the chosen class's `Options`, a dataclass."""


def choice(registry: str, default: str) -> Any:
    """A field of a config class whose value is a `Choice` after `resolve`.

    Args:
        registry: the place of a `PlaceRegistry`, "module:NAME", whose classes each have a dataclass `Options`.
    """
    return field(default=default, metadata={"registry": registry})


def choices_of(config_class: type) -> Iterator[Field]:
    """The fields that are choices."""
    return (f for f in fields(config_class) if "registry" in f.metadata)


def registry_of(f: Field) -> PlaceRegistry:
    module, _, name = f.metadata["registry"].partition(":")
    return getattr(import_module(module), name)


def options_class(f: Field, name: str) -> type:
    """The class of the options of what the name stands for; raises UsageError for an unknown name."""
    found = getattr(registry_of(f)[name], "Options", None)
    if not (isinstance(found, type) and is_dataclass(found)):
        raise UsageError(f"{name} has no options class: expected a dataclass {name}.Options, which may be empty")
    return found


def resolve(config: Any) -> None:
    """Makes every choice of a frozen config a `Choice`; called in its `__post_init__`.

    A field may be given as a `Choice`, a name, a mapping with "name" and options, or options alone, whose class then
    tells the name.

    Raises:
        UsageError: for an unknown name or option.
    """
    for f in choices_of(type(config)):
        object.__setattr__(config, f.name, as_choice(f, getattr(config, f.name)))


def as_choice(f: Field, value: Any) -> Choice:
    """See `resolve`."""
    if isinstance(value, Choice):
        return value
    if isinstance(value, str):
        return Choice(value, options_class(f, value)())
    if isinstance(value, Mapping):
        name, options = named(f, value)
        known = options_class(f, name)
        names = [option.name for option in fields(known)]
        for key in options:
            if key not in names:
                takes = f"expected {', '.join(names)}" if names else "it has none"
                raise UsageError(f"{f.name} {name} has no option {key!r}{did_you_mean(key, names)}; {takes}")
        # Lists are what YAML and JSON make of tuples.
        return Choice(name, known(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}))
    registry = registry_of(f)
    for name in registry:
        if registry.extra(name) == "" and getattr(registry[name], "Options", None) is type(value):
            return Choice(name, value)
    raise UsageError(f"{f.name} is {value!r}: expected one of {', '.join(registry)}, or the options of one")


def named(f: Field, value: Any) -> tuple[str, dict[str, Any]]:
    """The name and the given options of a choice as a file holds it: a name, or a mapping."""
    if not isinstance(value, Mapping):
        return (value if isinstance(value, str) else f.default), {}
    name = value.get("name", f.default)
    if not isinstance(name, str):
        raise UsageError(f"{f.name}.name is {name!r}: expected one of {', '.join(registry_of(f))}")
    return name, {key: of for key, of in value.items() if key != "name"}


def pick(f: Field, stored: Any, tokens: Sequence[str]) -> tuple[str, dict[str, Any], list[str]]:
    """What a file and a command line choose together: the name, the file's options for it, and the other tokens.

    The line's choice rules. Options that the file has for another choice than the line's are left out.
    """
    name, options = named(f, stored)
    chosen, rest, waiting = None, [], False
    for token in tokens:
        flag, has_value, value = token.partition("=")
        if waiting:
            chosen, waiting = token, False
        elif flag in (f"--{f.name}", f"--{f.name}.name"):
            chosen, waiting = (value, False) if has_value else (None, True)
        else:
            rest.append(token)
    if waiting:
        raise UsageError(f"--{f.name} is given without a name: choose from {', '.join(registry_of(f))}")
    if chosen is not None and chosen != name:
        name, options = chosen, {}
    return name, options, rest


def to_dict(value: Choice) -> dict[str, Any]:
    """Plain data: the name first, then every option."""
    return {"name": value.name, **asdict(value.options)}

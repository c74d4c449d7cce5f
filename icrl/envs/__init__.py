"""The task families that come with the framework, and how one is named: `make_family("dark-room", size=9)`.

To add a family, subclass `icrl.tasks.TaskFamily`, with its options as keyword arguments of the constructor, and add
the class here, or call `FAMILIES.add("my-family", MyFamily)` in code of your own before the name is used.
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from icrl.envs.bandit import BernoulliBandit, GaussianBandit
from icrl.envs.dark_room import DarkRoom, DarkRoomDpt, DarkRoomDptPermuted, DarkRoomHard
from icrl.envs.key_to_door import KeyToDoor, KeyToDoorAdEps
from icrl.errors import UsageError, did_you_mean
from icrl.registry import Registry
from icrl.tasks import TaskFamily

__all__ = ["FAMILIES", "make_family"]

FAMILIES: Registry[Callable[..., TaskFamily]] = Registry("task family")
for _family in (
    DarkRoom,
    DarkRoomHard,
    DarkRoomDpt,
    DarkRoomDptPermuted,
    KeyToDoor,
    KeyToDoorAdEps,
    BernoulliBandit,
    GaussianBandit,
):
    FAMILIES.add(_family.name, _family)


def make_family(name: str, **options: Any) -> TaskFamily:
    """The family of that name; options that are left out take the family's defaults.

    Raises:
        UsageError: for an unknown name or option, or an option of the wrong type or out of range.
    """
    factory = FAMILIES[name]
    known = inspect.signature(factory).parameters
    for key, value in options.items():
        if key not in known:
            hint = did_you_mean(key, known)
            raise UsageError(f"{name} has no option {key!r}{hint}; choose from {', '.join(known)}")
        _check_type(name, key, value, known[key].annotation)
    return factory(**options)


def _check_type(family: str, key: str, value: Any, annotation: Any) -> None:
    """Raises UsageError where an option is not of the simple type that the constructor declares."""
    if get_origin(annotation) is Literal:
        if value not in get_args(annotation):
            choices = ", ".join(map(repr, get_args(annotation)))
            raise UsageError(f"{family}: {key}={value!r} is not a choice; choose from {choices}")
        return
    if annotation not in (int, float, str, bool):
        return
    accepted = (int, float) if annotation is float else annotation
    if not isinstance(value, accepted) or (isinstance(value, bool) and annotation is not bool):
        raise UsageError(f"{family}: {key}={value!r} is a {type(value).__name__}; expected {annotation.__name__}")

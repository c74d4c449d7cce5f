"""The options of a task family: the keyword arguments of its constructor, kept without its doing."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, get_origin

_OPEN = "_options_of_open_constructors"
"""An attribute that an instance has while it is constructed: the names of the arguments that were kept."""


def constructor_options(cls: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The constructor's keyword arguments; those of the classes above where it passes on `**options`."""
    known: dict[str, inspect.Parameter] = {}
    for part in cls.__mro__ if isinstance(cls, type) else (cls,):
        if isinstance(cls, type) and "__init__" not in vars(part):
            continue
        parameters = inspect.signature(part).parameters
        known = {**{k: p for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY}, **known}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return known


def keeping_options(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that keeps its keyword arguments in `self.options` before it does anything else.

    So they are all there, defaults included, and the constructor may put a resolved value in place of one that was
    given. Where constructors call one another the outermost argument of a name counts; what an inner one was given
    that the outermost class does not take goes again at the end.
    """
    parameters = {k: p for k, p in inspect.signature(init).parameters.items() if p.kind is p.KEYWORD_ONLY}

    @wraps(init)
    def kept(self: Any, *args: Any, **given: Any) -> None:
        outermost = _OPEN not in vars(self)
        if outermost:
            self.options = {}
            vars(self)[_OPEN] = set()
        values = {k: _plain(given.get(k, p.default), p.annotation) for k, p in parameters.items()}
        vars(self)[_OPEN] |= set(values)
        self.options = {**values, **self.options}
        try:
            init(self, *args, **given)
        finally:
            if outermost:
                names = vars(self).pop(_OPEN)
        if outermost:
            known = constructor_options(type(self))
            self.options = {k: v for k, v in self.options.items() if k in known or k not in names}

    return kept


def _plain(value: Any, annotation: Any) -> Any:
    """The value as JSON gives it back: a whole number where a float is declared as a float, a sequence as a list."""
    if annotation in (float, "float") and type(value) is int:
        return float(value)
    if isinstance(value, str) and get_origin(annotation) is Sequence:
        return [value]
    return list(value) if isinstance(value, tuple) else value

"""JSON that was read, checked against what is expected of it: the type and the range of every value.

A check takes a value and the name of its place, and raises `Fault` where the value is not what it should be.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Check = Callable[[Any, str], None]

LARGEST = 2**63 - 1


class Fault(ValueError):
    """What is wrong with a file that was read, in a few words; whoever opens its folder adds which, and a remedy."""


def read_json(path: Path) -> Any:
    """The value in a JSON file; raises Fault where the file is not JSON, FileNotFoundError where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Fault(f"not readable as JSON ({' '.join(str(error).split())})") from None


def integer(least: int, most: int = LARGEST) -> Check:
    """A whole number of that range; true and 1.0 are none."""

    def check(value: Any, place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            expected = f"from {least} to {most}" if most < LARGEST else f"of at least {least}"
            raise Fault(f"{place} is {shown(value)}: expected an integer {expected}")

    return check


def number(value: Any, place: str) -> None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Fault(f"{place} is {shown(value)}: expected a finite number")


def text(value: Any, place: str) -> None:
    if not isinstance(value, str):
        raise Fault(f"{place} is {shown(value)}: expected text")


def flag(value: Any, place: str) -> None:
    if not isinstance(value, bool):
        raise Fault(f"{place} is {shown(value)}: expected true or false")


def anything(value: Any, place: str) -> None:
    """Any value."""


def optional(check: Check) -> Check:
    """null, or what `check` takes."""
    return lambda value, place: None if value is None else check(value, place)


def list_of(check: Check) -> Check:
    def check_all(value: Any, place: str) -> None:
        if not isinstance(value, list):
            raise Fault(f"{place} is {shown(value)}: expected a list")
        for position, element in enumerate(value):
            check(element, f"{place}[{position}]")

    return check_all


def map_of(check: Check) -> Check:
    """A JSON object whose values all pass `check`."""

    def check_all(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise Fault(f"{place} is {shown(value)}: expected a JSON object")
        for key, element in value.items():
            check(element, f"{place}.{key}")

    return check_all


def fields_of(checks: Mapping[str, Check]) -> Check:
    """A JSON object that has all of these keys; others are left alone."""

    def check_all(value: Any, place: str) -> None:
        map_of(anything)(value, place)
        for key, check in checks.items():
            if key not in value:
                raise Fault(f"{place} has no {key!r}")
            check(value[key], key)

    return check_all


def shown(value: Any) -> str:
    """The value as a message shows it: its beginning where it is long."""
    whole = repr(value) if not isinstance(value, int) or abs(value) < 10**60 else "a very large integer"
    return whole if len(whole) <= 60 else f"{whole[:56]} ..."


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")

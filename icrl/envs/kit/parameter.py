"""One parameter of a task, and the values that it may take: numbers of a range, whole numbers, or choices."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError, did_you_mean
from icrl.tasks import AXES, Axis

UNSTATED: Any = object()
LARGEST = 2**40
"""Of whole numbers: a share of a range that wide still tells its values apart."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a task: a number from a range, a whole number (`integer`), or one of several `choices`.

    Whole numbers and choices are *discrete*: `count` values by index, which are what `apply` is given.

    Raises:
        UsageError: for an axis that there is not, an empty range, or choices that are not different JSON values.
    """

    axis: Axis
    """What it varies."""
    low: float | None = None
    high: float | None = None
    """The range; of whole numbers both ends belong to it."""
    default: Any = UNSTATED
    """Its value where its axis is held."""
    log: bool = False
    """Drawn uniformly in the logarithm."""
    beyond: Sequence[Any] | None = None
    """The range of the out-of-distribution set "extrapolation", two numbers, or further choices; it shares no value
    with the other."""
    integer: bool = False
    """Whole numbers only."""
    choices: Sequence[Any] | None = None
    """The values that it may take, instead of a range: numbers, words, lists, …"""

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            hint = did_you_mean(self.axis, AXES)
            raise UsageError(f"a parameter's axis is {self.axis!r}{hint}: expected one of {', '.join(AXES)}")
        if self.default is UNSTATED:
            raise UsageError("a parameter states no default: expected the value that it has where its axis is held")
        if isinstance(self.default, np.generic):
            object.__setattr__(self, "default", self.default.item())
        if self.choices is not None:
            self._check_choices()
            return
        if self.low is None or self.high is None:
            raise UsageError("a parameter states no values: expected low= and high=, or choices=[…]")
        for name in ("low", "high", "default"):
            _finite(name, getattr(self, name))
        if self.integer:
            for name in ("low", "high", "default"):
                object.__setattr__(self, name, _whole(name, getattr(self, name)))
        if not self.low < self.high or (self.log and self.low <= 0):
            raise UsageError(f"the range from {self.low} to {self.high} is empty, or not positive on a log scale")
        if self.beyond is not None:
            self._check_beyond()

    def _check_choices(self) -> None:
        if self.integer or self.log or self.low is not None or self.high is not None:
            raise UsageError("a parameter has choices and a range: expected choices=[…] alone, or low= and high=")
        chosen = _different("choices", self.choices)
        if len(chosen) < 2:
            raise UsageError(f"choices={chosen} leave nothing to choose: expected at least two values")
        object.__setattr__(self, "choices", tuple(chosen))
        object.__setattr__(self, "default", _as_json("default", self.default))
        if self.beyond is not None:
            further = _different("beyond", self.beyond)
            if not further or any(value in chosen for value in further):
                raise UsageError(f"beyond={further}: expected further choices, none of {_listed(chosen)}")
            object.__setattr__(self, "beyond", tuple(further))

    def _check_beyond(self) -> None:
        for value in np.atleast_1d(np.asarray(self.beyond, object)):
            _finite("beyond", value)
        least = int(self.integer)
        if np.shape(self.beyond) != (2,) or not self.beyond[0] - least < self.beyond[1] or (
            self.log and self.beyond[0] <= 0
        ):  # fmt: skip
            span = (self.high - self.low) / 2
            first, last = self.high + least, self.high + (int(span) + 1 if self.integer else span)
            raise UsageError(
                f"beyond={self.beyond}: expected two numbers that rise, both above 0 on a log scale, such as "
                f"({first}, {last:g})"
            )
        if max(self.low, self.beyond[0]) < min(self.high, self.beyond[1]) + least:
            raise UsageError(f"beyond={self.beyond} overlaps the range from {self.low} to {self.high}")
        if self.integer:
            object.__setattr__(self, "beyond", tuple(_whole("beyond", value) for value in self.beyond))

    @property
    def count(self) -> int | None:
        """How many values it may take; None where they are the numbers of a range."""
        if self.choices is not None:
            return len(self.choices)
        return self.high - self.low + 1 if self.integer else None

    @property
    def outside(self) -> "Parameter":
        """Of a discrete parameter: what it is in the set "extrapolation"."""
        if self.beyond is None:
            return self
        if self.choices is None and self.beyond[0] < self.beyond[1]:
            return Parameter(self.axis, *self.beyond, self.default, self.log, integer=True)
        return _Only(self.axis, default=self.default, choices=self.beyond if self.choices else self.beyond[:1])

    @property
    def difference(self) -> str:
        """What is beyond and what is not, in words."""
        if self.choices is not None:
            return f"{_listed(self.beyond)} rather than {_listed(self.choices)}"
        return f"from {self.beyond[0]:g} to {self.beyond[1]:g} rather than {self.low:g} to {self.high:g}"

    def at(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value at a share `u` of the range, from 0 to 1."""
        return _between(self.low, self.high, u, self.log)

    def beyond_at(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value at a share `u` of the range beyond."""
        return _between(*self.beyond, u, self.log)

    def value(self, index: int) -> Any:
        """The discrete value of that index, from 0."""
        return self.low + int(index) if self.choices is None else self.choices[index]

    def index(self, u: NDArray[np.float64]) -> NDArray[np.int64]:
        """The index of the discrete value at a share `u` of them all."""
        if self.log:
            found = np.floor(_between(self.low, self.high + 1, u, log=True)) - self.low
        else:
            found = np.floor(u * self.count)
        return np.clip(found.astype(np.int64), 0, self.count - 1)

    def share(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """The share of all draws that fall below the discrete value of that index; at `count`, 1."""
        if self.log:
            return np.log((self.low + np.asarray(index)) / self.low) / np.log((self.high + 1) / self.low)
        return np.asarray(index) / self.count

    def middle(self, width: float) -> tuple[int, int]:
        """The discrete values within the middle `width`, from 0 to 1: the first index, and one past the last."""

        def inside(index: int) -> bool:
            centre = (self.share(index) + self.share(index + 1)) / 2
            return abs(centre - 0.5) <= width / 2 + 1e-9

        first, last = (int(self.index(np.array(0.5 + side * width / 2))) for side in (-1, 1))
        first, last = first + (not inside(first)), last - (not inside(last))
        return first, last + 1


class _Only(Parameter):
    """Choices, of which one is enough: beyond a range there may be one value more."""

    def _check_choices(self) -> None:
        return


def _between(low: float, high: float, u: NDArray[np.float64], log: bool) -> NDArray[np.float64]:
    return low * (high / low) ** u if log else low + (high - low) * u


def _finite(name: str, value: Any) -> None:
    """Raises UsageError for what is no number; a default may be several."""
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "biuf" or (numbers.ndim and name != "default") or not np.isfinite(numbers).all():
        raise UsageError(f"{name}={value!r} of a parameter: expected a finite number, or choices=[…]")


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral | float) or value != int(value):
        raise UsageError(f"{name}={value!r} of an integer parameter: expected a whole number")
    if abs(value) > LARGEST:
        raise UsageError(f"{name}={value!r} of an integer parameter: expected at most {LARGEST} in size")
    return int(value)


def _different(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | Mapping) or not isinstance(values, Sequence | np.ndarray):
        raise UsageError(f"{name}={values!r}: expected a list of values")
    found = [_as_json(name, value) for value in values]
    try:
        distinct = len(set(found))
    except TypeError:
        distinct = len({json.dumps(value, sort_keys=True) for value in found})
    if distinct < len(found):
        raise UsageError(f"{name}={_listed(found)}: a value stands there twice")
    return found


def _as_json(name: str, value: Any) -> Any:
    """The value as a dataset's JSON brings it back: tuples and arrays as lists, NumPy's numbers as Python's."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_as_json(name, part) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _as_json(name, part) for key, part in value.items()}
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and np.isfinite(value)):
        return value
    raise UsageError(f"{name}: {value!r} is not a JSON value: expected numbers, words, lists or dicts of them")


def _listed(values: Sequence[Any]) -> str:
    shown = [repr(value) for value in values[:4]]
    return ", ".join(shown if len(values) <= 4 else [*shown[:3], f"… ({len(values):,})"])

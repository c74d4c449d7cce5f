"""Families whose tasks are a few numbers, each drawn from a range: pole lengths, target speeds, goal positions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError, did_you_mean
from icrl.seeding import Streams, stream_keys
from icrl.tasks import AXES, Axis, Split, Task, TaskFamily, ood_numbers, split_numbers, split_sizes, varying_axes


@dataclass(frozen=True)
class Parameter:
    """One number of a task: where it is drawn from.

    Raises:
        UsageError: for an axis that there is not, or an empty range.
    """

    axis: Axis
    """What it varies."""
    low: float
    high: float
    default: float
    """Its value where its axis is held."""
    log: bool = False
    """Drawn uniformly in the logarithm."""
    beyond: tuple[float, float] | None = None
    """The range of the out-of-distribution set "extrapolation"; it does not overlap the other."""

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            hint = did_you_mean(self.axis, AXES)
            raise UsageError(f"a parameter's axis is {self.axis!r}{hint}: expected one of {', '.join(AXES)}")
        if not self.low < self.high or (self.log and self.low <= 0):
            raise UsageError(f"the range from {self.low} to {self.high} is empty, or not positive on a log scale")
        if self.beyond is not None:
            self._check_beyond()

    def _check_beyond(self) -> None:
        if np.shape(self.beyond) != (2,) or not self.beyond[0] < self.beyond[1] or (self.log and self.beyond[0] <= 0):
            raise UsageError(
                f"beyond={self.beyond}: expected two numbers that rise, both above 0 on a log scale, such as "
                f"({self.high}, {self.high + (self.high - self.low) / 2:g})"
            )
        if max(self.low, self.beyond[0]) < min(self.high, self.beyond[1]):
            raise UsageError(f"beyond={self.beyond} overlaps the range from {self.low} to {self.high}")

    def at(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value at a share `u` of the range, from 0 to 1."""
        return _between(self.low, self.high, u, self.log)

    def beyond_at(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value at a share `u` of the range beyond."""
        return _between(*self.beyond, u, self.log)


def _between(low: float, high: float, u: NDArray[np.float64], log: bool) -> NDArray[np.float64]:
    return low * (high / low) ** u if log else low + (high - low) * u


class ParametricFamily(TaskFamily):
    """A family whose task is one number for each entry of `parameters`, independent of each other.

    The numbers depend on the split's seed and on the task's number only, so `train` may grow and leave the held-out
    tasks as they are; without a hole, holding one axis leaves the numbers of the others as they are.

    Args:
        train, validation, test: number of tasks in each split; each out-of-distribution set has `test` tasks.
        hold: axes whose parameters keep their defaults.
        hole: the share of tasks, those in the middle of all varied parameters' ranges together, that is kept out of
            training, validation and test. Above 0 there is an out-of-distribution set "hole" of such tasks.
    """

    version = 1
    parameters: Mapping[str, Parameter]
    axes: tuple[Axis, ...] = ()
    """Those of the parameters, unless a class says otherwise ("start" for a start drawn in every episode)."""

    def __init__(
        self,
        *,
        train: int = 10_000,
        validation: int = 50,
        test: int = 100,
        hold: Sequence[str] = (),
        hole: float = 0.0,
    ) -> None:
        if not getattr(self, "parameters", None):
            raise UsageError(f"{type(self).__name__} states no parameters: its tasks would all be one")
        self.num_tasks = split_sizes(train, validation, test)
        if wrong := [name for name, value in self.parameters.items() if not isinstance(value, Parameter)]:
            raise UsageError(f"{self.name}: {', '.join(wrong)} of its parameters is no icrl.envs.parametric.Parameter")
        if isinstance(self.axes, str) or not set(self.axes) <= set(AXES):
            raise UsageError(f"{self.name} has axes = {self.axes!r}: expected a tuple of {', '.join(AXES)}")
        if not 0 <= hole <= 0.9:
            raise UsageError(f"hole={hole}: expected a share of the tasks, from 0 to 0.9")
        own = {parameter.axis for parameter in self.parameters.values()}
        every = type(self).axes or tuple(axis for axis in AXES if axis in own)
        self.axes = varying_axes(self.name, every, hold)
        self.varied = tuple(name for name, parameter in self.parameters.items() if parameter.axis in self.axes)
        if not self.varied:
            raise UsageError(f"{self.name} with hold={list(hold)} leaves one task: its tasks differ in {sorted(own)}")
        hold = [axis for axis in every if axis not in self.axes]
        self.options: dict[str, Any] = {
            **self.num_tasks, "hold": hold, "hole": float(hole),
        }  # fmt: skip
        self.ood_sets = {}
        if any(self.parameters[name].beyond for name in self.varied):
            self.ood_sets["extrapolation"] = "; ".join(
                f"{name} from {parameter.beyond[0]:g} to {parameter.beyond[1]:g} rather than {parameter.low:g} to "
                f"{parameter.high:g}"
                for name in self.varied
                if (parameter := self.parameters[name]).beyond
            )
        if hole:
            self.ood_sets["hole"] = f"the middle {hole:.0%} of tasks, by all varied parameters together"

    def split(self, seed: int) -> Split:
        numbers = np.arange(sum(self.num_tasks.values()))
        tasks = self._tasks(numbers, seed, "range")
        ood = {
            name: self._tasks(ood_numbers(position, self.num_tasks["test"]), seed, name)
            for position, name in enumerate(self.ood_sets)
        }
        return split_numbers(numbers, self.num_tasks, tasks.__getitem__, seed, ood)

    def _tasks(self, numbers: NDArray[np.int64], seed: int, where: str) -> list[Task]:
        """Tasks of these numbers: in the range, in its "hole", or in the "extrapolation"."""
        streams = {name: Streams(stream_keys(seed, f"{self.name} {name}", numbers)) for name in self.varied}
        share = {name: stream.uniform() for name, stream in streams.items()}
        # A box in the middle of the unit cube that has this share of its volume.
        hole = self.options["hole"] ** (1 / len(self.varied))
        if where == "hole":
            share = {name: 0.5 + hole * (u - 0.5) for name, u in share.items()}
        while where == "range" and hole:
            inside = np.flatnonzero(np.all([np.abs(u - 0.5) <= hole / 2 for u in share.values()], axis=0))
            if not len(inside):
                break
            for name, stream in streams.items():
                share[name][inside] = stream.uniform(inside)
        columns = {name: np.full(len(numbers), parameter.default) for name, parameter in self.parameters.items()}
        for name, u in share.items():
            parameter = self.parameters[name]
            beyond = where == "extrapolation" and parameter.beyond
            columns[name] = parameter.beyond_at(u) if beyond else parameter.at(u)
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [Task(int(n), dict(zip(columns, row, strict=True))) for n, row in zip(numbers, rows, strict=True)]

    def values(self, name: str, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """One parameter of the tasks, shape `(N,)`."""
        return np.array([task.params[name] for task in tasks], np.float64)

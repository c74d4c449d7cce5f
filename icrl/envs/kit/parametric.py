"""Families whose tasks are a few parameters, each drawn from its values: pole lengths, target speeds, colours."""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.parameter import Parameter
from icrl.errors import UsageError
from icrl.seeding import Streams, stream_keys
from icrl.tasks import AXES, Axis, Split, Task, TaskFamily, ood_numbers, split_numbers, split_sizes, varying_axes

__all__ = ["Parameter", "ParametricFamily"]

LISTED = 1 << 20
"""So many combinations are dealt out in an order of them all; of more each is drawn, again where it was before."""


class ParametricFamily(TaskFamily):
    """A family whose task is one value for each entry of `parameters`, independent of each other.

    The values depend on the split's seed and on the task's number only, so `train` may grow and leave the held-out
    tasks as they are; without a hole, holding one axis leaves the numbers of the others as they are. Where all that
    varies is discrete there are finitely many tasks: each combination is dealt out once.

    Args:
        train, validation, test: number of tasks in each split; each out-of-distribution set has `test` tasks, or as
            many as there are.
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
            raise UsageError(
                f"{self.name}: {', '.join(wrong)} of its parameters is not an icrl.envs.kit.parametric.Parameter"
            )
        if isinstance(self.axes, str) or not set(self.axes) <= set(AXES):
            raise UsageError(f"{self.name} has axes = {self.axes!r}: expected a tuple of {', '.join(AXES)}")
        if not 0 <= hole <= 0.9:
            raise UsageError(f"hole={hole}: expected a share of the tasks, from 0 to 0.9")
        self._hole = float(hole)
        own = {parameter.axis for parameter in self.parameters.values()}
        every = type(self).axes or tuple(axis for axis in AXES if axis in own)
        self.axes = varying_axes(self.name, every, hold)
        self.varied = tuple(name for name, parameter in self.parameters.items() if parameter.axis in self.axes)
        if not self.varied:
            raise UsageError(f"{self.name} with hold={list(hold)} leaves one task: its tasks differ in {sorted(own)}")
        self.ood_sets = {}
        if any(self.parameters[name].beyond for name in self.varied):
            self.ood_sets["extrapolation"] = "; ".join(
                f"{name} {self.parameters[name].difference}" for name in self.varied if self.parameters[name].beyond
            )
        if hole:
            self.ood_sets["hole"] = f"the middle {hole:.0%} of tasks, by all varied parameters together"
            self._check_hole()
        self._check_sizes()

    def _check_hole(self) -> None:
        hole = self._hole
        for name in self.varied:
            parameter = self.parameters[name]
            if parameter.choices is not None:
                raise UsageError(
                    f"{self.name}: hole={hole} is the middle of ranges, and {name} has choices: leave the hole away, "
                    "or hold its axis"
                )
            if parameter.count:
                first, end = parameter.middle(self._hole_width)
                if first >= end:
                    raise UsageError(
                        f"{self.name}: hole={hole} leaves no whole number of {name} in the middle: raise it"
                    )

    def _check_sizes(self) -> None:
        """Raises UsageError where there are fewer tasks than were asked for."""
        left, asked = self._num_combinations("range"), self.num_tasks
        if left is None or sum(asked.values()) <= left:
            return
        found = f"{self.name} has {left:,} combinations of {', '.join(self.varied)}"
        sizes = ", ".join(f"{name}={size}" for name, size in asked.items())
        if left < 2:
            raise UsageError(f"{found} outside its hole, {sizes} were asked for: lower the hole")
        held = asked["test"] + asked["validation"]
        if held < left:
            fit = {"train": left - held, "validation": asked["validation"], "test": asked["test"]}
        else:
            test, validation = max(1, left // 5), left // 10
            fit = {"train": left - test - validation, "validation": validation, "test": test}
        raise UsageError(
            f"{found}, {sizes} were asked for: {left:,} tasks at most, such as "
            + ", ".join(f"{name}={size}" for name, size in fit.items())
        )

    @property
    def _hole_width(self) -> float:
        """The side of a box in the middle of the unit cube that has the hole's share of its volume."""
        return self._hole ** (1 / len(self.varied))

    def _discrete(self, where: str) -> dict[str, Parameter]:
        """The varied parameters that are discrete, with the values of the range or of the extrapolation."""
        found = {name: self.parameters[name] for name in self.varied if self.parameters[name].count}
        return {name: p.outside if where == "extrapolation" else p for name, p in found.items()}

    def _num_combinations(self, where: str) -> int | None:
        """How many tasks there are: in the range, in its "hole", or in the "extrapolation"; None where no end."""
        discrete = self._discrete(where)
        if len(discrete) < len(self.varied):
            return None
        every = prod(parameter.count for parameter in discrete.values())
        if where == "extrapolation" or not self._hole:
            return every
        middles = (parameter.middle(self._hole_width) for parameter in discrete.values())
        hole = prod(end - first for first, end in middles)
        return hole if where == "hole" else every - hole

    def split(self, seed: int) -> Split:
        numbers = np.arange(sum(self.num_tasks.values()))
        tasks = self._tasks(numbers, seed, "range")
        ood = {}
        for position, name in enumerate(self.ood_sets):
            there, test = self._num_combinations(name), self.num_tasks["test"]
            ood[name] = self._tasks(ood_numbers(position, test if there is None else min(test, there)), seed, name)
        return split_numbers(numbers, self.num_tasks, tasks.__getitem__, seed, ood)

    def _tasks(self, numbers: NDArray[np.int64], seed: int, where: str) -> list[Task]:
        """Tasks of these numbers: in the range, in its "hole", or in the "extrapolation"."""
        share = self._shares(numbers, seed, where)
        columns = {name: [parameter.default] * len(numbers) for name, parameter in self.parameters.items()}
        discrete = self._discrete(where)
        for name, u in share.items():
            parameter = self.parameters[name]
            if name in discrete:
                columns[name] = [discrete[name].value(index) for index in discrete[name].index(u)]
            else:
                beyond = where == "extrapolation" and parameter.beyond
                columns[name] = (parameter.beyond_at(u) if beyond else parameter.at(u)).tolist()
        rows = zip(*columns.values(), strict=True)
        return [Task(int(n), dict(zip(columns, row, strict=True))) for n, row in zip(numbers, rows, strict=True)]

    def _shares(self, numbers: NDArray[np.int64], seed: int, where: str) -> dict[str, NDArray[np.float64]]:
        """Where in its range each varied parameter of each task lies, from 0 to 1; of a discrete one the middle of
        its value's share."""
        discrete, there = self._discrete(where), self._num_combinations(where)
        if there is not None and prod(parameter.count for parameter in discrete.values()) <= LISTED:
            return self._dealt(len(numbers), seed, where)
        hole = self._hole_width
        streams = {name: Streams(stream_keys(seed, f"{self.name} {name}", numbers)) for name in self.varied}

        def drawn(name: str, lanes: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
            u = streams[name].uniform(lanes)
            if where == "hole":
                u = 0.5 + hole * (u - 0.5)
            if name not in discrete:
                return u
            index = discrete[name].index(u)
            if where == "hole":
                first, end = discrete[name].middle(hole)
                index = np.clip(index, first, end - 1)
            return _centre(discrete[name], index)

        share = {name: drawn(name) for name in self.varied}
        while len(again := self._misdrawn(share, where, there is not None)):
            for name in self.varied:
                share[name][again] = drawn(name, again)
        return share

    def _misdrawn(self, share: dict[str, NDArray[np.float64]], where: str, finite: bool) -> NDArray[np.int64]:
        """Tasks to draw again: in the hole, or, of finitely many, as one of a smaller number is already."""
        wrong = np.zeros(len(next(iter(share.values()))), bool)
        if where == "range" and self._hole:
            wrong |= self._in_hole(share)
        if finite:
            _, first = np.unique(np.stack(list(share.values()), axis=1), axis=0, return_index=True)
            repeated = np.ones(len(wrong), bool)
            repeated[first] = False
            wrong |= repeated
        return np.flatnonzero(wrong)

    def _in_hole(self, share: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
        width, discrete = self._hole_width, self._discrete("range")
        slack = {name: 1e-9 if name in discrete else 0.0 for name in share}
        return np.all([np.abs(u - 0.5) <= width / 2 + slack[name] for name, u in share.items()], axis=0)

    def _dealt(self, count: int, seed: int, where: str) -> dict[str, NDArray[np.float64]]:
        """The first `count` of all combinations in a drawn order, in which each stands once; earlier, most likely,
        those that its parameters would draw most often."""
        discrete = self._discrete(where)
        every = np.arange(prod(parameter.count for parameter in discrete.values()))
        index = dict(zip(discrete, np.unravel_index(every, [p.count for p in discrete.values()]), strict=True))
        share = {name: _centre(parameter, index[name]) for name, parameter in discrete.items()}
        chance = np.ones(len(every))
        for name, parameter in discrete.items():
            chance *= parameter.share(index[name] + 1) - parameter.share(index[name])
        u = Streams(stream_keys(seed, f"{self.name} combination {where}", every)).uniform()
        order = np.argsort(-np.log1p(-u) / chance, kind="stable")
        if self._hole and where != "extrapolation":
            order = order[self._in_hole(share)[order] == (where == "hole")]
        return {name: u[order[:count]] for name, u in share.items()}

    def values(self, name: str, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """One parameter of the tasks, of numbers, shape `(N,)`."""
        return np.array([task.params[name] for task in tasks], np.float64)


def _centre(parameter: Parameter, index: NDArray[np.int64]) -> NDArray[np.float64]:
    return (parameter.share(index) + parameter.share(index + 1)) / 2

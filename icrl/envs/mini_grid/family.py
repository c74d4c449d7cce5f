"""What the MiniGrid families share: a task is a layout, drawn by the minigrid package from a seed.

Every episode of a task replays its layout. The tasks of a split are apart by layout, not only by seed: two seeds may
draw the same room.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from minigrid.core.actions import Actions
from minigrid.minigrid_env import MiniGridEnv

from icrl.envs.kit.measured import measured_return
from icrl.envs.kit.simple_policies import UniformActions
from icrl.envs.mini_grid.batch import OBSERVATION_SPACE, MiniGridBatch
from icrl.envs.mini_grid.expert import ShortestWay
from icrl.envs.mini_grid.layouts import Layout, read_layout
from icrl.envs.mini_grid.shortest_way import ShortestWays
from icrl.errors import UsageError
from icrl.seeding import derive_seed
from icrl.tasks import (
    Anchors,
    Axis,
    ReferencePolicy,
    Split,
    Task,
    TaskFamily,
    check_count,
    ood_numbers,
    split_numbers,
    split_sizes,
    varying_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

Shape = dict[str, Any]


class MiniGridFamily(TaskFamily):
    """Layouts of one kind of room. A subclass gives their shape, that of the larger ones, and builds them.

    Args:
        shape: of the layouts, as its `build` takes it.
        larger: of those of the out-of-distribution set "larger".
        horizon: steps of an episode, also in its reward, 1 - 0.9 · steps / horizon; 0 for the package's number.
        train, validation, test: layouts in each split; "larger" has `test` too.
        hold: ["start"] to begin in the first cell, row by row, on the agent's side of all doors, facing right.
    """

    picture_shows = (
        "Each path runs from dark to bright. Squares are doors, filled where they are locked; crosses are "
        "keys; gold is the goal."
    )
    version = 1
    source = "Chevalier-Boisvert et al. 2023 (MiniGrid)"
    axes: tuple[Axis, ...] = ("reward", "dynamics", "start")
    fixed_axes = ("reward", "dynamics")
    anchor_episodes = 10
    """Episodes of each task that the random policy's return is averaged over."""

    def __init__(
        self,
        shape: Shape,
        larger: Shape,
        *,
        horizon: int = 0,
        train: int = 500,
        validation: int = 50,
        test: int = 100,
        hold: Sequence[str] = (),
    ) -> None:
        check_count("horizon", horizon, at_least=0)
        self.num_tasks = split_sizes(train, validation, test)
        every = type(self).axes
        if every != ("start",):
            self.axes = varying_axes(self.name, every, hold)
        hold = [axis for axis in every if axis not in self.axes]
        if set(hold) & set(self.fixed_axes):
            raise UsageError(f"{self.name} cannot hold {hold}: a layout is drawn as a whole; only start can be held")
        self.shape, self.larger, self._one_start = shape, larger, "start" in hold
        self._rooms: dict[tuple, MiniGridEnv] = {}
        self._layouts: dict[tuple, Layout] = {}
        self._ways: dict[tuple, ShortestWays] = {}
        self._splits: dict[int, Split] = {}
        self.options["horizon"] = self.horizon = horizon or self._room(shape).max_steps
        self.observation_space = OBSERVATION_SPACE
        self.action_space = gym.spaces.Discrete(len(Actions))
        differs = [name for name in shape if shape[name] != larger[name]]
        there, here = (_words({name: of[name] for name in differs}) for of in (larger, shape))
        self.ood_sets = {"larger": f"{there} rather than {here}"}

    @abstractmethod
    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        """An environment of the package that draws layouts of this shape."""

    def split(self, seed: int) -> Split:
        if seed not in self._splits:
            total = sum(self.num_tasks.values())
            seeds = self._distinct(self.shape, seed, total)
            numbers = ood_numbers(0, self.num_tasks["test"])
            larger = self._distinct(self.larger, seed, len(numbers))
            ood = [Task(int(n), {"layout": s, **self.larger}) for n, s in zip(numbers, larger, strict=True)]
            self._splits[seed] = split_numbers(
                np.arange(total), self.num_tasks, lambda n: Task(n, {"layout": seeds[n], **self.shape}), seed,
                {"larger": ood},
            )  # fmt: skip
        return self._splits[seed]

    def _distinct(self, shape: Shape, seed: int, count: int) -> list[int]:
        """Seeds of the package, drawn from the split's, of so many layouts that all differ."""
        seen: set[bytes] = set()
        found: list[int] = []
        for draw in range(1_000 + 20 * count):
            layout_seed = derive_seed(seed, f"{self.name} {_words(shape)}", draw)
            key = self._layout(shape, layout_seed).key
            if key not in seen:
                seen.add(key)
                found.append(layout_seed)
            if len(found) == count:
                return found
        raise UsageError(
            f"{self.name} has only about {len(found)} layouts with {_words(shape)}, and {count} were asked for: "
            "lower train, validation or test"
        )

    def _room(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        key = tuple(shape.items())
        if key not in self._rooms:
            self._rooms[key] = self.build(shape)
        return self._rooms[key]

    def _layout(self, shape: Mapping[str, Any], seed: int) -> Layout:
        key = (seed, *shape.items())
        if key not in self._layouts:
            layout = read_layout(self._room(shape), seed)
            self._layouts[key] = layout.from_default_start() if self._one_start else layout
        return self._layouts[key]

    def layout(self, task: Task) -> Layout:
        """Of the task: its walls, objects, start and goal."""
        shape = {name: value for name, value in task.params.items() if name != "layout"}
        return self._layout(shape, task.params["layout"])

    def ways(self, task: Task) -> ShortestWays:
        """The shortest way to the task's reward from every state."""
        key = tuple(task.params.items())
        if key not in self._ways:
            self._ways[key] = ShortestWays(self.layout(task))
        return self._ways[key]

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> MiniGridBatch:
        return MiniGridBatch([self.layout(task) for task in tasks], self.horizon, seed, index)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        """The optimum is exact, from the length of the shortest way; the random policy's return is measured."""
        lengths = [self.ways(task).length() for task in tasks]
        possible = [length is not None and length <= self.horizon for length in lengths]
        optimum = np.array(
            [1 - 0.9 * length / self.horizon if can else 0.0 for length, can in zip(lengths, possible, strict=True)]
        )
        random = measured_return(self, tasks, partial(UniformActions, self), self.anchor_episodes)
        return Anchors(random, optimum, measured=True)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return ShortestWay([self.ways(task) for task in tasks])

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.mini_grid.drawing import draw_room

        draw_room(axes, self.layout(task), self.make([task], seed=0), history)


def _words(shape: Mapping[str, Any]) -> str:
    """A shape in words: "size 8"."""
    return ", ".join(f"{name} {value}" for name, value in shape.items())

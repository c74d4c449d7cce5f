"""MiniGrid: rooms, keys, doors and lava, of which the agent sees the 7×7 cells ahead of it.

A task is a layout, drawn by the minigrid package from a seed; every episode of a task replays it. The tasks of a split
are apart by layout, not only by seed: two seeds may draw the same room.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym
import minigrid  # noqa: F401  (it registers the environments that MiniGridById names)
import numpy as np
from minigrid.core.actions import Actions
from minigrid.envs import CrossingEnv, DoorKeyEnv, EmptyEnv, KeyCorridorEnv, MultiRoomEnv
from minigrid.minigrid_env import MiniGridEnv

from icrl.envs.measured import measured_return
from icrl.envs.mini_grid_batch import OBSERVATION_SPACE, MiniGridBatch
from icrl.envs.mini_grid_expert import ShortestWay
from icrl.envs.mini_grid_layouts import RULES, FourRoomsOfSize, Layout, UnlockOfSize, read_layout
from icrl.envs.mini_grid_plan import Plan
from icrl.envs.simple_policies import UniformActions
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
        hold: ["start"] to begin in the first cell, row by row, that the agent can walk to, facing right.
    """

    version = 1
    source = "Chevalier-Boisvert et al. 2023 (MiniGrid)"
    axes: tuple[Axis, ...] = ("reward", "dynamics", "start")
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
        check_count("train", train, at_least=1)
        check_count("validation", validation, at_least=0)
        check_count("test", test, at_least=1)
        every = type(self).axes
        if every != ("start",):
            self.axes = varying_axes(self.name, every, hold)
        hold = [axis for axis in every if axis not in self.axes]
        if set(hold) - {"start"}:
            raise UsageError(f"{self.name} cannot hold {hold}: a layout is drawn as a whole; only start can be held")
        self.shape, self.larger = shape, larger
        self._rooms: dict[tuple, MiniGridEnv] = {}
        self._layouts: dict[tuple, Layout] = {}
        self._plans: dict[tuple, Plan] = {}
        self._splits: dict[int, Split] = {}
        self.horizon = horizon or self._room(shape).max_steps
        self.options: dict[str, Any] = {
            "horizon": self.horizon, "train": train, "validation": validation, "test": test,
        }  # fmt: skip
        if every != ("start",):
            self.options["hold"] = hold
        self.num_tasks = {"train": train, "validation": validation, "test": test}
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
            self._layouts[key] = layout.from_default_start() if "start" in self.options.get("hold", ()) else layout
        return self._layouts[key]

    def layout(self, task: Task) -> Layout:
        """Of the task: its walls, objects, start and goal."""
        shape = {name: value for name, value in task.params.items() if name != "layout"}
        return self._layout(shape, task.params["layout"])

    def plan(self, task: Task) -> Plan:
        """The shortest way to the task's reward from every state."""
        key = tuple(task.params.items())
        if key not in self._plans:
            self._plans[key] = Plan(self.layout(task))
        return self._plans[key]

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> MiniGridBatch:
        return MiniGridBatch([self.layout(task) for task in tasks], self.horizon, seed, index)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        """The optimum is exact, from the length of the shortest way; the random policy's return is measured."""
        lengths = [self.plan(task).length() for task in tasks]
        possible = [length is not None and length <= self.horizon for length in lengths]
        optimum = np.array(
            [1 - 0.9 * length / self.horizon if can else 0.0 for length, can in zip(lengths, possible, strict=True)]
        )
        random = measured_return(self, tasks, partial(UniformActions, self), self.anchor_episodes)
        return Anchors(random, optimum, measured=True)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return ShortestWay([self.plan(task) for task in tasks])

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.mini_grid_drawing import draw_room

        draw_room(axes, self.layout(task), self.make([task], seed=0), history)


class MiniGridById(MiniGridFamily):
    """Layouts of any environment that the package registers under a name and that is understood here.

    Args:
        env: such as "MiniGrid-SimpleCrossingS9N3-v0".
        larger: the environment of the out-of-distribution set.
        options: `horizon`, `train`, `validation`, `test` and `hold`, as of `MiniGridFamily`.
    """

    name = "minigrid"

    def __init__(
        self,
        *,
        env: str = "MiniGrid-SimpleCrossingS9N3-v0",
        larger: str = "MiniGrid-SimpleCrossingS11N5-v0",
        **options: Any,
    ) -> None:
        for name in (env, larger):
            known = [cls.__name__ for cls in RULES]
            spec = gym.registry.get(name)
            if spec is None or not str(spec.entry_point).startswith("minigrid.envs:"):
                raise UsageError(f"{self.name}: the minigrid package registers no environment {name!r}")
            if str(spec.entry_point).rpartition(":")[2] not in known:
                raise UsageError(f"{self.name}: {name} is not one of those understood: {', '.join(known)}")
        super().__init__({"env": env}, {"env": larger}, **options)
        self.options = {"env": env, "larger": larger, **self.options}

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return gym.make(shape["env"], disable_env_checker=True).unwrapped


class _Sized(MiniGridFamily):
    """Square layouts of a size."""

    def __init__(self, size: int, larger: int, at_least: int, **options: Any) -> None:
        check_count("size", size, at_least=at_least)
        check_count("larger", larger, at_least=size + 1)
        super().__init__({"size": size}, {"size": larger}, **options)
        self.options = {"size": size, "larger": larger, **self.options}


class MiniGridEmptyRandom(_Sized):
    """An empty room; tasks differ in where the agent starts.

    Args:
        size: cells along a side, walls included.
        larger: the same of the out-of-distribution set.
        train, validation, test: an 8×8 room has 140 starts.
        options: `horizon`, as of `MiniGridFamily`.
    """

    name = "minigrid-empty-random"
    axes = ("start",)

    def __init__(
        self,
        *,
        size: int = 8,
        larger: int = 16,
        horizon: int = 0,
        train: int = 90,
        validation: int = 10,
        test: int = 30,
    ) -> None:
        counts = {"train": train, "validation": validation, "test": test}
        super().__init__(size, larger, at_least=5, horizon=horizon, **counts)

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return EmptyEnv(size=shape["size"], agent_start_pos=None)


class MiniGridFourRooms(_Sized):
    """Four rooms with a gap in each wall between two; goal, start and gaps differ.

    Args:
        size: cells along a side, walls included.
        larger: the same of the out-of-distribution set.
        options: as of `MiniGridFamily`.
    """

    name = "minigrid-four-rooms"

    def __init__(self, *, size: int = 19, larger: int = 25, **options: Any) -> None:
        super().__init__(size, larger, at_least=7, **options)

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return FourRoomsOfSize(shape["size"])


class MiniGridDoorKey(_Sized):
    """A key opens the door to the room with the goal.

    Args:
        size: cells along a side, walls included.
        larger: the same of the out-of-distribution set.
        options: as of `MiniGridFamily`.
    """

    name = "minigrid-door-key"
    axes = ("dynamics", "start")

    def __init__(self, *, size: int = 8, larger: int = 12, **options: Any) -> None:
        super().__init__(size, larger, at_least=5, **options)

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return DoorKeyEnv(size=shape["size"])


class MiniGridUnlock(_Sized):
    """The key to a locked door lies in the agent's room; opening the door ends the episode.

    Args:
        size: cells along a side of each of the two rooms, walls included.
        larger: the same of the out-of-distribution set.
        options: as of `MiniGridFamily`.
    """

    name = "minigrid-unlock"
    axes = ("dynamics", "start")

    def __init__(self, *, size: int = 6, larger: int = 9, **options: Any) -> None:
        super().__init__(size, larger, at_least=4, **options)

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return UnlockOfSize(shape["size"])


class MiniGridMultiRoom(MiniGridFamily):
    """A row of rooms with closed doors between them, the goal in the last.

    Args:
        rooms: how many.
        size: the largest side of a room, walls included.
        larger: rooms of the out-of-distribution set.
        options: as of `MiniGridFamily`.
    """

    name = "minigrid-multi-room"

    def __init__(self, *, rooms: int = 4, size: int = 5, larger: int = 6, **options: Any) -> None:
        check_count("rooms", rooms, at_least=2)
        check_count("size", size, at_least=4)
        check_count("larger", larger, at_least=rooms + 1)
        super().__init__({"rooms": rooms, "size": size}, {"rooms": larger, "size": size}, **options)
        self.options = {"rooms": rooms, "size": size, "larger": larger, **self.options}

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return MultiRoomEnv(shape["rooms"], shape["rooms"], maxRoomSize=shape["size"])


class MiniGridKeyCorridor(MiniGridFamily):
    """Rooms along a corridor: a key in one on the left opens a room on the right, where there is a ball to pick up.

    Args:
        rows: rooms on either side.
        size: cells along a side of a room, walls included.
        larger: the same of the out-of-distribution set; a plan takes about 3 seconds there.
        options: as of `MiniGridFamily`.
    """

    name = "minigrid-key-corridor"

    def __init__(self, *, rows: int = 3, size: int = 3, larger: int = 4, **options: Any) -> None:
        check_count("rows", rows, at_least=1)
        check_count("size", size, at_least=3)
        check_count("larger", larger, at_least=size + 1)
        super().__init__({"rows": rows, "size": size}, {"rows": rows, "size": larger}, **options)
        self.options = {"rows": rows, "size": size, "larger": larger, **self.options}

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return KeyCorridorEnv(num_rows=shape["rows"], room_size=shape["size"])


class MiniGridLavaCrossing(MiniGridFamily):
    """Rivers of lava, or walls, each with one way through, between start and goal in opposite corners.

    Args:
        size: cells along a side, walls included; odd.
        crossings: rivers; with 3 there are some 1,200 layouts, with 2 there are 456, with 1 there are 42.
        obstacle: "lava" ends the episode without a reward; "wall" is in the way.
        larger: size of the out-of-distribution set.
        options: as of `MiniGridFamily`, without `hold`.
    """

    name = "minigrid-lava-crossing"
    axes = ("dynamics",)

    def __init__(
        self,
        *,
        size: int = 9,
        crossings: int = 3,
        obstacle: Literal["lava", "wall"] = "lava",
        larger: int = 11,
        **options: Any,
    ) -> None:
        check_count("size", size, at_least=5)
        check_count("larger", larger, at_least=size + 2)
        check_count("crossings", crossings, at_least=1)
        if size % 2 == 0 or larger % 2 == 0:
            raise UsageError(f"size={size} and larger={larger}: expected odd numbers")
        shape = {"size": size, "crossings": crossings, "obstacle": obstacle}
        super().__init__(shape, {**shape, "size": larger}, **options)
        self.options = {**shape, "larger": larger, **self.options}

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return CrossingEnv(shape["size"], shape["crossings"], obstacle_type=shape["obstacle"])


def _words(shape: Mapping[str, Any]) -> str:
    """A shape in words: "size 8"."""
    return ", ".join(f"{name} {value}" for name, value in shape.items())

"""MiniGrid: rooms, keys, doors and lava, of which the agent sees the 7×7 cells ahead of it."""

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium as gym
import minigrid  # noqa: F401  (it registers the environments that MiniGridById names)
from minigrid.envs import CrossingEnv, DoorKeyEnv, EmptyEnv, KeyCorridorEnv, MultiRoomEnv
from minigrid.minigrid_env import MiniGridEnv

from icrl.envs.mini_grid.family import MiniGridFamily
from icrl.envs.mini_grid.layouts import RULES, FourRoomsOfSize, UnlockOfSize
from icrl.errors import UsageError
from icrl.tasks import check_count


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

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return gym.make(shape["env"], disable_env_checker=True).unwrapped


class _Sized(MiniGridFamily):
    """Square layouts of a size."""

    def __init__(self, size: int, larger: int, at_least: int, **options: Any) -> None:
        check_count("size", size, at_least=at_least)
        check_count("larger", larger, at_least=size + 1)
        super().__init__({"size": size}, {"size": larger}, **options)


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
        train, validation, test: as of `MiniGridFamily`; of the default size there are 300 layouts with the start held.
        options: `horizon` and `hold`, as of `MiniGridFamily`.
    """

    name = "minigrid-door-key"
    axes = ("dynamics", "start")

    def __init__(
        self,
        *,
        size: int = 8,
        larger: int = 12,
        train: int = 200,
        validation: int = 20,
        test: int = 50,
        **options: Any,
    ) -> None:
        counts = {"train": train, "validation": validation, "test": test}
        super().__init__(size, larger, at_least=5, **counts, **options)

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return DoorKeyEnv(size=shape["size"])


class MiniGridUnlock(_Sized):
    """The key to a locked door lies in the agent's room; opening the door ends the episode.

    Args:
        size: cells along a side of each of the two rooms, walls included.
        larger: the same of the out-of-distribution set.
        train, validation, test: as of `MiniGridFamily`; of the default size there are 384 layouts with the start held.
        options: `horizon` and `hold`, as of `MiniGridFamily`.
    """

    name = "minigrid-unlock"
    axes = ("dynamics", "start")

    def __init__(
        self,
        *,
        size: int = 6,
        larger: int = 9,
        train: int = 200,
        validation: int = 20,
        test: int = 50,
        **options: Any,
    ) -> None:
        counts = {"train": train, "validation": validation, "test": test}
        super().__init__(size, larger, at_least=4, **counts, **options)

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

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return MultiRoomEnv(shape["rooms"], shape["rooms"], maxRoomSize=shape["size"])


class MiniGridKeyCorridor(MiniGridFamily):
    """Rooms along a corridor: a key in one on the left opens a room on the right, where there is a ball to pick up.

    Args:
        rows: rooms on either side.
        size: cells along a side of a room, walls included.
        larger: the same of the out-of-distribution set; its shortest ways take about 3 seconds there.
        options: as of `MiniGridFamily`.
    """

    name = "minigrid-key-corridor"

    def __init__(self, *, rows: int = 3, size: int = 3, larger: int = 4, **options: Any) -> None:
        check_count("rows", rows, at_least=1)
        check_count("size", size, at_least=3)
        check_count("larger", larger, at_least=size + 1)
        super().__init__({"rows": rows, "size": size}, {"rows": rows, "size": larger}, **options)

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return KeyCorridorEnv(num_rows=shape["rows"], room_size=shape["size"])


class MiniGridLavaCrossing(MiniGridFamily):
    """Rivers of lava, or walls, each with one way through, between start and goal in opposite corners.

    Args:
        size: cells along a side, walls included; odd.
        crossings: rivers; with 3 there are some 1,500 layouts, with 2 there are 456, with 1 there are 42.
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

    def build(self, shape: Mapping[str, Any]) -> MiniGridEnv:
        return CrossingEnv(shape["size"], shape["crossings"], obstacle_type=shape["obstacle"])

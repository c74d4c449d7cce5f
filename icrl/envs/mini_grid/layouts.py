"""MiniGrid's layouts as arrays: walls, objects, goal and start, drawn by the minigrid package from a seed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, IDX_TO_OBJECT, OBJECT_TO_IDX
from minigrid.core.mission import MissionSpace
from minigrid.core.roomgrid import RoomGrid
from minigrid.core.world_object import WorldObj
from minigrid.envs import (
    CrossingEnv,
    DistShiftEnv,
    DoorKeyEnv,
    EmptyEnv,
    FourRoomsEnv,
    KeyCorridorEnv,
    LavaGapEnv,
    MultiRoomEnv,
    UnlockEnv,
)
from minigrid.minigrid_env import MiniGridEnv
from numpy.typing import NDArray

Rule = Literal["reach", "pick up", "open"]
RULES: dict[type[MiniGridEnv], Rule] = {
    CrossingEnv: "reach",
    DistShiftEnv: "reach",
    DoorKeyEnv: "reach",
    EmptyEnv: "reach",
    FourRoomsEnv: "reach",
    KeyCorridorEnv: "pick up",
    LavaGapEnv: "reach",
    MultiRoomEnv: "reach",
    UnlockEnv: "open",
}
"""The package's classes that are understood here, and what ends an episode of each with a reward."""

NUM_KINDS, NUM_COLOURS, NUM_STATES = len(OBJECT_TO_IDX), len(COLOR_TO_IDX), 3
NUM_CODES = NUM_KINDS * NUM_COLOURS * NUM_STATES
OPEN, CLOSED, LOCKED = 0, 1, 2


def code_of(kind: str, colour: int = 0, state: int = 0) -> int:
    """One number for what a cell holds: kind, colour and state as the package counts them."""
    return (OBJECT_TO_IDX[kind] * NUM_COLOURS + colour) * NUM_STATES + state


UNSEEN, EMPTY = code_of("unseen"), code_of("empty")
WALL = code_of("wall", COLOR_TO_IDX["grey"])
_codes = np.arange(NUM_CODES)
KIND_C = _codes // (NUM_COLOURS * NUM_STATES)
COLOUR_C = _codes // NUM_STATES % NUM_COLOURS
STATE_C = _codes % NUM_STATES
CHANNELS_C3 = np.stack((KIND_C, COLOUR_C, STATE_C), axis=1)
"""Kind, colour and state of each code, as the observation shows them."""
IS = {name: number == KIND_C for number, name in IDX_TO_OBJECT.items()}
"""Per kind, which codes are of it."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where an episode begins, and how it ends."""

    codes: NDArray[np.uint8]
    """Shape `(width, height)`: what each cell holds."""
    position: tuple[int, int]
    """Column and row where the agent starts."""
    direction: int
    """0 right, 1 down, 2 left, 3 up."""
    rule: Rule
    target: tuple[int, int]
    """Of the object to pick up or the door to open; of the goal where there is one."""
    see_through: bool
    """Walls hide nothing."""

    @property
    def key(self) -> bytes:
        """Equal for equal layouts."""
        return repr((self.codes.shape, self.position, self.direction)).encode() + self.codes.tobytes()

    def from_default_start(self) -> "Layout":
        """The same from the first cell, row by row, on this side of all doors and lava; facing right."""
        inside = self.codes == EMPTY
        open_to = inside | (IS["key"] | IS["ball"] | IS["box"])[self.codes]
        reached, frontier = {self.position}, [self.position]
        while frontier:
            x, y = frontier.pop()
            for cell in ((x + 1, y), (x, y + 1), (x - 1, y), (x, y - 1)):
                if cell not in reached and open_to[cell]:
                    reached.add(cell)
                    frontier.append(cell)
        return replace(
            self, position=min(filter(inside.__getitem__, reached), key=lambda cell: cell[::-1]), direction=0
        )


def read_layout(env: MiniGridEnv, seed: int) -> Layout:
    """The layout that the package draws from a seed."""
    env.reset(seed=seed)
    rule = RULES[next(cls for cls in RULES if isinstance(env, cls))]
    objects = [[env.grid.get(x, y) for y in range(env.height)] for x in range(env.width)]
    codes = np.array([[_code(thing) for thing in column] for column in objects], np.uint8)
    wanted: Callable[[WorldObj], bool] = {
        "reach": lambda thing: thing.type == "goal",
        "pick up": lambda thing: thing is env.unwrapped.obj,
        "open": lambda thing: thing is env.unwrapped.door,
    }[rule]
    target = next(
        (x, y) for x, column in enumerate(objects) for y, thing in enumerate(column) if thing and wanted(thing)
    )
    position = (int(env.agent_pos[0]), int(env.agent_pos[1]))
    return Layout(codes, position, int(env.agent_dir), rule, target, env.see_through_walls)


def _code(thing: WorldObj | None) -> int:
    if thing is None:
        return EMPTY
    kind, colour, state = thing.encode()
    return (kind * NUM_COLOURS + colour) * NUM_STATES + state


class FourRoomsOfSize(FourRoomsEnv):
    """The package's four rooms, on a grid of another size than its 19×19."""

    def __init__(self, size: int) -> None:
        self._agent_default_pos = self._goal_default_pos = None
        self.size = size
        mission = MissionSpace(mission_func=self._gen_mission)
        MiniGridEnv.__init__(self, mission_space=mission, width=size, height=size, max_steps=100)


class UnlockOfSize(UnlockEnv):
    """The package's two rooms and locked door, with rooms of another size than its 6×6."""

    def __init__(self, size: int) -> None:
        mission = MissionSpace(mission_func=self._gen_mission)
        RoomGrid.__init__(self, room_size=size, num_rows=1, num_cols=2, max_steps=8 * size**2, mission_space=mission)

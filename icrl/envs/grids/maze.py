"""Mazes seen through a small window: the agent finds a goal, and remembers the way to it in the next episodes.

Suffixes: N lanes, C cells of a maze, A actions, K cells of a window, 2 row and column.
"""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.grids.cells import NUM_ACTIONS
from icrl.envs.grids.maze_layouts import distances, from_text, nth_cell, random_mazes, rank_of, to_text
from icrl.envs.grids.maze_map import MazeMap, WayThroughMaze
from icrl.envs.kit.base import BatchedEnv
from icrl.errors import UsageError
from icrl.seeding import Streams, permutation, stream_keys
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

Reward = Literal["dense", "ends"]

ATTEMPTS = 100
"""So often a task is drawn again that is there already, or whose goal is too far away."""
LARGER_BY = 4
"""Cells that the mazes of "larger" have more along a side."""
OPENED = 0.25
"""The share of the walls between neighbouring rooms that the mazes of "open" lack."""


class Maze(TaskFamily):
    """A random maze, a goal and a start, all three of the task; the agent sees the cells around it, and no more.

    The maze is that of a depth-first search with random turns: there is one way between any two cells. The window
    shows (2 · view + 1)² cells, 0 free, 1 wall, 2 the goal, through walls, north up. A step that ends at the goal pays
    1. Every goal can be reached within the horizon.

    Args:
        size: cells along a side, walls included; odd.
        view: cells that the agent sees in every direction.
        show_goal: the window shows the goal; otherwise it looks like any free cell.
        horizon: steps of an episode.
        reward: "dense" pays on every step at the goal, "ends" terminates the episode with the first one.
        train, validation, test: number of tasks in each split, and `test` in each out-of-distribution set.
        hold: "dynamics" gives every task one and the same maze, "reward" puts every goal into the corner at the bottom
            right, "start" every start into the one at the top left.
    """

    picture_shows = "Each path runs from dark to bright; the coloured cell is the goal."
    name = "maze"
    version = 1
    source = "mazes by randomised depth-first search; the protocol is this framework's"
    axes: tuple[Axis, ...] = ("reward", "dynamics", "start")
    ood_sets = MappingProxyType(
        {
            "larger": f"mazes with {LARGER_BY} more cells along a side",
            "open": f"mazes with loops: {OPENED:.0%} of the walls between neighbouring rooms are opened",
        }
    )

    def __init__(
        self,
        *,
        size: int = 11,
        view: int = 2,
        show_goal: bool = True,
        horizon: int = 50,
        reward: Reward = "dense",
        train: int = 2_000,
        validation: int = 50,
        test: int = 100,
        hold: Sequence[str] = (),
    ) -> None:
        if size % 2 == 0:
            raise UsageError(f"size={size}: expected an odd number, as rooms and the walls between them take turns")
        check_count("size", size, at_least=5)
        check_count("view", view, at_least=1)
        check_count("horizon", horizon, at_least=1)
        self.num_tasks = split_sizes(train, validation, test)
        self.axes = varying_axes(self.name, type(self).axes, hold)
        self.size, self.view, self.show_goal, self.horizon, self.reward = size, view, show_goal, horizon, reward
        if "dynamics" not in self.axes:
            possible = len(self._places_in_one())
            if sum(self.num_tasks.values()) > possible:
                raise UsageError(
                    f"train={train}, validation={validation} and test={test} add up to more than the {possible} tasks "
                    f"that one maze of size {size} has with hold={list(hold)}: lower them"
                )
        self.observation_space = gym.spaces.MultiDiscrete(np.full((2 * view + 1) ** 2, 3 if show_goal else 2))
        self.action_space = gym.spaces.Discrete(NUM_ACTIONS)

    def split(self, seed: int) -> Split:
        numbers, test = np.arange(sum(self.num_tasks.values())), self.num_tasks["test"]
        if "dynamics" in self.axes:
            # The test tasks first, so that they do not depend on how many others there are.
            tasks = self._tasks(numbers[:test], seed, "tasks", self.size)
            tasks += self._tasks(numbers[test:], seed, "tasks", self.size, taken=tasks)
        else:
            tasks = self._tasks_in_one(seed)
        ood = {
            "larger": self._tasks(ood_numbers(0, test), seed, "larger", self.size + LARGER_BY),
            "open": self._tasks(ood_numbers(1, test), seed, "open", self.size, opened=OPENED),
        }
        return split_numbers(numbers, self.num_tasks, tasks.__getitem__, seed, ood)

    def _tasks(
        self, numbers: NDArray, seed: int, what: str, size: int, opened: float = 0.0, taken: Sequence[Task] = ()
    ) -> list[Task]:
        """One task per number, each another one and none of those taken, with the goal within reach."""
        known = {repr(task.params) for task in taken}
        of_number: dict[int, dict[str, Any]] = {}
        left = np.asarray(numbers)
        for attempt in range(ATTEMPTS):
            streams = Streams(stream_keys(seed, f"{self.name} {what} {attempt}", left))
            free_NSS = random_mazes(streams, size, opened)
            goal_N2, start_N2 = self._places(free_NSS, streams)
            near_N = self._near(free_NSS, goal_N2, start_N2)
            again = []
            for number, near, params in zip(left, near_N, _params(free_NSS, goal_N2, start_N2), strict=True):
                if near and repr(params) not in known:
                    known.add(repr(params))
                    of_number[int(number)] = params
                else:
                    again.append(number)
            if not again:
                return [Task(int(number), of_number[int(number)]) for number in numbers]
            left = np.array(again)
        raise UsageError(
            f"{self.name} finds only {len(of_number)} of {len(numbers)} different mazes of size {size} with "
            f"horizon={self.horizon} and only {', '.join(self.axes)} to vary: make them larger, or ask for fewer tasks"
        )

    def _near(self, free_NSS: NDArray, goal_N2: NDArray, start_N2: NDArray) -> NDArray[np.bool_]:
        """Whether the goal is within reach of an episode."""
        distance_NSS = distances(free_NSS, goal_N2)
        return distance_NSS[np.arange(len(free_NSS)), start_N2[:, 0], start_N2[:, 1]] <= self.horizon

    def _places(self, free_NSS: NDArray, streams: Streams) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Goals and starts, drawn where their axis varies, never in one cell: each `(N, 2)`."""
        goal_u, start_u = streams.uniform(), streams.uniform()
        count_N, last = free_NSS.sum(axis=(1, 2)), free_NSS.shape[1] - 2
        if "start" in self.axes:
            goal_N = rank_of(free_NSS, (last, last))
            if "reward" in self.axes:
                goal_N = (goal_u * count_N).astype(np.int64)
            start_N = (start_u * (count_N - 1)).astype(np.int64)
            start_N += start_N >= goal_N
        else:
            start_N = rank_of(free_NSS, (1, 1))
            goal_N = rank_of(free_NSS, (last, last))
            if "reward" in self.axes:
                goal_N = (goal_u * (count_N - 1)).astype(np.int64)
                goal_N += goal_N >= start_N
        return nth_cell(free_NSS, goal_N), nth_cell(free_NSS, start_N)

    def _one_maze(self) -> NDArray[np.bool_]:
        """The maze of all tasks where dynamics are held: `(1, S, S)`, a function of the size alone."""
        return random_mazes(Streams(stream_keys(0, f"{self.name} held", [self.size])), self.size)

    def _places_in_one(self) -> NDArray[np.int64]:
        """All (goal, start) that the tasks of the held maze may have: `(P, 2, 2)`."""
        free_1SS = self._one_maze()
        cell_C2, last = np.argwhere(free_1SS[0]), self.size - 2
        goal_G2 = cell_C2 if "reward" in self.axes else np.array([[last, last]])
        start_B2 = cell_C2 if "start" in self.axes else np.array([[1, 1]])
        pair_P22 = np.stack((goal_G2.repeat(len(start_B2), axis=0), np.tile(start_B2, (len(goal_G2), 1))), axis=1)
        pair_P22 = pair_P22[(pair_P22[:, 0] != pair_P22[:, 1]).any(axis=1)]
        return pair_P22[self._near(free_1SS.repeat(len(pair_P22), axis=0), pair_P22[:, 0], pair_P22[:, 1])]

    def _tasks_in_one(self, seed: int) -> list[Task]:
        pair_P22 = self._places_in_one()
        pair_N22 = pair_P22[permutation(seed, f"{self.name} places", len(pair_P22))[: sum(self.num_tasks.values())]]
        params = _params(self._one_maze().repeat(len(pair_N22), axis=0), pair_N22[:, 0], pair_N22[:, 1])
        return [Task(number, each) for number, each in enumerate(params)]

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "MazeEnv":
        return MazeEnv(self, tasks, seed, index)

    def map(self, tasks: Sequence[Task]) -> MazeMap:
        """The tasks' mazes side by side, as environments and policies need them."""
        free_NSS = from_text([task.params["walls"] for task in tasks])
        place_N22 = np.array([[task.params["goal"], task.params["start"]] for task in tasks], np.int64)
        goal_N2, start_N2 = place_N22.reshape(-1, 2, 2).swapaxes(0, 1)
        return MazeMap(free_NSS, goal_N2, start_N2, self.view, self.show_goal)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        """Exact: the shortest way, and v_{h+1}(s) = mean over actions of 1{s' = goal} + v_h(s').

        Where the goal ends the episode, the last term is there for s' ≠ goal only.
        """
        maze = self.map(tasks)
        next_NCA = maze.next_cells()
        flat_NCA = next_NCA + (maze.lane_N * maze.num_cells)[:, None, None]
        at_goal_NC = np.arange(maze.num_cells) == maze.goal_N[:, None]
        value_NC = np.zeros(at_goal_NC.shape)
        for _ in range(self.horizon):
            after_NC = np.where(at_goal_NC, 1.0 if self.reward == "ends" else 1.0 + value_NC, value_NC)
            # One action after the other: the order of a sum must not depend on how many tasks there are.
            flat_C = after_NC.reshape(-1)
            value_NC = sum(flat_C[flat_NCA[..., action]] for action in range(NUM_ACTIONS)) / NUM_ACTIONS
        distance_N = maze.distance_NC[maze.lane_N, maze.start_N].astype(np.float64)
        left_N = np.maximum(self.horizon + 1 - distance_N, 0.0)
        optimum_N = np.minimum(left_N, 1.0) if self.reward == "ends" else left_N
        return Anchors(random=value_NC[maze.lane_N, maze.start_N], optimum=optimum_N)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return WayThroughMaze(self.map(tasks))

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.kit.drawing import draw_path

        # The window does not say where the agent is: its actions do.
        maze = self.map([task])
        seen, last = maze.replay(history.actions, history.dones)
        shown = replace(history, observations=seen, final_observations=last)
        free_SS = from_text([task.params["walls"]])[0]
        draw_path(axes, len(free_SS), {"goal": tuple(task.params["goal"])}, shown, walls=~free_SS)


class MazeEnv(BatchedEnv):
    """One maze per lane; nothing in it is random."""

    vouched = True
    per_lane = ("_map", "_cell_N")

    def __init__(self, family: Maze, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self._map = family.map(tasks)
        self._ends = family.reward == "ends"
        self._cell_N = self._map.start_N.copy()

    def _start(self, lanes: NDArray[np.int64]) -> None:
        self._cell_N[lanes] = self._map.start_N[lanes]

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        self._cell_N = self._map.step(self._cell_N, actions)
        at_goal_N = self._cell_N == self._map.goal_N
        return at_goal_N.astype(np.float32), at_goal_N if self._ends else np.zeros(self.num_envs, bool)

    def _observe(self) -> NDArray[np.int64]:
        return self._map.window(self._cell_N)


def _params(free_NSS: NDArray, goal_N2: NDArray, start_N2: NDArray) -> list[dict[str, Any]]:
    """What describes each task and nothing else."""
    return [
        {"walls": walls, "goal": goal, "start": start}
        for walls, goal, start in zip(to_text(free_NSS), goal_N2.tolist(), start_N2.tolist(), strict=True)
    ]

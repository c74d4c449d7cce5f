"""Dark Room: an agent that sees only where it stands looks for a goal that it cannot see.

The room is a square grid with walls around it; the five actions are up, right, down, left and stay. A step that
ends at the goal is worth 1. Papers mean different rooms by that name: each room is a family of its own here, and their
returns are not to be compared.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.grids.cells import (
    NUM_ACTIONS,
    cell_positions,
    expected_visits,
    next_cells_within,
    reach_probability,
    way_to,
)
from icrl.envs.grids.wiring import WIRINGS, buttons, meanings, rewired
from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.drawing import PATHS_SHOW
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.seeding import permutation
from icrl.tasks import Anchors, ReferencePolicy, Split, Task, TaskFamily, check_count, ood_numbers, split_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

Start = Literal["centre", "corner", "anywhere"]
Reward = Literal["dense", "once", "ends"]


class DarkRoom(TaskFamily):
    """The 9×9 room of Algorithm Distillation, split into 65 goals to train on and 16 to test on.

    20 steps from the centre; every step at the goal pays. Of the 65 goals `validation` are kept to select models on.
    The test goals are also there from an unseen start, the corner or the centre ("other-start"), and with buttons that
    make other moves than in training ("permuted").

    Args:
        size: cells along a side.
        largest: cells along a side of the rooms of "larger", which the observations then have room for; there is no
            such set where it equals `size`, and 0 stands for that.
        horizon: steps of an episode, which is truncated there.
        start: "centre", "corner", which is (0, 0), or "anywhere": each episode begins in a cell that is drawn. So
            do the data of the Decision-Pretrained Transformer, which acts from the corner: "other-start".
        reward: "dense" pays on every step at the goal, "once" on the first such step of an episode, "ends" likewise
            and terminates the episode with it.
        validation, test: goals kept out of training.
    """

    name = "dark-room"
    version = 1
    source = "Laskin et al. 2022 (Algorithm Distillation); goals split as in Zisman et al. 2024 (AD-epsilon)"
    picture_shows = PATHS_SHOW
    of_episodes = ("start",)
    ood_sets = MappingProxyType(
        {
            "other-start": "the start of an episode: the corner, or the centre where that is the usual one",
            "permuted": "the moves that the buttons make",
        }
    )

    def __init__(
        self,
        *,
        size: int = 9,
        horizon: int = 20,
        start: Start = "centre",
        reward: Reward = "dense",
        validation: int = 5,
        test: int = 16,
        largest: int = 0,
    ) -> None:
        largest = largest or size
        check_count("size", size, at_least=2)
        check_count("horizon", horizon, at_least=1)
        check_count("largest", largest, at_least=size)
        self.options["largest"] = largest
        self.size, self.largest, self.horizon, self.reward, self.start = size, largest, horizon, reward, start
        self.observation_space = gym.spaces.MultiDiscrete([largest, largest])
        self.action_space = gym.spaces.Discrete(NUM_ACTIONS)
        if start == "anywhere":
            self.axes = (*type(self).axes, "start")
        if largest > size:
            outside = f"goals outside the room of training, in a room of {largest}×{largest} cells"
            self.ood_sets = {**type(self).ood_sets, "larger": outside}
        self._count(size * size, validation, test)

    def _count(self, total: int, validation: int, test: int) -> None:
        check_count("validation", validation, at_least=0)
        check_count("test", test, at_least=1)
        if validation + test >= total:
            raise UsageError(
                f"validation={validation} and test={test} leave none of the {total} tasks to train on: lower them"
            )
        self.num_tasks = {"train": total - validation - test, "validation": validation, "test": test}

    def split(self, seed: int) -> Split:
        order = permutation(seed, f"{self.name} split", sum(self.num_tasks.values()))
        return split_numbers(order, self.num_tasks, self._task, seed, self._ood(order[: self.num_tasks["test"]], seed))

    def _ood(self, test: NDArray[np.int64], seed: int) -> dict[str, list[Task]]:
        """The test goals from the other start, and under other wirings; and goals in a larger room.

        Goals that an episode is too short for are left out, unless all are: no return can be measured against them.
        """
        tasks = [self._task(int(number)) for number in test]
        start = _cell(self.size, "centre" if self.start == "corner" else "corner")
        near = [task for task in tasks if _steps(start, task.params["goal"]) <= self.horizon] or tasks
        moved, numbers, larger = (ood_numbers(position, len(tasks)) for position in range(3))
        sets = {
            "other-start": [
                Task(int(n), task.params | {"start": start}) for n, task in zip(moved, near, strict=False)
            ],
            "permuted": rewired(tasks, numbers, seed, f"{self.name} wirings"),
        }
        if self.largest > self.size:
            start = _cell(self.largest, "corner" if self.start == "anywhere" else self.start)
            cells = permutation(seed, f"{self.name} larger", self.largest**2)
            goals = [[int(cell) // self.largest, int(cell) % self.largest] for cell in cells]
            outside = [goal for goal in goals if max(goal) >= self.size]
            near = [goal for goal in outside if _steps(start, goal) <= self.horizon] or outside
            params = [{"goal": goal, "size": self.largest} for goal in near]
            sets["larger"] = [Task(int(n), each) for n, each in zip(larger, params, strict=False)]
        return sets

    def _task(self, number: int) -> Task:
        """The goal in cell `number`."""
        return Task(number, {"goal": [number // self.size, number % self.size]})

    def sizes(self, tasks: Sequence[Task]) -> NDArray[np.int64]:
        """Cells along a side of the tasks' rooms, shape `(N,)`."""
        return np.array([task.params.get("size", self.size) for task in tasks], np.int64)

    def goals(self, tasks: Sequence[Task]) -> NDArray[np.int64]:
        """(row, column) of the goals, shape `(N, 2)`."""
        return np.array([task.params["goal"] for task in tasks], np.int64).reshape(-1, 2)

    def starts(self, tasks: Sequence[Task]) -> NDArray[np.int64]:
        """(row, column) of the cells that episodes start from, shape `(N, 2)`; both -1 where one is drawn."""
        usual = [_cell(size, self.start) for size in self.sizes(tasks).tolist()]
        starts = [task.params.get("start", cell) for task, cell in zip(tasks, usual, strict=True)]
        return np.array(starts, np.int64).reshape(-1, 2)

    def goal_cells(self, tasks: Sequence[Task]) -> NDArray[np.int64]:
        """The goals' cell numbers, row by row of the largest room: shape `(N,)`."""
        return self.goals(tasks) @ np.array([self.largest, 1])

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "DarkRoomEnv":
        return DarkRoomEnv(self, tasks, seed, index)

    def noisy_return(self, tasks: Sequence[Task], epsilon: float) -> NDArray[np.float64]:
        """Exact expected return, shape `(N,)`, of acting at random with probability ε and else optimally."""
        goal_N2, start_N2, size_N = self.goals(tasks), self.starts(tasks), self.sizes(tasks)
        return_N = np.empty(len(tasks))
        for size in np.unique(size_N).tolist():
            lanes = np.flatnonzero(size_N == size)
            goal_G, which = np.unique(goal_N2[lanes] @ np.array([size, 1]), return_inverse=True)
            if self.reward == "dense":
                value_GS = expected_visits(size, goal_G, epsilon, self.horizon)
            else:
                value_GS = reach_probability(size, goal_G, epsilon, self.horizon)[-1]
            start_L = start_N2[lanes] @ np.array([size, 1])
            return_N[lanes] = np.where(start_L < 0, value_GS.mean(axis=1)[which], value_GS[which, start_L])
        return return_N

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        return Anchors(random=self.noisy_return(tasks, 1.0), optimum=self.noisy_return(tasks, 0.0))

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return WayToGoal(self.largest, self.goal_cells(tasks), buttons(meanings(tasks)))

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.kit.drawing import draw_path

        row, column = self.goals([task])[0].tolist()
        size = int(self.sizes([task])[0])
        draw_path(axes, size, {"goal": (row, column)}, history, buttons=buttons(meanings([task])))


class DarkRoomHard(DarkRoom):
    """The hard room of Algorithm Distillation: 17×17, and the goal pays once an episode.

    The paper names no split; here a fifth of the 289 goals is tested on.
    """

    name = "dark-room-hard"
    source = "Laskin et al. 2022 (Algorithm Distillation)"

    def __init__(
        self,
        *,
        size: int = 17,
        horizon: int = 20,
        start: Start = "centre",
        reward: Reward = "once",
        validation: int = 11,
        test: int = 58,
        **options: Any,
    ) -> None:
        super().__init__(
            size=size, horizon=horizon, start=start, reward=reward, validation=validation, test=test, **options
        )


class DarkRoomDpt(DarkRoom):
    """The room of the Decision-Pretrained Transformer: 10×10, 100 steps from the corner (0, 0), 80/20 goals.

    Of the 80 goals `validation` are kept to select models on.
    """

    name = "dark-room-dpt"
    source = "Lee et al. 2023 (Decision-Pretrained Transformer)"

    def __init__(
        self,
        *,
        size: int = 10,
        horizon: int = 100,
        start: Start = "corner",
        reward: Reward = "dense",
        validation: int = 8,
        test: int = 20,
        **options: Any,
    ) -> None:
        super().__init__(
            size=size, horizon=horizon, start=start, reward=reward, validation=validation, test=test, **options
        )


class DarkRoomDptPermuted(DarkRoom):
    """The Decision-Pretrained Transformer's room with permuted actions: the goal stays, the buttons change.

    The agent starts at (0, 0) and the goal is the opposite corner, 18 steps away, so the best return over 100 steps
    is 83. A task is one of the 5! = 120 ways to wire the five buttons to the five moves: button `a` makes move
    `meaning[a]`, numbered 0 up, 1 right, 2 down, 3 left, 4 stay. 20 wirings are tested on.
    """

    name = "dark-room-dpt-permuted"
    source = "Lee et al. 2023 (Decision-Pretrained Transformer)"
    axes = ("dynamics",)
    picture_shows = f"{PATHS_SHOW} The compass tells which action moves where, and which stays."
    ood_sets = MappingProxyType({"other-goal": "the goal: the corner beside the usual one"})

    def __init__(self, *, size: int = 10, horizon: int = 100, validation: int = 10, test: int = 20) -> None:
        super().__init__(size=size, horizon=horizon, start="corner", validation=0, test=1)
        self._count(len(WIRINGS), validation, test)

    def _task(self, number: int) -> Task:
        """The wiring of that number, in lexicographic order."""
        return Task(number, {"meaning": list(WIRINGS[number])})

    def _ood(self, test: NDArray[np.int64], seed: int) -> dict[str, list[Task]]:
        """The test wirings with another goal."""
        goal = {"goal": [0, self.size - 1]}
        numbers = ood_numbers(0, len(test))
        return {
            "other-goal": [Task(int(n), self._task(int(w)).params | goal) for n, w in zip(numbers, test, strict=True)]
        }

    def goals(self, tasks: Sequence[Task]) -> NDArray[np.int64]:
        usual = [self.size - 1, self.size - 1]
        return np.array([task.params.get("goal", usual) for task in tasks], np.int64).reshape(-1, 2)


class DarkRoomEnv(BatchedEnv):
    """One room per lane.

    Args:
        family: gives size, horizon and reward rule.
        tasks: N; they give goals, starts and wirings.
        seed, index: as in `TaskFamily.make`; nothing is drawn but starts, where these are.
    """

    vouched = True
    per_lane = ("_goal_N", "_start_N", "_size_N", "_cell_N", "_paid_N", "_meaning_NA", "_table_N")
    lane_counters = ("_lane_N",)

    def __init__(
        self,
        family: DarkRoom,
        tasks: Sequence[Task],
        seed: int,
        index: Sequence[int] | None = None,
    ) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self._once, self._ends = family.reward == "once", family.reward == "ends"
        width = family.largest
        self._goal_N, self._start_N = family.goal_cells(tasks), family.starts(tasks) @ np.array([width, 1])
        self._size_N = family.sizes(tasks)
        self._width = width
        self._cell_N = self._start_N.copy()
        self._paid_N = np.zeros(len(tasks), bool)
        self._lane_N = np.arange(len(tasks))
        self._meaning_NA = meanings(tasks)
        # One table for all sizes of rooms, one below the other.
        sizes, which_N = np.unique(family.sizes(tasks), return_inverse=True)
        self._next_SA = np.concatenate([next_cells_within(size, width) for size in sizes.tolist()])
        self._table_N = which_N * width**2
        self._position_S2 = cell_positions(width)

    def _start(self, lanes: NDArray[np.int64]) -> None:
        self._cell_N[lanes] = self._start_N[lanes]
        self._paid_N[lanes] = False
        if (drawn := lanes[self._start_N[lanes] < 0]).size:
            size = self._size_N[drawn]
            row, column = np.divmod(self.streams.integers(size**2, drawn), size)
            self._cell_N[drawn] = row * self._width + column

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        if self._meaning_NA is not None:
            actions = self._meaning_NA[self._lane_N, actions]
        self._cell_N = self._next_SA[self._table_N + self._cell_N, actions]
        hit_N = self._cell_N == self._goal_N
        if self._once:
            hit_N &= ~self._paid_N
            self._paid_N |= hit_N
        terminated_N = hit_N if self._ends else np.zeros(self.num_envs, bool)
        return hit_N.astype(np.float32), terminated_N

    def _observe(self) -> NDArray:
        return self._position_S2[self._cell_N]


class WayToGoal(PerLane):
    """The optimal policy of a known goal: a shortest path there, then stay.

    Args:
        size: cells along a side, which cells are numbered by; smaller rooms are at the upper left.
        goal_N: goal cells.
        button_NA: the button that makes each move, shape `(N, A)`; None where button a makes move a.
    """

    per_lane = ("_goal_N", "_button_NA")
    lane_counters = ("_lane_N",)

    def __init__(self, size: int, goal_N: NDArray[np.int64], button_NA: NDArray[np.int64] | None = None) -> None:
        self._size = size
        self._goal_N = goal_N
        self._button_NA = button_NA
        self._lane_N = np.arange(len(goal_N))

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        cell_N = observations[:, 0].astype(np.int64) * self._size + observations[:, 1]
        move_N = way_to(self._size)[self._goal_N, cell_N]
        return move_N if self._button_NA is None else self._button_NA[self._lane_N, move_N]

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember: the position says it all."""


def _cell(size: int, where: Start) -> list[int]:
    """(row, column) of the corner or the centre of a room; -1, -1 for any cell."""
    if where == "anywhere":
        return [-1, -1]
    return [0, 0] if where == "corner" else [size // 2, size // 2]


def _steps(start: Sequence[int], goal: Sequence[int]) -> int:
    """Steps of the shortest way."""
    return abs(start[0] - goal[0]) + abs(start[1] - goal[1])

"""Dark Room with macro actions: one action is three moves in a row, and every task has its own set or order of them.

Suffixes: N lanes, S cells, M = 125 macros, K actions of a set, P = 3 moves of a macro.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.grids.cells import NUM_ACTIONS, cell_positions, next_cells
from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.drawing import PATHS_SHOW
from icrl.errors import UsageError
from icrl.lanes import PerLane
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

MOVES = 3
NUM_MACROS = NUM_ACTIONS**MOVES
SEEN_MACROS = 50
"""So many of the 125 macros are in the sets of training; the others in out-of-distribution sets only."""
UNSEEN_MACROS = NUM_MACROS - SEEN_MACROS
STAY_PUT = NUM_MACROS - 1
"""The macro of three times "stay", which actions make that a task does not have."""
TRAIN_SHARE = 0.85
"""The share of the cells that are goals of training or validation."""
VALIDATION_GOALS = 5


@lru_cache
def macro_paths(size: int) -> NDArray[np.int64]:
    """The cells that each macro passes, shape `(S, M, P)`; macro m makes the moves that are m's digits in base 5."""
    digit_MP = np.stack(np.unravel_index(np.arange(NUM_MACROS), (NUM_ACTIONS,) * MOVES), axis=1)
    next_SA, cell_SM = next_cells(size), np.repeat(np.arange(size * size)[:, None], NUM_MACROS, axis=1)
    path = []
    for move_M in digit_MP.T:
        cell_SM = next_SA[cell_SM, move_M]
        path.append(cell_SM)
    path_SMP = np.stack(path, axis=-1)
    path_SMP.flags.writeable = False
    return path_SMP


class DarkRoomMacro(TaskFamily):
    """The 9×9 room of Headless-AD, whose actions are sequences of three moves: 50 of the 125 in training.

    Action a of a task makes the three moves of its macro `macros[a]`. The first move that ends at the goal pays 1 and
    ends the episode. What an action does is not observed but by its effect. A task is a goal and a set of macros in an
    order of its own. Training has 68 goals, 5 of them for validation, the test tasks and all out-of-distribution sets
    have the 13 others.

    Args:
        size: cells along a side. horizon: actions of an episode.
        num_actions: actions of a task, drawn from the 50 macros of training where they are fewer.
        largest: actions of the action space, 75 or 125 for the out-of-distribution sets with so many; 0 stands for
            `num_actions`. Actions beyond those of a task leave the agent where it is.
        train, validation, test: number of tasks in each split.
        hold: "reward" puts every goal into the corner (0, 0); "dynamics" gives every task the same actions in the same
            order, so that there are no more tasks than goals.
    """

    picture_shows = PATHS_SHOW
    name = "dark-room-macro"
    version = 1
    source = "Sinii et al. 2024 (Headless-AD)"
    axes: tuple[Axis, ...] = ("reward", "dynamics")
    lanes_at_once = 1024

    def __init__(
        self,
        *,
        size: int = 9,
        horizon: int = 20,
        num_actions: int = SEEN_MACROS,
        largest: int = 0,
        train: int = 10_000,
        validation: int = 100,
        test: int = 200,
        hold: Sequence[str] = (),
    ) -> None:
        check_count("size", size, at_least=5)
        check_count("horizon", horizon, at_least=1)
        self.num_tasks = split_sizes(train, validation, test)
        # Fewer than 8, and two of many sets might be the same.
        if not 8 <= num_actions <= SEEN_MACROS:
            raise UsageError(f"num_actions={num_actions}: expected a set of 8 to {SEEN_MACROS} actions")
        largest = largest or num_actions
        if largest not in (num_actions, UNSEEN_MACROS, NUM_MACROS):
            raise UsageError(
                f"largest={largest}: expected {UNSEEN_MACROS} or {NUM_MACROS}, or 0 for a space of the {num_actions} "
                "actions of training"
            )
        self.axes = varying_axes(self.name, type(self).axes, hold)
        self.options["largest"] = largest
        self.size, self.horizon, self.num_actions, self.largest = size, horizon, num_actions, largest
        self.start_cell = (size // 2) * size + size // 2
        self._check_goals()
        self.observation_space = gym.spaces.MultiDiscrete([size, size])
        self.action_space = gym.spaces.Discrete(largest)
        self.ood_sets = {"unseen-actions": f"{num_actions} of {UNSEEN_MACROS} macros that no other task has"}
        if largest >= UNSEEN_MACROS:
            self.ood_sets[f"unseen-actions-{UNSEEN_MACROS}"] = f"all {UNSEEN_MACROS} macros that no other task has"
        if largest >= NUM_MACROS:
            self.ood_sets[f"actions-{NUM_MACROS}"] = f"all {NUM_MACROS} macros, seen and unseen"
        if "dynamics" not in self.axes:
            self.ood_sets["permuted-actions"] = "the macros of training in other orders"

    def _goals(self, seed: int) -> dict[str, NDArray[np.int64]]:
        """The cells that are goals in each split."""
        if "reward" not in self.axes:
            return dict.fromkeys(self.num_tasks, np.zeros(1, np.int64))
        cells = permutation(seed, f"{self.name} goals", self.size**2)
        seen = int(TRAIN_SHARE * len(cells))
        validation = VALIDATION_GOALS if self.num_tasks["validation"] else 0
        return {"test": cells[seen:], "validation": cells[:validation], "train": cells[validation:seen]}

    def _check_goals(self) -> None:
        if "dynamics" in self.axes:
            return
        most = {split: len(goals) for split, goals in self._goals(0).items()}
        if any(count > most[split] for split, count in self.num_tasks.items()):
            raise UsageError(
                f"{self.name} with only {', '.join(self.axes)} to vary has a task for each goal: expected at most "
                + ", ".join(f"{split}={most[split]}" for split in self.num_tasks)
            )

    def split(self, seed: int) -> Split:
        macros, goals = permutation(seed, f"{self.name} macros", NUM_MACROS), self._goals(seed)
        seen, unseen = macros[:SEEN_MACROS], macros[SEEN_MACROS:]
        numbers, count = np.arange(sum(self.num_tasks.values())), self.num_tasks
        tasks, first = [], 0
        for part in ("test", "validation", "train"):
            own = numbers[first : first + count[part]]
            first += count[part]
            if "dynamics" in self.axes:
                tasks += self._tasks(own, seed, seen, self.num_actions, goals[part])
            else:
                chosen = seen[: self.num_actions].tolist()
                tasks += [self._task(int(n), int(g), chosen) for n, g in zip(own, goals[part], strict=False)]
        sets = {
            "unseen-actions": (unseen, self.num_actions),
            f"unseen-actions-{UNSEEN_MACROS}": (unseen, UNSEEN_MACROS),
            f"actions-{NUM_MACROS}": (macros, NUM_MACROS),
            "permuted-actions": (seen[: self.num_actions], self.num_actions),
        }
        ood = {
            name: self._tasks(ood_numbers(position, count["test"]), seed, *sets[name], goals["test"])
            for position, name in enumerate(self.ood_sets)
        }
        return split_numbers(numbers, self.num_tasks, tasks.__getitem__, seed, ood)

    def _tasks(self, numbers: NDArray, seed: int, macros: NDArray, num_actions: int, goals: NDArray) -> list[Task]:
        """One task per number: so many of these macros in a random order, and one of these goals."""
        streams = Streams(stream_keys(seed, f"{self.name} tasks", numbers))
        chosen_NK = macros[np.argsort(streams.uniform_block(len(macros)).T, axis=1)[:, :num_actions]]
        goal_N = goals[streams.integers(len(goals))]
        rows = zip(numbers.tolist(), goal_N.tolist(), chosen_NK.tolist(), strict=True)
        return [self._task(*row) for row in rows]

    def _task(self, number: int, goal: int, macros: list[int]) -> Task:
        return Task(number, {"goal": list(divmod(goal, self.size)), "macros": macros})

    def cells_and_macros(self, tasks: Sequence[Task]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Goal cells `(N,)` and the macros of the actions `(N, K)`, those beyond a task's own to stay put."""
        goal_N2 = np.array([task.params["goal"] for task in tasks], np.int64).reshape(-1, 2)
        sets = [task.params["macros"] for task in tasks]
        macro_NK = np.array([own + [STAY_PUT] * (self.largest - len(own)) for own in sets], np.int64)
        return goal_N2 @ np.array([self.size, 1]), macro_NK.reshape(-1, self.largest)

    def valid_actions(self, tasks: Sequence[Task]) -> NDArray[np.int64] | None:
        if self.largest == self.num_actions:
            return None
        return np.array([len(task.params["macros"]) for task in tasks], np.int64)

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "DarkRoomMacroEnv":
        return DarkRoomMacroEnv(self, tasks, seed, index)

    def effects(self, tasks: Sequence[Task]) -> tuple[NDArray[np.bool_], NDArray[np.int16]]:
        """Of every action in every cell: whether it passes the goal, and where it ends: both `(N, S, K)`."""
        goal_N, macro_NK = self.cells_and_macros(tasks)
        path_MSP = macro_paths(self.size).swapaxes(0, 1).astype(np.int16)
        hit_NKS = np.zeros((*macro_NK.shape, self.size**2), bool)
        for move in range(MOVES):
            hit_NKS |= path_MSP[macro_NK, :, move] == goal_N[:, None, None]
        return hit_NKS.swapaxes(1, 2), path_MSP[macro_NK, :, -1].swapaxes(1, 2)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        """Probability of reaching the goal: u_{h+1}(s) = mean, or max, over actions of 1{hit} + 1{no hit} u_h(s')."""
        parts = [tasks[first : first + self.lanes_at_once] for first in range(0, len(tasks), self.lanes_at_once)]
        found = [self._reach_goal(part) for part in parts]
        random, optimum = np.concatenate(found, axis=1) if found else np.zeros((2, 0))
        return Anchors(random=random, optimum=optimum)

    def _reach_goal(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """By random actions and at best: shape `(2, N)`."""
        hit_NSK, end_NSK = self.effects(tasks)
        count_N, lane_N = self.valid_actions(tasks), np.arange(len(tasks))[:, None, None]
        of_task_NSK = True if count_N is None else np.arange(self.largest) < count_N[:, None, None]
        found = []
        for over in (np.mean, np.max):
            value_NS = np.zeros(hit_NSK.shape[:2])
            for _ in range(self.horizon):
                after_NSK = np.where(hit_NSK, 1.0, value_NS[lane_N, end_NSK])
                value_NS = over(after_NSK, axis=-1, where=of_task_NSK, **({"initial": 0.0} if over is np.max else {}))
            found.append(value_NS[:, self.start_cell])
        return np.array(found)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return FewestActions(self, tasks)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.kit.drawing import draw_path

        draw_path(axes, self.size, {"goal": tuple(task.params["goal"])}, self.move_by_move(task, history))

    def move_by_move(self, task: Task, history: "LearningHistory") -> "LearningHistory":
        """The history with a step for each of an action's moves; from the goal on they stay there."""
        goal_N, macro_NK = self.cells_and_macros([task])
        cell_T = history.observations @ np.array([self.size, 1])
        path_TP = macro_paths(self.size)[cell_T, macro_NK[0, history.actions]]
        before_TP = np.column_stack((cell_T, path_TP[:, :-1]))
        there_TP = np.maximum.accumulate(np.column_stack((np.zeros(len(cell_T), bool), path_TP[:, :-1] == goal_N)), 1)
        before_TP[there_TP] = goal_N[0]
        parts = {name: getattr(history, name) for name in ("rewards", "terminated", "truncated")}
        at_end = {
            name: np.column_stack([np.zeros_like(part)] * (MOVES - 1) + [part]).reshape(-1)
            for name, part in parts.items()
        }
        return replace(
            history,
            **at_end,
            observations=cell_positions(self.size)[before_TP.reshape(-1)],
            actions=history.actions.repeat(MOVES),
            episode=history.episode.repeat(MOVES),
            step_in_episode=np.add.outer(history.step_in_episode * MOVES, np.arange(MOVES)).reshape(-1),
        )


class DarkRoomMacroEnv(BatchedEnv):
    """One room per lane; nothing in it is random."""

    vouched = True
    per_lane = ("_goal_N", "_macro_NK", "_cell_N")
    lane_counters = ("_lane_N",)

    def __init__(
        self, family: DarkRoomMacro, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None
    ) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self._goal_N, self._macro_NK = family.cells_and_macros(tasks)
        self._start_cell, self._lane_N = family.start_cell, np.arange(len(tasks))
        self._cell_N = np.full(len(tasks), family.start_cell)
        self._path_SMP, self._position_S2 = macro_paths(family.size), cell_positions(family.size)

    def _start(self, lanes: NDArray[np.int64]) -> None:
        self._cell_N[lanes] = self._start_cell

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        path_NP = self._path_SMP[self._cell_N, self._macro_NK[self._lane_N, actions]]
        hit_N = (path_NP == self._goal_N[:, None]).any(axis=1)
        # An episode ends at the goal, wherever the rest of the macro would have led.
        self._cell_N = np.where(hit_N, self._goal_N, path_NP[:, -1])
        return hit_N.astype(np.float32), hit_N

    def _observe(self) -> NDArray:
        return self._position_S2[self._cell_N]


class FewestActions(PerLane):
    """The optimal policy of a known task: the goal in the fewest actions of its set."""

    per_lane = ("_best_NS",)
    lane_counters = ("_lane_N",)

    def __init__(self, family: DarkRoomMacro, tasks: Sequence[Task]) -> None:
        self._size = family.size
        hit_NSK, end_NSK = family.effects(tasks)
        lane_N = np.arange(len(tasks))[:, None, None]
        far = family.size**2 + 1
        valid_N = family.valid_actions(tasks)
        count_N11 = hit_NSK.shape[-1] if valid_N is None else valid_N[:, None, None]
        is_missing_N1K = np.arange(hit_NSK.shape[-1]) >= count_N11
        steps_NS = np.full(hit_NSK.shape[:2], far, np.int16)
        for _ in range(far):
            steps_NSK = 1 + np.where(hit_NSK, np.int16(0), steps_NS[lane_N, end_NSK])
            steps_NSK = np.where(is_missing_N1K, np.int16(far + 1), steps_NSK)
            after_NS = np.minimum(steps_NSK.min(axis=-1), far)
            if np.array_equal(after_NS, steps_NS):
                break
            steps_NS = after_NS
        self._best_NS, self._lane_N = steps_NSK.argmin(axis=-1), np.arange(len(tasks))

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        cell_N = observations[:, 0].astype(np.int64) * self._size + observations[:, 1]
        return self._best_NS[self._lane_N, cell_N]

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember: the position says it all."""

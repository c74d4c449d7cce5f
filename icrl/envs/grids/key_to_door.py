"""Dark Key-to-Door: find an invisible key, then an invisible door; the agent sees only where it stands.

A step that ends at the key pays 1, once; from then on the first step that ends at the door pays 1. Whether the key
was found is not observed, so a good agent remembers it. Where key and door share a cell, two steps must end there.
"""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.grids.cells import NUM_ACTIONS, cell_positions, next_cells, reach_probability, way_to
from icrl.envs.grids.wiring import buttons, meanings, rewired
from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.drawing import PATHS_SHOW
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.seeding import permutation
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


class KeyToDoor(TaskFamily):
    """The 9×9 room of Algorithm Distillation: 50 steps from a random cell, 6561 pairs of key and door.

    An episode goes on after the door was reached, to no further reward. The paper names no split. The test tasks are
    also there with buttons that make other moves than in training ("permuted").

    Args:
        size: cells along a side.
        horizon: steps after which an episode is truncated.
        ends_at_door: the door terminates the episode.
        start_on_key: an episode may start in the key's cell, which by itself does not pick the key up.
        has_key_bit: the agent also sees whether it has the key, which makes the observation a Markov state.
        train, validation, test: number of tasks in each split, at most size⁴ together.
        hold: ["start"] starts every episode at the centre.
    """

    name = "key-to-door"
    version = 1
    source = "Laskin et al. 2022 (Algorithm Distillation)"
    axes: tuple[Axis, ...] = ("reward", "start")
    picture_shows = PATHS_SHOW
    ood_sets = MappingProxyType({"permuted": "the moves that the buttons make"})

    def __init__(
        self,
        *,
        size: int = 9,
        horizon: int = 50,
        ends_at_door: bool = False,
        start_on_key: bool = True,
        has_key_bit: bool = False,
        train: int = 2_000,
        validation: int = 50,
        test: int = 200,
        hold: Sequence[str] = (),
    ) -> None:
        self.axes = varying_axes(self.name, type(self).axes, hold)
        if "reward" not in self.axes:
            raise UsageError(f"{self.name} with hold={list(hold)} leaves one task: its tasks differ in reward alone")
        check_count("size", size, at_least=2)
        check_count("horizon", horizon, at_least=1)
        self.num_tasks = split_sizes(train, validation, test)
        if train + validation + test > size**4:
            raise UsageError(
                f"train={train}, validation={validation} and test={test} add up to more than "
                f"the {size**4} tasks of a {size}×{size} room: lower them"
            )
        self.size, self.horizon = size, horizon
        self.ends_at_door, self.start_on_key, self.has_key_bit = ends_at_door, start_on_key, has_key_bit
        self.start_cell = None if "start" in self.axes else (size // 2) * size + size // 2
        self.observation_space = gym.spaces.MultiDiscrete([size, size, 2] if has_key_bit else [size, size])
        self.action_space = gym.spaces.Discrete(NUM_ACTIONS)

    def split(self, seed: int) -> Split:
        order = permutation(seed, f"{self.name} split", self.size**4)
        test = [self._task(int(number)) for number in order[: self.num_tasks["test"]]]
        ood = {"permuted": rewired(test, ood_numbers(0, len(test)), seed, f"{self.name} wirings")}
        return split_numbers(order, self.num_tasks, self._task, seed, ood)

    def _task(self, number: int) -> Task:
        """The key in cell `number // size²`, the door in cell `number % size²`."""
        key, door = divmod(number, self.size**2)
        return Task(number, {"key": list(divmod(key, self.size)), "door": list(divmod(door, self.size))})

    def cells(self, tasks: Sequence[Task]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The keys' and the doors' cell numbers, each `(N,)`."""
        pair_N22 = np.array([[task.params["key"], task.params["door"]] for task in tasks], np.int64).reshape(-1, 2, 2)
        cell_N2 = pair_N22[..., 0] * self.size + pair_N22[..., 1]
        return cell_N2[:, 0], cell_N2[:, 1]

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "KeyToDoorEnv":
        return KeyToDoorEnv(self, tasks, seed, index)

    def noisy_return(self, tasks: Sequence[Task], epsilon: float) -> NDArray[np.float64]:
        """Exact expected return, shape `(N,)`, of acting at random with probability ε and else optimally.

        With F_h(key) the probability that the key is found at step h, and U_h(door, key) that of going from the key
        to the door within h steps: Σ_{h=1…H} F_h(key) (1 + U_{H-h}(door, key)).
        """
        key_N, door_N = self.cells(tasks)
        goal_G, which_2N = np.unique(np.stack((key_N, door_N)), return_inverse=True)
        key_at_N, door_at_N = which_2N.reshape(2, -1)
        reach_HGS = reach_probability(self.size, goal_G, epsilon, self.horizon)
        start_GS = np.full((len(goal_G), self.size**2), 1.0)
        if self.start_cell is not None:
            start_GS = np.tile(np.arange(self.size**2) == self.start_cell, (len(goal_G), 1)).astype(float)
        elif not self.start_on_key:
            start_GS[np.arange(len(goal_G)), goal_G] = 0.0
        start_GS /= start_GS.sum(axis=1, keepdims=True)
        found_HG = np.diff(np.einsum("hgs,gs->hg", reach_HGS, start_GS), axis=0)
        door_HN = reach_HGS[self.horizon - 1 :: -1, door_at_N, key_N]
        return np.einsum("hn,hn->n", found_HG[:, key_at_N], 1.0 + door_HN)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        return Anchors(random=self.noisy_return(tasks, 1.0), optimum=self.noisy_return(tasks, 0.0))

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return WayToKeyAndDoor(self.size, *self.cells(tasks), buttons(meanings(tasks)))

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.kit.drawing import draw_path

        cells = {"key": tuple(task.params["key"]), "door": tuple(task.params["door"])}
        seen, last = history.observations[:, :2], history.final_observations[:, :2]
        path = replace(history, observations=seen, final_observations=last)
        draw_path(axes, self.size, cells, path, buttons=buttons(meanings([task])))


class KeyToDoorAdEps(KeyToDoor):
    """The 9×9 room of AD-epsilon: 40 steps, ends at the door, and no episode starts in the key's cell."""

    name = "key-to-door-ad-eps"
    source = "Zisman et al. 2024 (AD-epsilon)"

    def __init__(
        self,
        *,
        size: int = 9,
        horizon: int = 40,
        ends_at_door: bool = True,
        start_on_key: bool = False,
        train: int = 1_000,
        **options: Any,
    ) -> None:
        super().__init__(
            size=size, horizon=horizon, ends_at_door=ends_at_door, start_on_key=start_on_key, train=train, **options
        )


class KeyToDoorMarkov(KeyToDoor):
    """The room of Algorithm Distillation with the key observed.

    A method that needs Markov states, as the Decision-Pretrained Transformer does, gets no further than the key
    without it.
    """

    name = "key-to-door-markov"
    source = "Laskin et al. 2022 (Algorithm Distillation), with a has-key bit"

    def __init__(self, *, has_key_bit: bool = True, **options: Any) -> None:
        super().__init__(has_key_bit=has_key_bit, **options)


class KeyToDoorDicp(KeyToDoor):
    """The room of DICP: 50 steps from the centre, 6233 pairs to train on and 328 to test on.

    Of the 6233 pairs `validation` are kept to select models on.
    """

    name = "key-to-door-dicp"
    source = "Son et al. 2025 (Distilling Reinforcement Learning Algorithms for In-Context Model-Based Planning)"

    def __init__(
        self,
        *,
        train: int = 6_183,
        validation: int = 50,
        test: int = 328,
        hold: Sequence[str] = ("start",),
        **options: Any,
    ) -> None:
        super().__init__(train=train, validation=validation, test=test, hold=hold, **options)


class KeyToDoorQl(KeyToDoor):
    """The room in which offline Q-learning heads were compared with distillation: 1,000 pairs, 100 unseen ones."""

    name = "key-to-door-ql"
    source = "Tarasov et al. 2025 (Yes, Q-learning Helps Offline In-Context RL); the rules of Laskin et al. 2022"

    def __init__(self, *, train: int = 1_000, test: int = 100, **options: Any) -> None:
        super().__init__(train=train, test=test, **options)


class KeyToDoorEnv(BatchedEnv):
    """One room per lane; the only randomness is the start cell.

    Args:
        family: gives size, horizon and rules.
        tasks: N; they give keys, doors and wirings.
        seed, index: as in `TaskFamily.make`.
    """

    vouched = True
    per_lane = ("_key_N", "_door_N", "_meaning_NA", "_cell_N", "_target_N", "_has_key_N")
    lane_counters = ("_lane_N",)

    _NOWHERE = -1

    def __init__(
        self,
        family: KeyToDoor,
        tasks: Sequence[Task],
        seed: int,
        index: Sequence[int] | None = None,
    ) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self._key_N, self._door_N = family.cells(tasks)
        self._meaning_NA, self._lane_N = meanings(tasks), np.arange(len(tasks))
        self._ends_at_door, self._start_on_key = family.ends_at_door, family.start_on_key
        self._start_cell, self._has_key_bit = family.start_cell, family.has_key_bit
        self._cell_N = np.zeros(len(tasks), np.int64)
        # What the next reward waits for: the key, then the door, then nothing.
        self._target_N = self._key_N.copy()
        self._has_key_N = np.zeros(len(tasks), bool)
        self._next_SA = next_cells(family.size)
        self._position_S2 = cell_positions(family.size)

    def _start(self, lanes: NDArray[np.int64]) -> None:
        num_cells = len(self._position_S2)
        if self._start_cell is not None:
            self._cell_N[lanes] = self._start_cell
        elif self._start_on_key:
            self._cell_N[lanes] = self.streams.integers(num_cells, lanes)
        else:
            cell = self.streams.integers(num_cells - 1, lanes)
            self._cell_N[lanes] = cell + (cell >= self._key_N[lanes])
        self._target_N[lanes] = self._key_N[lanes]
        self._has_key_N[lanes] = False

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        if self._meaning_NA is not None:
            actions = self._meaning_NA[self._lane_N, actions]
        self._cell_N = self._next_SA[self._cell_N, actions]
        hit_N = self._cell_N == self._target_N
        at_door_N = hit_N & self._has_key_N
        if hit_N.any():
            self._target_N = np.where(hit_N, np.where(at_door_N, self._NOWHERE, self._door_N), self._target_N)
            self._has_key_N |= hit_N
        terminated_N = at_door_N if self._ends_at_door else np.zeros(self.num_envs, bool)
        return hit_N.astype(np.float32), terminated_N

    def _observe(self) -> NDArray:
        position_N2 = self._position_S2[self._cell_N]
        return np.column_stack((position_N2, self._has_key_N)) if self._has_key_bit else position_N2


class WayToKeyAndDoor(PerLane):
    """The optimal policy of a known task: a shortest path to the key, then to the door, then stay.

    Args:
        size: cells along a side.
        key_N, door_N: cells, shape `(N,)`.
        button_NA: the button that makes each move, shape `(N, A)`; None where button a makes move a.
    """

    per_lane = ("_button_NA", "_key_N", "_door_N", "_has_key_N")
    lane_counters = ("_lane_N",)

    def __init__(
        self,
        size: int,
        key_N: NDArray[np.int64],
        door_N: NDArray[np.int64],
        button_NA: NDArray[np.int64] | None = None,
    ) -> None:
        self._size, self._button_NA, self._lane_N = size, button_NA, np.arange(len(key_N))
        self._key_N, self._door_N = key_N, door_N
        self._has_key_N = np.zeros(len(key_N), bool)

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        cell_N = observations[:, 0].astype(np.int64) * self._size + observations[:, 1]
        move_N = way_to(self._size)[np.where(self._has_key_N, self._door_N, self._key_N), cell_N]
        return move_N if self._button_NA is None else self._button_NA[self._lane_N, move_N]

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        self._has_key_N |= rewards > 0
        self._has_key_N &= ~(terminated | truncated)

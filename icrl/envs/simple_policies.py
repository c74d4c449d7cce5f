"""Policies that need no task: uniformly random, and the action zero. One lane per stream."""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.seeding import Streams
from icrl.tasks import Task, TaskFamily


class UniformActions(PerLane):
    """Every action of the space equally likely; of a Discrete space, every one that means something in the task.

    Raises:
        UsageError: for a Box that is not bounded.
    """

    per_lane = ("_streams", "_valid_N")

    def __init__(self, family: TaskFamily, tasks: Sequence[Task], streams: Streams) -> None:
        self._space, self._streams = family.action_space, streams
        self._valid_N: NDArray[np.int64] | None = None
        if isinstance(self._space, gym.spaces.Discrete):
            self._valid_N = family.valid_actions(tasks)
        elif not self._space.is_bounded():
            raise UsageError(f"{family.name} has actions without bounds: there is no uniform random policy")

    def act(self, observations: NDArray) -> NDArray:
        if isinstance(self._space, gym.spaces.Discrete):
            return self._streams.integers(self._space.n if self._valid_N is None else self._valid_N)
        low, high = self._space.low, self._space.high
        share = self._streams.uniform_block(low.size).T.reshape(-1, *low.shape)
        return (low + share * (high - low)).astype(np.float32)

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember."""


class ZeroAction(PerLane):
    """The action 0, or the nearest that a Box has. With actions that cost something it beats the random policy.

    Raises:
        UsageError: where actions are not continuous.
    """

    per_lane = ("_action",)

    def __init__(self, family: TaskFamily, tasks: Sequence[Task], streams: Streams | None = None) -> None:
        space = family.action_space
        if not isinstance(space, gym.spaces.Box):
            raise UsageError(f"{family.name} has no action zero: its actions are {space}")
        self._action = np.clip(np.zeros((len(tasks), *space.shape), np.float32), space.low, space.high)

    def act(self, observations: NDArray) -> NDArray[np.float32]:
        return self._action.copy()

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember."""

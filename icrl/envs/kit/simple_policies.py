"""Policies that need no task: uniformly random, and the action zero. One lane per stream."""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.seeding import Streams
from icrl.spaces import BoxActions, check_action_space
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
        else:
            check_action_space(family.name, self._space)
            self._box = BoxActions(self._space)

    def act(self, observations: NDArray) -> NDArray:
        if isinstance(self._space, gym.spaces.Discrete):
            return self._streams.integers(self._space.n if self._valid_N is None else self._valid_N)
        shape = self._space.shape
        return self._box.random(self._streams.uniform_block(self._space.low.size).T.reshape(-1, *shape))

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
        self._action = BoxActions(space).within(np.zeros((len(tasks), *space.shape), space.dtype))

    def act(self, observations: NDArray) -> NDArray:
        return self._action.copy()

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember."""

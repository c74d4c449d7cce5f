"""What gymnasium's classic control tasks share here: four axes of variation around its own definitions.

At the default of every parameter a task is gymnasium's environment, step for step. A feature of an observation may be
shown multiplied by a gain of either sign; where an episode starts may be moved.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.measured import measured_return
from icrl.envs.kit.parametric import Parameter, ParametricFamily
from icrl.envs.kit.simple_policies import UniformActions, ZeroAction
from icrl.lanes import PerLane
from icrl.spaces import zero_action
from icrl.tasks import Anchors, Axis, Task

if TYPE_CHECKING:
    from icrl.history import LearningHistory

HELD: tuple[Axis, ...] = ("observation", "start")
"""Held unless asked for: the plain families vary dynamics and reward."""
SMALLEST_GAIN, LARGEST_GAIN, GAIN_BEYOND = 0.5, 1.5, 2.5


@dataclass(frozen=True)
class GappedParameter(Parameter):
    """A number from a range with a gap in it: a gain of either sign, a goal on either of two hills.

    Both sides of the gap are equally likely, and each is uniform.
    """

    gap: tuple[float, float] = (0.0, 0.0)

    def at(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        start, end = self.gap
        left = self.low + 2 * u * (start - self.low)
        return np.where(u < 0.5, left, end + (2 * u - 1) * (self.high - end))


def gains(*features: str) -> dict[str, Parameter]:
    """One parameter `gain_FEATURE` for each feature of an observation; 1 where observations are held."""
    high = LARGEST_GAIN
    gap, beyond = (-SMALLEST_GAIN, SMALLEST_GAIN), (high, GAIN_BEYOND)
    return {
        f"gain_{feature}": GappedParameter("observation", -high, high, default=1.0, beyond=beyond, gap=gap)
        for feature in features
    }


class ClassicControl(ParametricFamily):
    """A classic control task with its dynamics, reward, observation and start as parameters.

    Args:
        train, validation, test: number of tasks in each split; each out-of-distribution set has `test` tasks.
        hold: axes that are gymnasium's own in all tasks. With "start" held every episode draws its start as in
            gymnasium; it is the task's shift of that distribution that is held.
        hole: as in `ParametricFamily`.
    """

    policy_kinds: tuple[str, ...] = ("expert",)
    features: tuple[str, ...]
    """Of an observation, in order; each has its `gain_…` among the parameters."""
    native_space: gym.spaces.Box
    """Gymnasium's observation space."""
    anchor_episodes = 20
    """Episodes of each task that its anchors are averaged over."""

    def __init__(
        self,
        *,
        train: int = 10_000,
        validation: int = 50,
        test: int = 100,
        hold: Sequence[str] = HELD,
        hole: float = 0.0,
    ) -> None:
        super().__init__(train=train, validation=validation, test=test, hold=hold, hole=hole)
        self.observation_space = self.native_space
        if "observation" in self.axes:
            high = GAIN_BEYOND * np.maximum(np.abs(self.native_space.low), np.abs(self.native_space.high))
            self.observation_space = gym.spaces.Box(-high, high, dtype=np.float32)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        """Measured: the random policy, the scripted expert, and the action zero where actions are continuous."""
        measure = partial(measured_return, self, tasks, episodes=self.anchor_episodes)
        expert = measure(lambda lanes, streams: self.reference_policy("expert", lanes))
        zero = measure(partial(ZeroAction, self)) if zero_action(self.action_space) is not None else None
        return Anchors(measure(partial(UniformActions, self)), expert, zero, measured=True)

    def gains(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """What each feature is shown multiplied by, shape `(N, features)`."""
        return np.stack([self.values(f"gain_{feature}", tasks) for feature in self.features], axis=1)

    def shown_features(self, task: Task, history: "LearningHistory") -> tuple[NDArray, NDArray]:
        """The history's last episode without the task's gains, for pictures.

        Returns:
            features before every step and after the last, `(T + 1, features)`, and rewards `(T,)`.
        """
        ends = np.flatnonzero(history.dones) + 1
        first, last = (int(ends[-2]) if len(ends) > 1 else 0), int(ends[-1])
        seen = np.concatenate((history.observations[first:last], history.final_observations[-1:]))
        return seen.astype(np.float64) / self.gains([task]), history.rewards[first:last]


class ClassicEnv(BatchedEnv):
    """One classic control task per lane; a subclass keeps the state and gives `_features`."""

    per_lane = ("_gain_NF",)

    def __init__(
        self, family: ClassicControl, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None
    ) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self._gain_NF = family.gains(tasks) if "observation" in family.axes else None

    @abstractmethod
    def _features(self) -> NDArray[np.float64]:
        """What gymnasium observes, in float64 and with the features in front: shape `(F, N)`."""

    def _observe(self) -> NDArray[np.float32]:
        feature_NF = self._features().T
        if self._gain_NF is not None:
            feature_NF = feature_NF * self._gain_NF
        return feature_NF.astype(np.float32, order="C")


class ClassicExpert(PerLane):
    """A scripted controller that knows the task; a subclass gives `act`."""

    per_lane = ("_gain_NF",)

    def __init__(self, family: ClassicControl, tasks: Sequence[Task]) -> None:
        self._gain_NF = family.gains(tasks)

    def _seen(self, observations: NDArray) -> NDArray[np.float64]:
        """The features without the task's gains, in front: shape `(F, N)`."""
        return (observations / self._gain_NF).T

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember: an observation says it all."""

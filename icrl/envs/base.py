"""The contract of a batched environment: one lane per task, SAME_STEP autoreset, terminated apart from truncated."""

from abc import abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from icrl.seeding import Streams, stream_keys


class BatchedEnv(VectorEnv):
    """A `gymnasium.vector.VectorEnv` computed for all lanes at once in NumPy.

    Autoreset is SAME_STEP: where an episode ends, `step` returns the first observation of the next one, and
    `info["final_obs"]` (shape `(N, *observation_shape)`, valid where `info["_final_obs"]` is true) holds the last
    observation of the episode that ended. There is no fake step.

    A subclass keeps the state of its lanes in arrays and defines `_start`, `_advance` and `_observe`.

    Args:
        observation_space, action_space: of one lane.
        num_envs: N.
        horizon: steps after which an episode that has not terminated is truncated.
        seed, index: lane i draws from the stream (seed, "environment", index[i]).
    """

    def __init__(
        self,
        observation_space: gym.Space,
        action_space: gym.Space,
        num_envs: int,
        horizon: int,
        seed: int,
        index: NDArray | None = None,
    ) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.num_envs = num_envs
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self.horizon = horizon
        self.index = np.arange(num_envs) if index is None else np.asarray(index)
        if len(self.index) != num_envs:
            raise ValueError(
                f"index has {len(self.index)} numbers for {num_envs} environments: one is needed for each"
            )
        self.streams = Streams(stream_keys(seed, "environment", self.index))
        self.steps = np.zeros(num_envs, np.int32)
        self._all_lanes = np.arange(num_envs)
        self._num_actions = int(action_space.n) if isinstance(action_space, gym.spaces.Discrete) else None
        self._cut_N = np.zeros(num_envs, bool)
        """Lanes whose episode `_advance` found to be cut for a reason of the environment's own."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Starts an episode in every lane; `seed` gives every lane a new stream.

        Returns:
            observations `(N, *observation_shape)`, info `{}`.
        """
        if seed is not None:
            self.streams = Streams(stream_keys(seed, "environment", self.index))
        self.steps[:] = 0
        self._start(self._all_lanes)
        return self._observe(), {}

    def step(self, actions: NDArray):
        """One step in every lane.

        Args:
            actions: shape `(N,)`, integers of a Discrete action space; or `(N, *action_shape)` of a Box, which are
                taken as float32 and clipped to its bounds.

        Returns:
            observations `(N, *observation_shape)`, rewards `(N,)` float32, terminated `(N,)`, truncated `(N,)`, info.

        Raises:
            ValueError: where an action is not one of the Discrete space's, or not finite, or there is not one per
                lane.
        """
        actions = self.played(actions)
        rewards, terminated = self._advance(actions)
        self.steps += 1
        truncated = ((self.steps >= self.horizon) | self._cut_N) & ~terminated
        observations = self._observe()
        done = terminated | truncated
        if not done.any():
            return observations, rewards, terminated, truncated, {}
        info = {"final_obs": observations, "_final_obs": done}
        lanes = np.flatnonzero(done)
        self.steps[lanes] = 0
        self._start(lanes)
        return self._observe(), rewards, terminated, truncated, info

    def played(self, actions: NDArray) -> NDArray:
        """The actions that `step` plays where it is given these: those of a Box as float32 and within its bounds.

        Raises:
            ValueError: as `step`.
        """
        actions = np.asarray(actions)
        if self._num_actions is None:
            return self._clipped(actions)
        self._check_discrete(actions)
        return actions

    def _check_discrete(self, actions: NDArray) -> None:
        # NumPy would take a negative action as counted from the end, and train on it without a word.
        if actions.shape != (self.num_envs,) or actions.dtype.kind not in "iu":
            raise ValueError(
                f"actions have shape {actions.shape} and type {actions.dtype}: "
                f"expected one integer for each of {self.num_envs} environments"
            )
        if actions.min() < 0 or actions.max() >= self._num_actions:
            wrong = actions[(actions < 0) | (actions >= self._num_actions)][0]
            raise ValueError(f"action {wrong} is not in {self.single_action_space}")

    def _clipped(self, actions: NDArray) -> NDArray[np.float32]:
        space = self.single_action_space
        if actions.shape != (self.num_envs, *space.shape) or actions.dtype.kind not in "fiu":
            raise ValueError(
                f"actions have shape {actions.shape} and type {actions.dtype}: "
                f"expected numbers of shape {(self.num_envs, *space.shape)}"
            )
        if not np.isfinite(actions).all():
            raise ValueError("an action is not finite: expected numbers, got NaN or infinity")
        return np.clip(actions.astype(np.float32), space.low, space.high)

    @abstractmethod
    def _start(self, lanes: NDArray[np.int64]) -> None:
        """Puts these lanes at the start of an episode."""

    @abstractmethod
    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Applies the actions; returns rewards and terminated, each `(N,)`, both freshly allocated."""

    @abstractmethod
    def _observe(self) -> NDArray:
        """The present observation of every lane, in an array of its own that later steps leave alone."""

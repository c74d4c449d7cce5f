"""The contract of a batched environment: one lane per task, SAME_STEP autoreset, terminated apart from truncated."""

from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from icrl.errors import FamilyError
from icrl.extras import VALID_ACTIONS
from icrl.lanes import PerLane, rising
from icrl.seeding import Streams, stream_keys
from icrl.spaces import check_action_space, in_short, player
from icrl.success import SUCCESS


class BatchedEnv(VectorEnv, PerLane):
    """A `gymnasium.vector.VectorEnv` computed for all lanes at once in NumPy.

    Autoreset is SAME_STEP: where an episode ends, `step` returns the first observation of the next one, and
    `info["final_obs"]` (shape `(N, *observation_shape)`, valid where `info["_final_obs"]` is true) holds the last
    observation of the episode that ended. There is no fake step.

    A subclass keeps the state of its lanes in arrays and defines `_start`, `_advance` and `_observe`. It should state
    those arrays in `per_lane`: then lanes that are done can leave, and cost nothing more.

    Args:
        observation_space, action_space: of one lane.
        num_envs: N.
        horizon: steps after which an episode that has not terminated is truncated.
        seed, index: lane i draws from the stream (seed, "environment", index[i]).
    """

    per_lane = ("index", "streams", "steps", "_cut_N", "_told_N", "_valid_NA")
    lane_counters = ("_all_lanes",)
    vouched: ClassVar[bool] = False
    """Set by the vectorised classes of this framework, whose every value their tests hold to its space: they are not
    checked at each step. A class that derives from one is checked unless it says so itself."""
    worth_leaving: float = 0.25
    """The share of lanes that is to be done before letting go of them pays, since what stays is copied. 0: at once."""

    def __init__(
        self,
        observation_space: gym.Space,
        action_space: gym.Space,
        num_envs: int,
        horizon: int,
        seed: int,
        index: NDArray | None = None,
    ) -> None:
        check_action_space(type(self).__name__, action_space)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.num_envs = num_envs
        self.horizon = horizon
        self.index = np.arange(num_envs) if index is None else np.asarray(index)
        if len(self.index) != num_envs:
            raise ValueError(
                f"index has {len(self.index)} numbers for {num_envs} environments: one is needed for each"
            )
        self.streams = Streams(stream_keys(seed, "environment", self.index))
        self.steps = np.zeros(num_envs, np.int32)
        self._all_lanes = np.arange(num_envs)
        self._play = player(action_space)
        self._cut_N = np.zeros(num_envs, bool)
        """Lanes whose episode `_advance` found to be cut for a reason of the environment's own."""
        self._told_N: NDArray[np.bool_] | None = None
        """What `_advance` says of success, in an array of its own for each step; None where nothing is said of it."""
        self._valid_NA: NDArray[np.bool_] | None = None
        """Which actions the present observations allow, as `_start` and `_advance` say; None where nothing is said."""

    @cached_property
    def observation_space(self) -> gym.Space:
        """Of all lanes."""
        return batch_space(self.single_observation_space, self.num_envs)

    @cached_property
    def action_space(self) -> gym.Space:
        """Of all lanes."""
        return batch_space(self.single_action_space, self.num_envs)

    @property
    def lanes_stepped(self) -> int:
        """How many lanes a step computes: more than `num_envs` where some are hidden."""
        return self.num_envs

    def keep(self, lanes: NDArray[np.int64]) -> "BatchedEnv":
        """Lets go of all lanes but these, which go on exactly as they would have in the whole batch.

        Args:
            lanes: places in the present batch, rising.

        Returns:
            The environment to go on with: this one, now of fewer lanes; or where its class does not state `per_lane`,
            one that steps this one as a whole and shows these lanes.
        """
        lanes = rising(lanes, self.num_envs)
        if not self.lets_go:
            return ShownLanes(self, lanes)
        self._leave(np.delete(self._all_lanes, lanes))
        super().keep(lanes)
        self.num_envs = len(lanes)
        for space in ("observation_space", "action_space"):
            vars(self).pop(space, None)
        return self

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Starts an episode in every lane; `seed` gives every lane a new stream.

        Returns:
            observations `(N, *observation_shape)`, info: `valid_actions`, `(N, A)`, where the environment tells it.
        """
        if seed is not None:
            self.streams = Streams(stream_keys(seed, "environment", self.index))
        self.steps[:] = 0
        self._start(self._all_lanes)
        return self._observe(), self._allowed()

    def step(self, actions: NDArray):
        """One step in every lane.

        Args:
            actions: `(N, *action_shape)`. Those of a Box are clipped to its bounds and taken as its type, rounded
                where that is of integers; those of a Dict or Tuple are a structured array `(N,)`, or a mapping of
                arrays.

        Returns:
            observations `(N, *observation_shape)`, rewards `(N,)`, terminated `(N,)`, truncated `(N,)`, info;
            `info["success"]`, `(N,)`, where the environment tells success, and `info["valid_actions"]`, `(N, A)`, of
            the observations, where it tells that.

        Raises:
            ValueError: where an action is not of the space, or not finite, or there is not one per lane.
        """
        return self.step_played(self.played(actions))

    def step_played(self, actions: NDArray):
        """The same for actions that `played` gave."""
        rewards, terminated = self._advance(actions)
        if not isinstance(terminated, np.ndarray) or terminated.dtype.kind != "b":
            terminated = self._flags(terminated)
        self.steps += 1
        truncated = ((self.steps >= self.horizon) | self._cut_N) & ~terminated
        observations = self._observe()
        done = terminated | truncated
        told = {} if self._told_N is None else {SUCCESS: self._told_N}
        if not done.any():
            return observations, rewards, terminated, truncated, told | self._allowed()
        info = {"final_obs": observations, "_final_obs": done, **told}
        lanes = np.flatnonzero(done)
        self.steps[lanes] = 0
        self._start(lanes)
        return self._observe(), rewards, terminated, truncated, info | self._allowed()

    def _allowed(self) -> dict[str, NDArray[np.bool_]]:
        return {} if self._valid_NA is None else {VALID_ACTIONS: self._valid_NA.copy()}

    def _flags(self, values: Any) -> NDArray[np.bool_]:
        array = np.asarray(values)
        if array.shape == (self.num_envs,) and array.dtype.kind in "biu" and np.isin(array, (0, 1)).all():
            return array.astype(bool)
        raise FamilyError(
            f"{type(self).__name__} gives terminated = {in_short(values)}: expected a boolean for each lane"
        )

    def played(self, actions: NDArray) -> NDArray:
        """The actions that `step` plays where it is given these: those of a Box as its type and within its bounds, a
        Dict's or Tuple's in one structured array.

        Raises:
            ValueError: as `step`.
        """
        return self._play(actions, self.num_envs)

    def lost_differences(self) -> str | None:
        """Between which observations shown so far the space's type did not hold the differences, in words; None where
        it held all."""
        return None

    def _leave(self, lanes: NDArray[np.int64]) -> None:
        """Called with the lanes that will be let go of, before they are: to close what they hold."""

    @abstractmethod
    def _start(self, lanes: NDArray[np.int64]) -> None:
        """Puts these lanes at the start of an episode."""

    @abstractmethod
    def _advance(self, actions: NDArray) -> tuple[NDArray, NDArray[np.bool_]]:
        """Applies the actions; returns rewards and terminated, each `(N,)`, both freshly allocated."""

    @abstractmethod
    def _observe(self) -> NDArray:
        """The present observation of every lane, in an array of its own that later steps leave alone; of a Dict or
        Tuple a structured one, as `icrl.spaces.gate(space)` makes it of arrays of the parts."""


class ShownLanes(BatchedEnv):
    """Some lanes of an environment that cannot let go of the others: all are stepped, these are shown.

    Args:
        env: of N lanes.
        lanes: places among them, rising.
    """

    per_lane = ("_shown",)

    def __init__(self, env: BatchedEnv, lanes: NDArray[np.int64]) -> None:
        index = env.index[lanes]
        super().__init__(env.single_observation_space, env.single_action_space, len(lanes), env.horizon, 0, index)
        self._env, self._shown, self.worth_leaving = env, lanes, env.worth_leaving
        self.metadata = env.metadata

    @property
    def lanes_stepped(self) -> int:
        return self._env.lanes_stepped

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        observations, info = self._env.reset(seed=seed, options=options)
        return observations[self._shown], self._of_shown(info)

    def step(self, actions: NDArray):
        *arrays, info = self._env.step(self._whole(actions))
        observations, rewards, terminated, truncated = (array[self._shown] for array in arrays)
        info = self._of_shown(info)
        if not (terminated | truncated).any():
            info = {key: values for key, values in info.items() if key not in ("final_obs", "_final_obs")}
        return observations, rewards, terminated, truncated, info

    def _of_shown(self, info: dict[str, Any]) -> dict[str, Any]:
        of_lanes = {key: values for key, values in info.items() if np.shape(values)[:1] == (self._env.num_envs,)}
        return info | {key: values[self._shown] for key, values in of_lanes.items()}

    def played(self, actions: NDArray) -> NDArray:
        return self._env.played(self._whole(actions))[self._shown]

    def _whole(self, actions: NDArray) -> NDArray:
        """Actions of all lanes: one that is not shown takes that of the first which is, since the space has it."""
        actions = np.asarray(actions)
        if actions.shape[:1] != (self.num_envs,):
            raise ValueError(
                f"actions have shape {actions.shape}: expected one for each of {self.num_envs} environments"
            )
        row_N = np.zeros(self._env.num_envs, np.int64)
        row_N[self._shown] = self._all_lanes
        return actions[row_N]

    def close_extras(self, **kwargs: Any) -> None:
        self._env.close()

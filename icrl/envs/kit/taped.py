"""An environment that its learner steps in a loop of its own, while somebody else writes down every step."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from icrl.envs.kit.stepping import Life, Step
from icrl.errors import UsageError
from icrl.extras import VALID_ACTIONS
from icrl.spaces import sample
from icrl.success import SUCCESS


class EnoughEpisodes(Exception):
    """All episodes that are to be recorded have been lived through. Whoever records catches it: a learner that steps
    on need not know when to end."""


class TapedEnv(gym.Env):
    """One task as an ordinary gymnasium environment: whole episodes, one after the other.

    Where an episode ends, `step` returns what was seen last; `terminated` says that the task's own rule ended it,
    `truncated` that the time limit did. Then `reset` begins the next one. The seed of `reset` is ignored, since the
    recording's own decides what happens.

    Args:
        life: of one lane.
        write: called with every step.
        learner: whose steps they are, for messages.

    Raises:
        EnoughEpisodes: by `reset` and `step`, after the last episode.
        UsageError: by `reset` within an episode, and by `step` before `reset`: what is recorded are whole episodes.
    """

    def __init__(self, life: Life, write: Callable[[Step], None], learner: Any) -> None:
        self._life, self._write, self._learner = life, write, learner
        self.observation_space, self.action_space = life.env.single_observation_space, life.env.single_action_space
        self._begun, self._steps = False, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Begins an episode.

        Returns:
            the observation, and info: `valid_actions` where the task tells them.
        """
        if self._life.over:
            raise EnoughEpisodes
        if self._begun and self._steps:
            raise UsageError(
                f"{type(self._learner).__name__} resets its environment after {self._steps} steps of an episode: "
                "whole episodes are recorded; step until terminated or truncated"
            )
        self._begun = True
        return self._now(), self._info()

    def step(self, action: Any):
        """One step.

        Args:
            action: of the action space. A Box's is clipped to its bounds.

        Returns:
            observation, reward, terminated, truncated, info: `valid_actions` and `success` where the task tells them.
        """
        if self._life.over:
            raise EnoughEpisodes
        if not self._begun:
            raise UsageError(
                f"{type(self._learner).__name__} steps an episode that is over: reset its environment first"
            )
        step = self._life.step(_batch_of_one(action), self._learner)
        self._write(step)
        self._begun, self._steps = not step.ended, 0 if step.ended else self._steps + 1
        told = {} if step.succeeded is None else {SUCCESS: bool(step.succeeded[0])}
        seen = sample(self.observation_space, step.successors[0])
        info = told if step.ended else told | self._info()
        return seen, float(step.rewards[0]), bool(step.terminated[0]), bool(step.truncated[0]), info

    def _now(self) -> Any:
        return sample(self.observation_space, self._life.observations[0])

    def _info(self) -> dict[str, Any]:
        return {} if self._life.valid is None else {VALID_ACTIONS: self._life.valid[0].copy()}


def _batch_of_one(action: Any) -> Any:
    """An action as a batch; of a tree each of its parts."""
    if isinstance(action, dict):
        return {name: _batch_of_one(part) for name, part in action.items()}
    if isinstance(action, tuple):
        return tuple(_batch_of_one(part) for part in action)
    return np.asarray(action)[None]

"""Learners as a user would write them, named by their place in tests and in the documentation's recipe."""

import numpy as np

from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.lanes import PerLane


class Repeats(PerLane):
    """Plays the last action that paid best so far, or with a chance of `explore` any."""

    per_lane = ("_streams", "_best_N", "_most_N")

    def __init__(self, setting: LearnerSetting, *, explore: float = 0.3) -> None:
        self._streams, self._actions = setting.streams("repeats"), int(setting.family.action_space.n)
        self._explore = explore
        self._best_N, self._most_N = np.zeros(len(setting.tasks), np.int64), np.full(len(setting.tasks), -np.inf)

    def act(self, observations):
        any_N = self._streams.integers(self._actions)
        return np.where(self._streams.uniform() < self._explore, any_N, self._best_N)

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations):
        better_N = rewards > self._most_N
        self._best_N = np.where(better_N, actions, self._best_N)
        self._most_N = np.maximum(self._most_N, rewards)


class Walks:
    """Owns its loop: walks at random and never counts its episodes."""

    def __init__(self, setting: LearnerSetting, *, turns: int = 3) -> None:
        self._turns = turns
        self.seen = []

    def run(self, env, episodes, seed):
        env.action_space.seed(seed)
        observation, info = env.reset(seed=seed)
        while True:
            action = env.action_space.sample()
            for _ in range(self._turns):
                following, reward, terminated, truncated, info = env.step(action)
                self.seen.append((observation, action, reward, terminated, truncated, following, info))
                observation = following
                if terminated or truncated:
                    observation, info = env.reset()
                    break


class NoLearner:
    """Neither acts nor runs."""

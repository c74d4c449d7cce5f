"""What the checks of `icrl check-family` are run on, and how a promise that is not kept is told."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.checks import expect
from icrl.envs import make_family
from icrl.envs.kit.episodes import uniform_policy
from icrl.spaces import equal
from icrl.tasks import Task, TaskFamily


def same(a: NDArray, b: NDArray) -> bool:
    """Whether two arrays are equal, NaN and NaN alike: that a number is none is told once, by the check of spaces."""
    return equal(a, b)


FEW = 50
"""As many lanes as a check takes at least, if it has a use for them and can afford them."""


@dataclass
class Subject:
    """The family under test, and how much of it can be afforded."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 4.0
    """What one check may spend on steps of slow environments; fast ones are stepped as often as is useful."""
    part: float = 1.0
    """Of what is useful, where that is more than `FEW` lanes: below 1 for a quick look."""

    @cached_property
    def family(self) -> TaskFamily:
        return make_family(self.name, **self.options)

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """Test tasks."""
        return self.family.split(0).test

    def lanes(self, count: int) -> list[Task]:
        """Test tasks repeated to that many lanes."""
        return [self.tasks[i % len(self.tasks)] for i in range(count)]

    @cached_property
    def steps_per_second(self) -> float:
        """Of a small batch, its construction and first reset included."""
        count = 8
        start = time.perf_counter()
        env = self.family.make(self.lanes(count), seed=0)
        env.reset()
        actions = self.actions(min(50, self.family.horizon), count)
        for row in actions:
            env.step(row)
        return actions.shape[0] * count / (time.perf_counter() - start)

    def affordable(self, lanes: int, steps: int) -> int:
        """At most that many lanes, fewer where so many steps of them would take too long; at least 2."""
        most = max(min(lanes, FEW), int(lanes * self.part))
        return int(np.clip(self.seconds * self.steps_per_second / steps, 2, most))

    def actions(self, steps: int, count: int) -> NDArray:
        """Uniformly random actions, shape `(steps, count, *action_shape)`."""
        policy = uniform_policy(self.family, self.lanes(count), seed=0)
        return np.stack([policy.act(np.zeros(count)) for _ in range(steps)])

    def roll(self, env: Any, actions: NDArray, seed: int | None = None) -> dict[str, NDArray]:
        """Steps through the actions: observations `(T + 1, N, …)`, the rest `(T, N, …)`, "final" 0 inside episodes."""
        observations, _ = env.reset(seed=seed)
        rows: dict[str, list] = {"observations": [observations], "rewards": [], "terminated": [], "truncated": []}
        rows["final"] = []
        for action in actions:
            observations, rewards, terminated, truncated, info = env.step(action)
            done, final = terminated | truncated, np.zeros_like(observations)
            if done.any():
                expect(
                    "final_obs" in info and np.array_equal(info.get("_final_obs"), done),
                    "an episode ended and info has no final_obs with a mask _final_obs: step must give the last "
                    "observation of the episode that ended; leave `step` to BatchedEnv",
                )
                final[done] = info["final_obs"][done]
            for key, value in zip(rows, (observations, rewards, terminated, truncated, final), strict=True):
                rows[key].append(value)
        return {key: np.array(value) for key, value in rows.items()}

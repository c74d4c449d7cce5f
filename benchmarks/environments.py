"""Environment steps a second on one core, for every task family that needs no extra; prints a Markdown table.

    python benchmarks/environments.py

1,000 lanes under random actions that were drawn beforehand. The last rows compare 100 lanes of the 9×9 Dark Room with
gymnasium's `SyncVectorEnv` over the same rules written as a plain Python environment.
"""

import time
from collections.abc import Callable

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from icrl.envs import FAMILIES, make_family
from icrl.spaces import drawer, num_uniforms
from icrl.tasks import TaskFamily

LANES, PLAIN_LANES = 1_000, 100
SECONDS, REPEATS = 0.5, 3
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))


class PlainDarkRoom(gym.Env):
    """The dense 9×9 Dark Room as one would write it for a single task."""

    def __init__(self, goal: tuple[int, int]) -> None:
        self.observation_space = gym.spaces.MultiDiscrete([9, 9])
        self.action_space = gym.spaces.Discrete(5)
        self.goal = goal

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.row = self.column = 4
        self.steps = 0
        return np.array([self.row, self.column]), {}

    def step(self, action):
        down, right = MOVES[action]
        self.row = min(max(self.row + down, 0), 8)
        self.column = min(max(self.column + right, 0), 8)
        self.steps += 1
        reward = float((self.row, self.column) == self.goal)
        return np.array([self.row, self.column]), reward, False, self.steps >= 20, {}


def batched(family: TaskFamily, lanes: int) -> VectorEnv:
    test = family.split(0).test
    return family.make([test[i % len(test)] for i in range(lanes)], seed=0)


def plain(lanes: int) -> VectorEnv:
    test = make_family("dark-room").split(0).test
    goals = [tuple(test[i % len(test)].params["goal"]) for i in range(lanes)]
    return SyncVectorEnv(
        [lambda goal=goal: PlainDarkRoom(goal) for goal in goals], autoreset_mode=AutoresetMode.SAME_STEP
    )


def drawn_actions(env: VectorEnv, steps: int) -> NDArray:
    """Uniformly random actions, shape `(steps, N, *action_shape)`."""
    generator, space = np.random.default_rng(0), env.single_action_space
    drawn = drawer(space)(generator.random((steps * env.num_envs, num_uniforms(space))))
    return drawn.reshape(steps, env.num_envs, *drawn.shape[1:])


def steps_a_second(make: Callable[[], VectorEnv]) -> float:
    """The best of a few runs of about half a second: what the machine gives when it is left alone."""
    env = make()
    actions_TN = drawn_actions(env, 100)
    env.reset()
    best = 0.0
    for _ in range(REPEATS):
        steps, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < SECONDS:
            for actions in actions_TN:
                env.step(actions)
            steps += len(actions_TN) * env.num_envs
        best = max(best, steps / elapsed)
    return best


def main() -> None:
    print(f"| family | lanes | million steps/s |\n|{' --- |' * 3}")
    for name in (name for name in FAMILIES if not FAMILIES.extra(name)):
        rate = steps_a_second(lambda name=name: batched(make_family(name), LANES))
        print(f"| {name} | {LANES:,} | {rate / 1e6:.1f} |", flush=True)
    ours = steps_a_second(lambda: batched(make_family("dark-room"), PLAIN_LANES))
    theirs = steps_a_second(lambda: plain(PLAIN_LANES))
    print(f"| dark-room | {PLAIN_LANES} | {ours / 1e6:.1f} |")
    print(f"| the same rules in Python under gymnasium's SyncVectorEnv | {PLAIN_LANES} | {theirs / 1e6:.2f} |")
    print(f"\nRatio at {PLAIN_LANES} lanes: {ours / theirs:.0f}×.")


if __name__ == "__main__":
    main()

"""Environment steps a second on one core, beside gymnasium's own vector environments; prints a Markdown table.

    python benchmarks/vector_envs.py

The point robot and CartPole, 1,000 lanes under random actions that were drawn beforehand. Peers: the same rules as a
plain Python environment under `SyncVectorEnv` and `AsyncVectorEnv`, and gymnasium's own vectorised CartPole. The
processes of `AsyncVectorEnv` share the one core; it gets fewer lanes, since each is a process. The vectorised CartPole
has the same pole in every lane.
"""

import os
from collections.abc import Callable
from functools import partial

import gymnasium as gym
import numpy as np
from environments import batched, steps_a_second
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from icrl.envs import FAMILIES, make_family

LANES, ASYNC_LANES = 1_000, 64
SAME_STEP = AutoresetMode.SAME_STEP


class PlainPointRobot(gym.Env):
    """The dense point robot as one would write it for a single task."""

    def __init__(self, goal: tuple[float, float]) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gym.spaces.Box(-0.1, 0.1, (2,), np.float32)
        self.goal = np.array(goal, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)
        self.steps = 0
        return self.place.copy(), {}

    def step(self, action):
        self.place = self.place + np.clip(action, -0.1, 0.1)
        self.steps += 1
        x, y = self.place - self.goal
        return self.place.copy(), -float((x * x + y * y) ** 0.5), False, self.steps >= 20, {}


def point_robots(lanes: int) -> list[Callable[[], gym.Env]]:
    family = make_family("point-robot")
    goals = family.goals(family.split(0).test).tolist()
    return [partial(PlainPointRobot, tuple(goals[i % len(goals)])) for i in range(lanes)]


def cart_poles(lanes: int) -> list[Callable[[], gym.Env]]:
    return [partial(gym.make, "CartPole-v1", disable_env_checker=True)] * lanes


def peers(plain: Callable[[int], list]) -> dict[str, tuple[int, Callable[[], VectorEnv]]]:
    """What both environments are compared with: lanes, and how to make it."""
    return {
        "SyncVectorEnv": (LANES, lambda: SyncVectorEnv(plain(LANES), autoreset_mode=SAME_STEP)),
        "AsyncVectorEnv": (ASYNC_LANES, lambda: AsyncVectorEnv(plain(ASYNC_LANES), autoreset_mode=SAME_STEP)),
    }


CASES: dict[str, dict[str, tuple[int, Callable[[], VectorEnv]]]] = {
    "point-robot": peers(point_robots),
    "cartpole": {
        **peers(cart_poles),
        "CartPoleVectorEnv": (
            LANES,
            lambda: gym.make_vec("CartPole-v1", num_envs=LANES, vectorization_mode="vector_entry_point"),
        ),
    },
}


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"| family | under | lanes | million steps/s | icrl is faster by |\n|{' --- |' * 5}")
    for name, others in CASES.items():
        if name not in FAMILIES:
            print(f"| {name} | icrl | {LANES:,} | not in this release | |")
            continue
        ours = steps_a_second(lambda name=name: batched(make_family(name), LANES))
        print(f"| {name} | icrl | {LANES:,} | {ours / 1e6:.2f} | 1 |", flush=True)
        for peer, (lanes, make) in others.items():
            theirs = steps_a_second(make)
            ratio = f"{ours / theirs:.0f}" if ours > 10 * theirs else f"{ours / theirs:.1f}"
            print(f"| {name} | gymnasium {peer} | {lanes:,} | {theirs / 1e6:.3f} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
